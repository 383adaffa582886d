//! Hands over the calls that were read back, unless their rows are on disk already.

use super::entry::{CallKind, Head, ReadHead};
use super::position::Position;
use super::read_payload::{OfGroup, ReadPayload};
use super::sections::Section;
use super::token::Token;
use crate::error::Result;
use crate::seqno::Seqno;

/// The receiver of a journal's entries.
pub(crate) trait Replay {
    /// A configuration that later entries of this segment refer to.
    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()>;

    /// A call. `keys` and `floats` are as they were written.
    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()>;

    /// The number of floats a key in a call's payload.
    fn floats_a_key(&self, head: &Head) -> Result<usize>;

    /// A new segment begins; the configurations of the one before no longer apply.
    fn segment(&mut self);

    /// The call of this group that was handed over last was a client's. It was made at `time`.
    fn once(&mut self, _seqno: Seqno, _group: u16, _token: Token, _time: u64) {}

    /// A group forgets a client.
    fn forget(&mut self, _seqno: Seqno, _group: u16, _client: u64) {}
}

/// A call that was read back.
pub(super) struct CallRead<'a> {
    pub(super) read: &'a ReadHead,
    pub(super) payload: &'a ReadPayload,
    pub(super) position: &'a Position<'a>,
    /// Its rows are not known to be on disk.
    pub(super) is_new: bool,
}

impl CallRead<'_> {
    /// Hands over a call on one group.
    pub(super) fn hand_over(&self, replay: &mut impl Replay) -> Result<()> {
        let CallRead { read, payload, position, .. } = *self;
        let head = &read.head;
        let floats_a_key = match head.kind {
            CallKind::Gradients | CallKind::Insert | CallKind::InsertRecords => {
                replay.floats_a_key(head).map_err(|error| position.name(error))?
            }
            _ => 0,
        };
        let (keys, floats) = payload
            .split(floats_a_key)
            .ok_or_else(|| position.damaged("a payload of the wrong length"))?;
        if self.is_new { replay.call(read.seqno, head, keys, floats) } else { Ok(()) }
    }

    /// Hands over a step, as the gradients of one group after the other.
    pub(super) fn hand_over_step(&self, replay: &mut impl Replay) -> Result<()> {
        let CallRead { read, payload, position, .. } = *self;
        let wrong = || position.damaged("a step of the wrong length");
        let token = payload.token(read.head.kind).ok_or_else(wrong)?;
        let mut calls = Vec::new();
        for OfGroup { section, keys, floats } in payload.sections(token).ok_or_else(wrong)? {
            let Section { group, config, step, rate, .. } = section;
            let head = Head { kind: CallKind::Gradients, group, config, step, rate, ..read.head };
            let floats_a_key = replay.floats_a_key(&head).map_err(|error| position.name(error))?;
            if keys.len().checked_mul(floats_a_key) != Some(floats.len()) {
                return Err(wrong());
            }
            calls.push((head, keys, floats));
        }
        // Nothing is handed over before all of it is known to fit.
        for (head, keys, floats) in calls.iter().filter(|_| self.is_new) {
            replay.call(read.seqno, head, keys, floats)?;
            if let Some(token) = token {
                replay.once(read.seqno, head.group, token, head.time);
            }
        }
        Ok(())
    }

    /// Hands over a forgotten client, for one group after the other.
    pub(super) fn hand_over_forgotten(&self, replay: &mut impl Replay) -> Result<()> {
        let CallRead { read, payload, position, .. } = *self;
        let wrong = || position.damaged("a forgotten client of the wrong length");
        let (client, groups) = payload.forgotten().ok_or_else(wrong)?;
        let groups = groups.iter().filter(|_| self.is_new);
        groups.for_each(|group| replay.forget(read.seqno, *group, client));
        Ok(())
    }
}

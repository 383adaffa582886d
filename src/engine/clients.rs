//! The clients of one group: callers that number their calls, so that a call that is sent again is
//! not made twice.
//!
//! A call of a client is in the journal with the client's number and its own (`journal::Token`).
//! Replay brings the latest of each client back. Full write-back rounds and cuts write those that
//! have changed as documents, in one batch with the group's global step.

use std::collections::{BTreeMap, BTreeSet};

use super::expiry::DAY_MS;
use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::memory::room_for;
use crate::rocks::documents::{self, client_of, of_client};
use crate::rocks::{Batch, Rocks};
use crate::seqno::Seqno;

/// A client that has made no call for this long is forgotten.
pub(crate) const FORGOTTEN_AFTER_MS: u64 = 30 * DAY_MS;

/// The latest call of a client that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) sequence: u64,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// A replay of the journal leaves the client alone for this call and earlier ones.
    pub(crate) seqno: Seqno,
}

/// What a round writes of a client; None if its document is deleted.
pub(super) type Unsaved = (u64, Option<Latest>);

/// The clients of a group.
#[derive(Default)]
pub(crate) struct Clients {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    latest: BTreeMap<u64, Latest>,
    /// Clients whose documents are not what `latest` says.
    unsaved: BTreeSet<u64>,
}

impl Latest {
    /// Whether the client is forgotten by this time.
    fn is_over(self, now: u64) -> bool {
        now.saturating_sub(self.time) >= FORGOTTEN_AFTER_MS
    }

    fn encode(self) -> Vec<u8> {
        [self.sequence, self.time, self.seqno.get()].map(u64::to_le_bytes).concat()
    }

    fn decode(bytes: &[u8]) -> Option<Latest> {
        let words: [u8; 24] = bytes.try_into().ok()?;
        let (words, _) = words.as_chunks::<8>();
        let [sequence, time, seqno] = words else { return None };
        let [sequence, time, seqno] = [sequence, time, seqno].map(|word| u64::from_le_bytes(*word));
        Some(Latest { sequence, time, seqno: Seqno::new(seqno) })
    }
}

impl Clients {
    /// The sequence of a client's latest call; None if it has made none, or is forgotten by now.
    pub(super) fn sequence(&self, client: u64, now: u64) -> Option<u64> {
        let known = self.known.lock();
        let latest = known.latest.get(&client).filter(|latest| !latest.is_over(now));
        latest.map(|latest| latest.sequence)
    }

    /// Notes a client's latest call. Returns the one before.
    pub(super) fn set(&self, client: u64, latest: Latest) -> Option<Latest> {
        let mut known = self.known.lock();
        known.unsaved.insert(client);
        known.latest.insert(client, latest)
    }

    /// Takes back a call of a client that failed; `before` is the one before it. All later calls
    /// have failed, too. They are taken back as well, in any order.
    pub(super) fn take_back(&self, client: u64, before: Option<Latest>) {
        let mut known = self.known.lock();
        let now = known.latest.get(&client).copied();
        let earlier = [now, before].into_iter().min_by_key(|latest| latest.map(|l| l.sequence));
        match earlier.flatten() {
            Some(latest) => known.latest.insert(client, latest),
            None => known.latest.remove(&client),
        };
    }

    /// Notes a call of the journal, unless a document has it or a later one.
    pub(super) fn replay(&self, client: u64, latest: Latest) {
        if self.is_before(client, latest.seqno) {
            self.set(client, latest);
        }
    }

    /// As [`Clients::forget`], for a call of the journal.
    pub(super) fn replay_forget(&self, client: u64, seqno: Seqno) {
        if self.is_before(client, seqno) {
            self.forget(client);
        }
    }

    fn is_before(&self, client: u64, seqno: Seqno) -> bool {
        self.known.lock().latest.get(&client).is_none_or(|latest| latest.seqno < seqno)
    }

    /// Whether it knows a client.
    pub(super) fn has(&self, client: u64) -> bool {
        self.known.lock().latest.contains_key(&client)
    }

    pub(super) fn forget(&self, client: u64) {
        let mut known = self.known.lock();
        if known.latest.remove(&client).is_some() {
            known.unsaved.insert(client);
        }
    }

    /// The clients that are not forgotten by now, by their numbers.
    pub(crate) fn list(&self, now: u64) -> Vec<(u64, Latest)> {
        let known = self.known.lock();
        let latest = known.latest.iter().filter(|(_, latest)| !latest.is_over(now));
        latest.map(|(client, latest)| (*client, *latest)).collect()
    }

    /// Forgets the clients whose time is over. Returns what documents do not have yet.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn unsaved(&self, now: u64) -> Result<Vec<Unsaved>> {
        let mut known = self.known.lock();
        let Known { latest, unsaved } = &mut *known;
        latest.retain(|client, latest| {
            let stays = !latest.is_over(now);
            if !stays {
                unsaved.insert(*client);
            }
            stays
        });
        let mut found = room_for(unsaved.len())?;
        found.extend(unsaved.iter().map(|client| (*client, latest.get(client).copied())));
        Ok(found)
    }

    /// Notes that documents have this. What has changed since is still unsaved.
    pub(super) fn set_saved(&self, saved: &[Unsaved]) {
        let mut known = self.known.lock();
        for (client, latest) in saved {
            if known.latest.get(client) == latest.as_ref() {
                known.unsaved.remove(client);
            }
        }
    }

    /// Notes what a document has.
    pub(super) fn restore(&self, client: u64, latest: Latest) {
        self.known.lock().latest.insert(client, latest);
    }

    /// Notes that the group was replaced by another one, or by none. Documents have its clients.
    pub(super) fn begin_anew(&self, other: Option<&Clients>) {
        let latest = other.map(|other| other.known.lock().latest.clone()).unwrap_or_default();
        *self.known.lock() = Known { latest, unsaved: BTreeSet::new() };
    }
}

/// Adds the documents of clients to a batch.
pub(super) fn put(batch: &mut Batch, group: u16, unsaved: &[Unsaved]) {
    for (client, latest) in unsaved {
        let key = of_client(group, *client);
        match latest {
            Some(latest) => batch.put_meta(key, latest.encode()),
            None => batch.delete_meta(key),
        }
    }
}

/// A document of a client, read; None if it is damaged. `rest` is what its key has behind the
/// prefix.
pub(crate) fn read_document(rest: &str, value: &[u8]) -> Option<(u16, u64, Latest)> {
    let (group, client) = client_of(rest)?;
    Some((group, client, Latest::decode(value)?))
}

/// The clients of all groups, as a database has them.
///
/// # Errors
/// `IO`; `CORRUPTION` for a damaged document.
pub(super) fn read_all(rocks: &Rocks) -> Result<Vec<(u16, u64, Latest)>> {
    let read = |(rest, value): (String, Vec<u8>)| {
        read_document(&rest, &value).ok_or_else(|| {
            Error::corruption(format!(
                "the record of client '{rest}' is damaged: it is not that of a client"
            ))
        })
    };
    rocks.scan_meta(documents::CLIENT)?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64, time: u64) -> Latest {
        Latest { sequence, time, seqno: Seqno::new(sequence) }
    }

    #[test]
    fn a_replay_leaves_later_calls_alone() {
        let clients = Clients::default();
        clients.restore(7, at(5, 5));
        clients.replay(7, at(4, 4));
        clients.replay_forget(7, Seqno::new(5));
        assert_eq!(clients.sequence(7, 5), Some(5));
        clients.replay(7, at(6, 6));
        assert_eq!(clients.sequence(7, 6), Some(6));
        clients.replay_forget(7, Seqno::new(7));
        clients.replay(7, Latest { sequence: 1, time: 8, seqno: Seqno::new(8) });
        assert_eq!(clients.sequence(7, 8), Some(1));
    }

    #[test]
    fn a_client_is_forgotten_after_30_days() {
        let clients = Clients::default();
        assert_eq!(clients.set(7, at(3, 1000)), None);
        assert_eq!(clients.set(8, at(1, 5000)), None);
        let over = 1000 + FORGOTTEN_AFTER_MS;
        assert_eq!((clients.sequence(7, over - 1), clients.sequence(7, over)), (Some(3), None));
        assert_eq!(clients.list(over), [(8, at(1, 5000))]);
        let unsaved = clients.unsaved(over).unwrap();
        assert_eq!(unsaved, [(7, None), (8, Some(at(1, 5000)))]);
        assert!(!clients.has(7));
        // With a clock that went back, nobody is forgotten.
        assert_eq!(clients.sequence(8, 0), Some(1));
    }

    #[test]
    fn calls_that_failed_are_taken_back_in_any_order() {
        for first in [true, false] {
            let clients = Clients::default();
            clients.set(7, at(1, 1));
            let before = clients.set(7, at(2, 2));
            let later = clients.set(7, at(3, 3));
            let mut failed = [before, later];
            if first {
                failed.reverse();
            }
            failed.into_iter().for_each(|before| clients.take_back(7, before));
            assert_eq!(clients.sequence(7, 3), Some(1));
            let before = clients.set(9, at(1, 1));
            clients.take_back(9, before);
            assert!(!clients.has(9));
        }
    }

    #[test]
    fn what_changes_during_a_round_is_written_by_the_next() {
        let clients = Clients::default();
        clients.set(7, at(1, 1));
        clients.set(8, at(1, 1));
        let unsaved = clients.unsaved(1).unwrap();
        clients.set(7, at(2, 2));
        clients.set_saved(&unsaved);
        assert_eq!(clients.unsaved(2).unwrap(), [(7, Some(at(2, 2)))]);
        clients.forget(7);
        clients.forget(5);
        assert_eq!(clients.unsaved(2).unwrap(), [(7, None)]);
        clients.set_saved(&[(7, None)]);
        assert_eq!(clients.unsaved(2).unwrap(), []);
    }

    #[test]
    fn documents_come_back_and_damaged_ones_do_not() {
        let latest = at(u64::MAX, 1_795_000_000_000);
        let (rest, value) = ("00007:00000000000000a5", latest.encode());
        assert_eq!(read_document(rest, &value), Some((7, 0xa5, latest)));
        assert_eq!(read_document(rest, &value[1..]), None);
        assert_eq!(read_document("00007", &value), None);
    }
}

//! What an entry of the journal has behind its header, read back.

use super::entry::CallKind;
use super::sections::{self, Section};
use super::token::{TOKEN_LEN, Token, decode_forget};
use crate::error::Result;
use crate::memory::filled;

/// A payload in memory, aligned for the integers and floats in it.
#[derive(Default)]
pub(super) struct ReadPayload {
    words: Vec<i64>,
    len: usize,
}

/// What a step has of one group.
pub(super) struct OfGroup<'a> {
    pub(super) section: Section,
    pub(super) keys: &'a [i64],
    pub(super) floats: &'a [f32],
}

impl ReadPayload {
    /// Room for a payload of so many bytes, to be written.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn begin(&mut self, len: usize) -> Result<&mut [u8]> {
        let words = len.div_ceil(8);
        if self.words.len() < words {
            self.words = Vec::new();
            self.words = filled(0i64, words)?;
        }
        self.len = len;
        Ok(&mut bytemuck::cast_slice_mut(&mut self.words)[..len])
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The keys and floats of a call; None if there is a part of a key.
    pub(super) fn split(&self, floats_a_key: usize) -> Option<(&[i64], &[f32])> {
        let bytes_a_key = floats_a_key.checked_mul(4)?.checked_add(8)?;
        let keys = self.len / bytes_a_key;
        if keys * bytes_a_key != self.len {
            return None;
        }
        let (keys, floats) = self.bytes().split_at(8 * keys);
        Some((bytemuck::try_cast_slice(keys).ok()?, bytemuck::try_cast_slice(floats).ok()?))
    }

    /// The client that a call of this kind is of, if it is of one; None if it does not fit.
    pub(super) fn token(&self, kind: CallKind) -> Option<Option<Token>> {
        match kind {
            CallKind::Once => Token::decode(self.bytes()).map(|(token, _)| Some(token)),
            _ => Some(None),
        }
    }

    /// The client that is forgotten, and the groups that forget it; None if it does not fit.
    pub(super) fn forgotten(&self) -> Option<(u64, Vec<u16>)> {
        decode_forget(self.bytes())
    }

    /// What a step has of each group, behind its token; None if it does not fit together.
    pub(super) fn sections(&self, token: Option<Token>) -> Option<Vec<OfGroup<'_>>> {
        let begin = if token.is_some() { TOKEN_LEN } else { 0 };
        let (sections, table) = sections::decode(&self.bytes()[begin..])?;
        let keys: usize = sections.iter().map(|section| section.keys as usize).sum();
        let (keys, floats) = self.bytes()[begin + table..].split_at(8 * keys);
        let mut keys: &[i64] = bytemuck::try_cast_slice(keys).ok()?;
        let mut floats: &[f32] = bytemuck::try_cast_slice(floats).ok()?;
        let mut parts = Vec::with_capacity(sections.len());
        for section in sections {
            let (of_keys, of_floats);
            (of_keys, keys) = keys.split_at(section.keys as usize);
            (of_floats, floats) = floats.split_at(section.floats as usize);
            parts.push(OfGroup { section, keys: of_keys, floats: of_floats });
        }
        Some(parts)
    }
}

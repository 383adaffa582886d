//! A step of several groups in the journal: a table that tells of each group, then the keys of all
//! groups, then the floats of all. It is one entry, so it is there whole or not at all.
//!
//! ```text
//! table   0   u32   groups
//!         4   u32   0
//!         8         of each group:
//!             0   u32   group
//!             4   u32   configuration
//!             8   i64   the group's global step after the call
//!             16  f64   learning rate
//!             24  u64   how many keys
//!             32  u64   how many floats: dim a key
//! ```

use super::entry::part;
use super::token::Token;
use crate::error::Result;
use crate::memory::room_for;

const HEAD_LEN: usize = 8;
const SECTION_LEN: usize = 40;

/// One row of the table: a group, its step and rate, and how much of the payload is its.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) group: u16,
    /// The id that the journal gave the configuration.
    pub(crate) config: u32,
    pub(crate) step: i64,
    pub(crate) rate: f64,
    pub(crate) keys: u64,
    pub(crate) floats: u64,
}

/// The table of a step, behind the token if it has one.
///
/// # Errors
/// `OUT_OF_MEMORY`.
pub(crate) fn encode(token: Option<Token>, sections: &[Section]) -> Result<Vec<u8>> {
    let token = token.map(Token::encode);
    let token = token.as_ref().map_or(&[][..], |token| token);
    let mut bytes = room_for(token.len() + HEAD_LEN + SECTION_LEN * sections.len())?;
    bytes.extend(token);
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for section in sections {
        bytes.extend(u32::from(section.group).to_le_bytes());
        bytes.extend(section.config.to_le_bytes());
        bytes.extend(section.step.to_le_bytes());
        bytes.extend(section.rate.to_le_bytes());
        bytes.extend(section.keys.to_le_bytes());
        bytes.extend(section.floats.to_le_bytes());
    }
    Ok(bytes)
}

/// Reads the table at the start of a payload. Returns it with its length. None when the rest of the
/// payload is not what the table says.
pub(super) fn decode(payload: &[u8]) -> Option<(Vec<Section>, usize)> {
    let (head, rest) = payload.split_at_checked(HEAD_LEN)?;
    let count = u32::from_le_bytes(part(head, 0)) as usize;
    let len = count.checked_mul(SECTION_LEN)?;
    let (table, rest) = rest.split_at_checked(len)?;
    let sections: Option<Vec<_>> = table.chunks_exact(SECTION_LEN).map(section).collect();
    let sections = sections.filter(|_| part(head, 4) == [0u8; 4])?;
    let bytes_of = |section: &Section| {
        section.keys.checked_mul(8)?.checked_add(section.floats.checked_mul(4)?)
    };
    let bytes = sections.iter().try_fold(0u64, |sum, section| sum.checked_add(bytes_of(section)?));
    (bytes? == rest.len() as u64).then_some((sections, HEAD_LEN + len))
}

fn section(bytes: &[u8]) -> Option<Section> {
    Some(Section {
        group: u16::try_from(u32::from_le_bytes(part(bytes, 0))).ok()?,
        config: u32::from_le_bytes(part(bytes, 4)),
        step: i64::from_le_bytes(part(bytes, 8)),
        rate: f64::from_le_bytes(part(bytes, 16)),
        keys: u64::from_le_bytes(part(bytes, 24)),
        floats: u64::from_le_bytes(part(bytes, 32)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_back_and_those_that_do_not_fit_are_refused() {
        let of =
            |group, keys, floats| Section { group, config: 7, step: -3, rate: 0.5, keys, floats };
        for sections in [vec![], vec![of(1, 2, 6)], vec![of(65535, 0, 0), of(0, 1, 4), of(9, 3, 3)]]
        {
            let mut payload = encode(None, &sections).unwrap();
            let len = payload.len();
            let bytes = sections.iter().map(|section| 8 * section.keys + 4 * section.floats);
            payload.resize(len + bytes.sum::<u64>() as usize, 1);
            assert_eq!(decode(&payload), Some((sections.clone(), len)));
            payload.push(0);
            assert_eq!(decode(&payload), None);
            payload.truncate(payload.len() - 2);
            assert_eq!(decode(&payload), None);
        }
        // Lengths beyond any payload, a number of groups that lies, a group that is none.
        let mut payload = encode(None, &[of(1, u64::MAX, u64::MAX)]).unwrap();
        assert_eq!(decode(&payload), None);
        payload[0] = 2;
        assert_eq!(decode(&payload), None);
        let mut payload = encode(None, &[of(1, 0, 0)]).unwrap();
        payload[10] = 1;
        assert_eq!(decode(&payload), None);
        assert_eq!(decode(&[0; 7]), None);
    }
}

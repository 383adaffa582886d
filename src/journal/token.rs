//! Tokens: what a caller gives a call so that it is made once, however often it is sent.
//!
//! ```text
//! once     0   u64  client
//!          8   u64  sequence
//!          16       as the payload of a step (`sections`)
//!
//! forget   0   u64  client
//!          8        the groups that forget it, a u64 each
//! ```

use super::entry::part;
use crate::error::Result;
use crate::memory::room_for;

pub(super) const TOKEN_LEN: usize = 16;

/// A client, and which of its calls this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) client: u64,
    /// It rises from call to call.
    pub(crate) sequence: u64,
}

impl Token {
    /// What the payload of a step begins with.
    pub(crate) fn encode(self) -> [u8; TOKEN_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..8].copy_from_slice(&self.client.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// Reads what [`Token::encode`] has written, and returns it with what follows. None when the
    /// payload is too short.
    pub(super) fn decode(payload: &[u8]) -> Option<(Token, &[u8])> {
        let (bytes, rest) = payload.split_at_checked(TOKEN_LEN)?;
        let [client, sequence] = [0, 8].map(|at| u64::from_le_bytes(part(bytes, at)));
        Some((Token { client, sequence }, rest))
    }
}

/// The payload of a call by which these groups forget a client.
///
/// # Errors
/// `OUT_OF_MEMORY`.
pub(crate) fn encode_forget(client: u64, groups: &[u16]) -> Result<Vec<u8>> {
    let mut bytes = room_for(8 + 8 * groups.len())?;
    bytes.extend(client.to_le_bytes());
    groups.iter().for_each(|group| bytes.extend(u64::from(*group).to_le_bytes()));
    Ok(bytes)
}

/// Reads what [`encode_forget`] has written; None when it is something else.
pub(super) fn decode_forget(payload: &[u8]) -> Option<(u64, Vec<u16>)> {
    let (client, groups) = payload.split_at_checked(8)?;
    let groups = groups.chunks(8).map(|group| {
        let group = (group.len() == 8).then(|| u64::from_le_bytes(part(group, 0)))?;
        u16::try_from(group).ok()
    });
    Some((u64::from_le_bytes(part(client, 0)), groups.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_short_ones_do_not() {
        let token = Token { client: u64::MAX, sequence: 7 };
        let mut bytes = token.encode().to_vec();
        assert_eq!(Token::decode(&bytes[..15]), None);
        bytes.push(9);
        assert_eq!(Token::decode(&bytes), Some((token, &[9][..])));
    }

    #[test]
    fn the_groups_that_forget_a_client_come_back() {
        for groups in [vec![], vec![0], vec![65535, 3]] {
            let bytes = encode_forget(u64::MAX, &groups).unwrap();
            assert_eq!(decode_forget(&bytes), Some((u64::MAX, groups)));
            assert_eq!(decode_forget(&bytes[..bytes.len() - 1]), None);
        }
        let mut bytes = encode_forget(1, &[2]).unwrap();
        bytes[10] = 1;
        assert_eq!(decode_forget(&bytes), None, "a group that is none");
    }
}

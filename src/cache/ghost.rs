//! Which keys a shard has evicted lately: a few bits of their hashes, and no keys. A key in ten
//! thousand is taken for one of them wrongly, which does no harm.
//!
//! It is made of lines, one cache line each. A key belongs to one line, which forgets the key that
//! it has known longest when it gets another.

use crate::memory::filled;

/// The keys that a line remembers.
const ENTRIES: usize = 31;

#[derive(Clone)]
#[repr(C, align(64))]
struct Line {
    /// Bits of the keys' hashes; 0 is none.
    tags: [u16; ENTRIES],
    /// The entry that is replaced next.
    next: u16,
}

const _: () = assert!(size_of::<Line>() == 64);

#[derive(Default)]
pub(super) struct Ghost {
    lines: Vec<Line>,
}

impl Ghost {
    /// A ghost that remembers about this many keys; without memory for it, none.
    pub(super) fn of(keys: usize) -> Ghost {
        let line = Line { tags: [0; ENTRIES], next: 0 };
        Ghost { lines: filled(line, keys / ENTRIES).unwrap_or_default() }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val::<[Line]>(&self.lines)
    }

    #[inline(always)]
    fn line(&mut self, hash: u64) -> Option<&mut Line> {
        let number = ((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32;
        self.lines.get_mut(number as usize)
    }

    /// Notes that a key has been evicted.
    pub(super) fn add(&mut self, hash: u64) {
        let Some(line) = self.line(hash) else { return };
        line.tags[line.next as usize] = tag(hash);
        line.next = (line.next + 1) % ENTRIES as u16;
    }

    /// Whether a key was evicted lately. Forgets it.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let Some(line) = self.line(hash) else { return false };
        match line.tags.iter().position(|known| *known == tag(hash)) {
            Some(entry) => {
                line.tags[entry] = 0;
                true
            }
            None => false,
        }
    }
}

/// The shard and the line are of other bits.
#[inline(always)]
fn tag(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::hash::hash;

    #[test]
    fn a_ghost_knows_the_keys_that_were_added_last_and_hardly_any_other() {
        let mut ghost = Ghost::of(31_000);
        assert_eq!(ghost.bytes(), 64_000);
        (0..100_000).for_each(|key| ghost.add(hash(key)));
        let mut known = |keys: std::ops::Range<i64>| {
            keys.map(|key| u32::from(ghost.take(hash(key)))).sum::<u32>()
        };
        let (last, first, others) =
            (known(90_000..100_000), known(0..40_000), known(1 << 40..(1 << 40) + 100_000));
        assert!(last >= 9_990 && first < 400 && others < 100, "{last}, {first}, {others}");
        assert!(known(90_000..100_000) < 20, "a key that was taken is forgotten");
    }

    #[test]
    fn a_ghost_without_memory_knows_nothing() {
        let mut ghost = Ghost::of(30);
        ghost.add(1);
        assert!(!ghost.take(1) && ghost.bytes() == 0);
    }
}

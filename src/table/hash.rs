//! How the index of a table looks for a key. Part of the format: docs/formats.md.

/// The bits of a hash; slots are taken in the order of hashes. The other 22 of 64 bits hold a row's
/// place while an index is built.
pub(super) const HASH_BITS: u32 = 42;
/// The first bits of a hash, by which the rows of a large group are divided into parts.
pub(super) const PART_BITS: u32 = 9;

/// The hash of a key: the upper 42 bits of MurmurHash3's finalizer.
#[inline(always)]
pub(super) fn hash(key: i64) -> u64 {
    let mut hash = key as u64;
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ hash >> 33) >> (64 - HASH_BITS)
}

/// The layout of a group's index.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexShape {
    /// The number of slots that hashes map to.
    homes: u64,
    /// Bits of a slot that hold the row; the others hold the tag.
    row_bits: u32,
}

impl IndexShape {
    pub(super) fn new(rows: u64, homes: u64) -> IndexShape {
        IndexShape { homes, row_bits: u64::BITS - rows.leading_zeros() }
    }

    /// The number of homes: half as many again as rows (docs/design/table.md). For many rows it
    /// is a multiple of the parts, so that no home straddles two.
    pub(super) fn homes_for(rows: u64) -> u64 {
        let homes = rows + rows.div_ceil(2);
        if IndexShape::is_divided(rows) { homes.next_multiple_of(1 << PART_BITS) } else { homes }
    }

    /// Whether the rows are divided into parts while the index is built.
    pub(super) fn is_divided(rows: u64) -> bool {
        rows >= 1 << 16
    }

    /// The home of a hash: the slot at which its search begins. It grows with the hash.
    #[inline(always)]
    pub(super) fn home(self, hash: u64) -> u64 {
        let product = u128::from(hash << (u64::BITS - HASH_BITS)) * u128::from(self.homes);
        (product >> 64) as u64
    }

    /// The value of a row's slot: never 0, which is an empty slot.
    #[inline(always)]
    pub(super) fn slot(self, hash: u64, row: u32) -> u32 {
        (hash << self.row_bits) as u32 | (row + 1)
    }

    /// Whether a slot may hold this hash's row.
    #[inline(always)]
    pub(super) fn may_hold(self, slot: u32, hash: u64) -> bool {
        u64::from(slot ^ (hash << self.row_bits) as u32) >> self.row_bits == 0
    }

    /// The row in a slot, counted from 1; 0 for an empty slot.
    #[inline(always)]
    pub(super) fn row_after(self, slot: u32) -> u32 {
        slot & ((1_u64 << self.row_bits) - 1) as u32
    }
}

//! Where a row is in its shard.

/// The place of a row in its shard's slab, until the row is evicted or moved: a pinned one stays.
///
/// Two values are the places of no row. They mark keys of a call that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct Place(pub(super) u32);

impl Place {
    /// The row is to be left alone: it has seen the call already.
    pub(crate) const SKIP: Place = Place(u32::MAX);
    /// The row is not resident yet.
    pub(crate) const NOT_RESIDENT: Place = Place(u32::MAX - 1);

    /// The slab's first place.
    pub(super) const FIRST: Place = Place(0);
}

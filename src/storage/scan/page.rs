//! A page: some rows that a scan has read.

use crate::rocks::row::RowHeader;

/// Some rows of one group, by ascending key.
#[derive(Debug, Default)]
pub(in crate::storage) struct Page {
    pub(in crate::storage) group: u16,
    pub(in crate::storage) keys: Vec<i64>,
    /// Whether each key is gone, in an increment. A key that is gone has no header and no floats.
    pub(in crate::storage) removed: Vec<bool>,
    pub(in crate::storage) headers: Vec<RowHeader>,
    /// The weights of each row, or everything, one after the other.
    pub(in crate::storage) floats: Vec<f32>,
}

/// The floats of a row that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum RowPart {
    Weights,
    /// The weights and the optimizer's state.
    Everything,
}

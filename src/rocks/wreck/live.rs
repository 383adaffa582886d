//! What the MANIFEST says of one SST file.

/// A file of rows that the MANIFEST names.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// The largest sequence number in it, and the smallest. All entries of a file that was ingested
    /// have this one.
    pub(crate) seqno: u64,
    pub(crate) smallest_seqno: u64,
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
    /// How many entries it has. The MANIFEST does not say it: None when RocksDB has not read it
    /// from the file.
    pub(crate) entries: Option<u64>,
    pub(crate) is_rows: bool,
}

//! What the MANIFEST says about one SST file.

/// An SST file that the MANIFEST names.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// RocksDB's largest sequence number in it, and its smallest. All entries of an ingested file
    /// have this one.
    pub(crate) seqno: u64,
    pub(crate) smallest_seqno: u64,
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
    /// How many entries it has; None when RocksDB has not read that from the file. The MANIFEST
    /// does not say it.
    pub(crate) entries: Option<u64>,
    pub(crate) is_rows: bool,
}

//! The head of a file, which lies at its end: footer, list of blocks, properties.

use super::block::{FOOTER, Handle, pairs, read_footer, varint};
use super::source::{Source, read_block};

/// Larger than properties, a list of blocks, or a part of an index.
pub(super) const MAX_SMALL: u64 = 1 << 20;
/// The numbers of index types.
const ONE_LEVEL: u32 = 0;
const TWO_LEVELS: u32 = 2;

/// What a file says about its blocks and itself.
pub(super) struct Head {
    /// The number that the file's checksums are mixed with.
    pub(super) base: u32,
    /// The blocks that are not of rows, each with its name.
    list: Vec<(Vec<u8>, Handle)>,
    /// None when they are damaged.
    pub(super) properties: Option<Properties>,
}

/// What a file says about itself.
pub(crate) struct Properties {
    /// The column family that it belongs to.
    pub(super) family: Option<String>,
    /// Entries, without range deletions.
    pub(crate) entries: Option<u64>,
    /// The file was ingested. All its entries have the sequence number that the MANIFEST gives it.
    pub(crate) is_external: bool,
    pub(super) is_user_key: bool,
    pub(super) has_two_levels: bool,
    pub(super) range_deletions: u64,
    /// Blocks of entries, and the bytes that they take.
    pub(super) blocks: Option<(u64, u64)>,
    /// Bytes of its filters.
    pub(super) filter_bytes: Option<u64>,
    /// It has nothing that damo's options do not make.
    pub(super) is_usual: bool,
}

impl Head {
    /// # Errors
    /// In words, why nothing of the file can be read.
    pub(super) fn read(source: &dyn Source) -> Result<Head, String> {
        let start = source.len().checked_sub(FOOTER as u64).ok_or("it is cut off")?;
        let mut footer = [0; FOOTER];
        source
            .read_at(&mut footer, start)
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let (base, list) = read_footer(&footer, start)?;
        let list = read_block(source, base, list, MAX_SMALL)
            .map_err(|what| format!("its list of blocks {what}"))?;
        let list = pairs(&list).ok_or("its list of blocks is damaged")?;
        // Blocks whose place is not one are not there.
        let place = |(name, value): (Vec<u8>, Vec<u8>)| {
            Some((name, Handle::decode(&mut value.as_slice())?))
        };
        let mut head =
            Head { base, list: list.into_iter().filter_map(place).collect(), properties: None };
        let properties = head.block("rocksdb.properties");
        head.properties = properties
            .and_then(|handle| read_block(source, base, handle, MAX_SMALL).ok())
            .and_then(|block| Properties::read(&block));
        Ok(head)
    }

    /// The place of a block of this name.
    pub(super) fn block(&self, name: &str) -> Option<Handle> {
        self.list.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, handle)| *handle)
    }

    /// The name of a block that damo's options do not make, if there is one.
    pub(super) fn unusual_block(&self) -> Option<String> {
        let is_usual = |name: &[u8]| {
            [&b"rocksdb.properties"[..], b"rocksdb.index", b"rocksdb.range_del"].contains(&name)
                || name.starts_with(b"fullfilter.")
                || name.starts_with(b"partitionedfilter.")
        };
        let found = self.list.iter().find(|(name, _)| !is_usual(name));
        found.map(|(name, _)| String::from_utf8_lossy(name).into_owned())
    }

    #[cfg(test)]
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> {
        self.list.iter().map(|(_, handle)| *handle)
    }

    /// The first byte behind all entries: where the first other block begins.
    pub(super) fn end_of_entries(&self) -> u64 {
        self.list.iter().map(|(_, handle)| handle.offset).min().unwrap_or(0)
    }
}

impl Properties {
    fn read(block: &[u8]) -> Option<Properties> {
        let list = pairs(block)?;
        let property = |name: &str| {
            list.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value)
        };
        let number = |name: &str| property(name).and_then(|value| varint(&mut value.as_slice()));
        let is_number = |name: &str, usual: u64| number(name).is_none_or(|found| found == usual);
        let family = property("rocksdb.column.family.name");
        // Entries include range deletions, which no data block has.
        let range_deletions = number("rocksdb.num.range-deletions").unwrap_or(0);
        let index = property("rocksdb.block.based.table.index.type")
            .and_then(|value| value.first_chunk())
            .map(|kind| u32::from_le_bytes(*kind));
        let comparator = property("rocksdb.comparator").map(Vec::as_slice);
        let is_usual = comparator == Some(b"leveldb.BytewiseComparator")
            && [Some(ONE_LEVEL), Some(TWO_LEVELS)].contains(&index)
            && number("rocksdb.index.value.is.delta.encoded") == Some(1)
            && is_number("rocksdb.merge.operands", 0)
            && is_number("rocksdb.separate.key.value.in.data.block", 0)
            && is_number("rocksdb.index.block.restart.interval", 1);
        Some(Properties {
            family: family.and_then(|name| String::from_utf8(name.clone()).ok()),
            entries: number("rocksdb.num.entries").map(|all| all.saturating_sub(range_deletions)),
            is_external: property("rocksdb.external_sst_file.version").is_some(),
            is_user_key: number("rocksdb.index.key.is.user.key").is_none_or(|yes| yes == 1),
            has_two_levels: index == Some(TWO_LEVELS),
            range_deletions,
            blocks: number("rocksdb.num.data.blocks").zip(number("rocksdb.data.size")),
            filter_bytes: number("rocksdb.filter.size"),
            is_usual,
        })
    }
}

//! Which bytes of a file belong to what.

use std::ops::Range;

use crate::rocks::sst::SstRows;
use crate::rocks::sst::block::{FOOTER, Handle, TRAILER, index_entries, read_footer};
use crate::rocks::sst::head::MAX_SMALL;
use crate::rocks::sst::source::read_block;

/// What some bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rocks) enum Part {
    Rows,
    /// The whole index, or a part of one.
    Index,
    IndexParts,
    /// The whole filter, or a part of one.
    Filter,
    FilterParts,
    RangeDeletions,
    Properties,
    ListOfBlocks,
    Footer,
}

/// All bytes of a file, each in one of the ranges. A block's trailer is in its range.
pub(in crate::rocks) fn parts_of(file: &SstRows) -> Vec<(Part, Range<usize>)> {
    let (source, head) = (file.source(), file.head());
    let start = source.len() - FOOTER as u64;
    let mut footer = [0; FOOTER];
    source.read_at(&mut footer, start).unwrap();
    let (_, list) = read_footer(&footer, start).unwrap();
    let mut blocks: Vec<_> =
        file.fences().unwrap().handles().into_iter().map(|handle| (Part::Rows, handle)).collect();
    let listed = |handle: Handle| {
        let block = read_block(source, head.base, handle, MAX_SMALL).unwrap();
        let entries = index_entries(&block, 0, u64::MAX, u64::MAX).unwrap();
        entries.into_iter().map(|entry| entry.handle.unwrap())
    };
    let index = head.block("rocksdb.index").unwrap();
    if head.properties.as_ref().unwrap().has_two_levels {
        blocks.extend(listed(index).map(|handle| (Part::Index, handle)));
        blocks.push((Part::IndexParts, index));
    } else {
        blocks.push((Part::Index, index));
    }
    if let Some(filters) = head.block("partitionedfilter.rocksdb.BuiltinBloomFilter") {
        blocks.extend(listed(filters).map(|handle| (Part::Filter, handle)));
        blocks.push((Part::FilterParts, filters));
    }
    let whole = head.block("fullfilter.rocksdb.BuiltinBloomFilter");
    blocks.extend(whole.map(|handle| (Part::Filter, handle)));
    let deletions = head.block("rocksdb.range_del");
    blocks.extend(deletions.map(|handle| (Part::RangeDeletions, handle)));
    blocks.push((Part::Properties, head.block("rocksdb.properties").unwrap()));
    blocks.push((Part::ListOfBlocks, list));

    let range = |handle: Handle| {
        let begin = handle.offset as usize;
        begin..begin + handle.size as usize + TRAILER
    };
    let mut parts: Vec<_> =
        blocks.into_iter().map(|(part, handle)| (part, range(handle))).collect();
    parts.push((Part::Footer, start as usize..source.len() as usize));
    parts.sort_by_key(|(_, range)| range.start);
    let mut free = 0;
    for (part, range) in &parts {
        assert_eq!(range.start, free, "{part:?} begins where the part before it ends");
        free = range.end;
    }
    assert_eq!(free as u64, source.len());
    parts
}

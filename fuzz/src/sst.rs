//! Corrects the checksums of SST files, so that mutated files get past them. It follows a file as
//! readers do: footer, list of blocks, properties, index, rows. The layout is RocksDB's.

use twox_hash::XxHash3_64;

const FOOTER: usize = 53;
/// Bytes behind each block: its compression and checksum.
const TRAILER: usize = 5;
const LZ4: u8 = 4;
/// Blocks are corrected up to this number: lists may be made to name one again and again.
const MOST_BLOCKS: usize = 5000;

/// Where a block is, without its trailer.
type Place = (usize, usize);

/// Gives the footer and all blocks that it leads to right checksums.
pub fn correct_checksums(file: &mut [u8]) {
    let Some(start) = file.len().checked_sub(FOOTER) else { return };
    let footer = &mut file[start..];
    footer[0] = 4;
    footer[1..5].copy_from_slice(&[0x3e, 0, 0x7a, 0]);
    footer[5..9].fill(0);
    footer[41..45].copy_from_slice(&6u32.to_le_bytes());
    footer[45..].copy_from_slice(&0x88e2_41b7_85f4_cff7u64.to_le_bytes());
    let [base, list] = [u32_at(footer, 9), u32_at(footer, 13)];
    let sum = checksum(footer, base, start);
    footer[5..9].copy_from_slice(&sum.to_le_bytes());
    let Some(at) = start.checked_sub(TRAILER + list as usize) else { return };
    let mut sealing = Sealing { file, base, left: MOST_BLOCKS };
    sealing.all((at, list as usize));
}

struct Sealing<'a> {
    file: &'a mut [u8],
    base: u32,
    left: usize,
}

impl Sealing<'_> {
    fn all(&mut self, list: Place) {
        let Some(list) = self.block(list) else { return };
        let mut index = None;
        let mut has_two_levels = false;
        for (name, value) in entries(&list) {
            let Some((place, _)) = place(&value) else { continue };
            match name.as_slice() {
                b"rocksdb.index" => index = Some(place),
                b"rocksdb.properties" => {
                    let properties = entries(&self.block(place).unwrap_or_default());
                    let kind = b"rocksdb.block.based.table.index.type";
                    let is_two = |(name, value): &(Vec<u8>, Vec<u8>)| {
                        name == kind && value.first() == Some(&2)
                    };
                    has_two_levels = properties.iter().any(is_two);
                }
                name if name.starts_with(b"partitionedfilter.") => {
                    self.listed(place);
                }
                _ => {
                    self.block(place);
                }
            }
        }
        let Some(index) = index else { return };
        let listed = self.listed(index);
        if has_two_levels {
            listed.into_iter().for_each(|part| drop(self.listed(part)));
        }
    }

    /// Corrects the blocks that an index lists, after the index itself.
    fn listed(&mut self, index: Place) -> Vec<Place> {
        let places = self.block(index).map(|block| places(&block)).unwrap_or_default();
        places.iter().for_each(|place| drop(self.block(*place)));
        places
    }

    /// Corrects a block. Returns its content; None where no block can be.
    fn block(&mut self, (at, len): Place) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(1)?;
        let block = self.file.get_mut(at..at.checked_add(len)?.checked_add(TRAILER)?)?;
        let (content, stored) = block.split_last_chunk_mut::<4>()?;
        *stored = checksum(content, self.base, at).to_le_bytes();
        let (kind, content) = content.split_last()?;
        if *kind != LZ4 {
            return Some(content.to_vec());
        }
        let mut rest = &*content;
        let len = varint(&mut rest).filter(|len| *len <= 4 << 20)?;
        lz4_flex::block::decompress(rest, len).ok()
    }
}

/// XXH3 of all bytes but the last, mixed with the last and with the block's place.
fn checksum(bytes: &[u8], base: u32, at: usize) -> u32 {
    let (last, rest) = bytes.split_last().unwrap();
    let sum = XxHash3_64::oneshot(rest) as u32 ^ u32::from(*last).wrapping_mul(0x6b90_83d9);
    let at = at as u64;
    let mixed = base ^ (at as u32).wrapping_add((at >> 32) as u32);
    sum.wrapping_add(if base == 0 { 0 } else { mixed })
}

/// The names and values of a block, as far as it can be read.
fn entries(block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rest = entries_part(block);
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while let Some([shared, own, len]) = three(&mut rest) {
        let before = found.last().map(|(name, _)| name.as_slice()).unwrap_or_default();
        let (Some(shared), Some((own, more))) = (before.get(..shared), rest.split_at_checked(own))
        else {
            break;
        };
        let Some((value, more)) = more.split_at_checked(len) else { break };
        rest = more;
        if shared.len() + own.len() > 256 {
            break;
        }
        found.push(([shared, own].concat(), value.to_vec()));
    }
    found
}

fn three(rest: &mut &[u8]) -> Option<[usize; 3]> {
    Some([varint(rest)?, varint(rest)?, varint(rest)?])
}

/// The places that an index has, as far as it can be read.
fn places(block: &[u8]) -> Vec<Place> {
    let mut rest = entries_part(block);
    let mut places = Vec::new();
    while places.len() < MOST_BLOCKS {
        let (Some(_), Some(own)) = (varint(&mut rest), varint(&mut rest)) else { break };
        let Some((found, more)) = rest.get(own..).and_then(place) else { break };
        places.push(found);
        rest = more;
    }
    places
}

fn entries_part(block: &[u8]) -> &[u8] {
    let Some(restarts) = block.last_chunk() else { return &[] };
    let restarts = (u32::from_le_bytes(*restarts) & 0xff_ffff) as usize;
    block.get(..block.len().saturating_sub(4 + 4 * restarts)).unwrap_or_default()
}

/// A place, and what follows it.
fn place(mut bytes: &[u8]) -> Option<(Place, &[u8])> {
    let place = (varint(&mut bytes)?, varint(&mut bytes)?);
    Some((place, bytes))
}

fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return usize::try_from(number).ok();
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

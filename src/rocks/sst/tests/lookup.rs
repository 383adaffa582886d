//! Single rows against RocksDB's own reads, and damaged files.

use super::damage::{BOTH, files};
use super::*;
use crate::rocks::key::Ordinal;
use crate::rocks::sst::{InBlock, SstLookup, hash};

/// What a file has of a key: a sequence number, whether it is a deletion, and the value.
type Version = Option<(u64, bool, Vec<u8>)>;

/// The newest version of a key. `near` is as in `SstLookup::place`.
fn get(file: &SstLookup, key: Ordinal, near: &mut usize) -> Result<Version, Refusal> {
    let mut next = file.place(key, near)?;
    while let Some(place) = next {
        let mut block = vec![0; file.block_len(place)?];
        file.source().read_at(&mut block, place.offset).unwrap();
        let mut room = Vec::new();
        let content = file.content(&block, place.offset, &mut room)?;
        next = match file.find(content, place, key)? {
            InBlock::Version(version, value) => {
                return Ok(Some((version.seqno(), version.is_deletion(), value.to_vec())));
            }
            InBlock::Nothing => None,
            InBlock::Further => file.next(place, block.len()),
        };
    }
    Ok(None)
}

/// The newest version of each key, by the filter and by the fences.
fn versions(file: &SstLookup, keys: &[Ordinal]) -> Result<Vec<Version>, Refusal> {
    let (mut near, mut line) = (0, 0);
    let get = |key: &Ordinal| {
        let version = get(file, *key, &mut near)?;
        assert!(may_have(file, *key, &mut line) || version.is_none(), "the filter hides {key}");
        Ok(version)
    };
    keys.iter().map(get).collect()
}

fn may_have(file: &SstLookup, key: Ordinal, near: &mut usize) -> bool {
    let hash = hash(&key::of_ordinal(key));
    file.may_have(file.filter_line(key, hash, near), hash)
}

/// The newest versions that a cursor finds.
fn newest(file: &SstRows) -> BTreeMap<Ordinal, Version> {
    let mut newest = BTreeMap::new();
    for (key, seqno, is_deletion, value) in entries(file, 64 << 10).unwrap() {
        newest.entry(key).or_insert(Some((seqno, is_deletion, value)));
    }
    newest
}

/// Keys that a file has, and about as many others around and between them.
fn keys_around(present: &BTreeMap<Ordinal, Version>, random: &mut ChaCha8Rng) -> Vec<Ordinal> {
    let mut keys: Vec<_> = present.keys().copied().collect();
    for key in present.keys().step_by(2) {
        keys.extend([key.saturating_sub(1), key + 1]);
    }
    for _ in 0..present.len() {
        keys.push(key::ordinal(&key::encode(random.random_range(0..5), random.random())));
    }
    keys.extend([0, key::ABOVE_ALL - 1]);
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn lookup(path: &std::path::Path, bounds: &Bounds, bytes: Vec<u8>) -> Result<SstLookup, Refusal> {
    in_memory(path, bounds, bytes).and_then(SstLookup::new)
}

/// Compares a file's single rows with those of a cursor, in ascending order and in any.
fn compare(path: &std::path::Path, bounds: &Bounds, random: &mut ChaCha8Rng) {
    let present = newest(&on_disk(path, bounds).unwrap());
    let file = SstLookup::new(on_disk(path, bounds).unwrap()).unwrap();
    let mut keys = keys_around(&present, random);
    let expected: Vec<_> = keys.iter().map(|key| present.get(key).cloned().flatten()).collect();
    assert!(versions(&file, &keys).unwrap() == expected, "{}", path.display());
    for _ in 0..keys.len() {
        let (from, to) = (random.random_range(0..keys.len()), random.random_range(0..keys.len()));
        keys.swap(from, to);
    }
    let expected: Vec<_> = keys.iter().map(|key| present.get(key).cloned().flatten()).collect();
    assert!(versions(&file, &keys).unwrap() == expected, "{}", path.display());
}

#[test]
fn single_rows_of_all_files_are_those_of_a_cursor() {
    let mut random = random(31);
    let lens: [&[usize]; 6] = [&[0], &[13], &[11, 75, 218], &[700], &[4096, 9], &[20, 80_000]];
    for (lens, has_two_levels) in lens.iter().flat_map(|lens| [(lens, false), (lens, true)]) {
        let database = Database::new(has_two_levels);
        // Several filters in a file with two levels.
        let count = if lens.contains(&80_000) { 60 } else { 4000 };
        for group in [0, 3, u16::MAX] {
            database.add(&rows(&mut random, group, count, lens));
        }
        database.add(&rows(&mut random, 3, 1, lens));
        // One file of several groups, with compressed blocks if they become smaller.
        for merges in 0..2 {
            for (path, bounds, _) in database.files() {
                compare(&path, &bounds, &mut random);
            }
            if merges == 0 {
                database.rocks.compact().unwrap();
            }
        }
    }
}

#[test]
fn the_newest_of_many_versions_is_found() {
    for has_two_levels in [false, true] {
        let database = Database::new(has_two_levels);
        many_versions(&database);
    }
}

fn many_versions(database: &Database) {
    let mut random = random(32);
    let mut snapshots = Vec::new();
    // Each version of a row is seen by a snapshot, so a merge keeps all of them: more than a block
    // of one row, or of a few.
    for version in 0..60 {
        let mut few = rows(&mut random, 1, 3, &[75]);
        let value = Some(vec![version; 75]).filter(|_| version % 7 > 0);
        few.extend((0..40).map(|key| ((2, key), value.clone())));
        database.add(&few);
        snapshots.push(database.rocks.db.snapshot());
    }
    let (path, bounds, _) = database.merged_file();
    assert!(newest(&on_disk(&path, &bounds).unwrap()).len() > 150);
    compare(&path, &bounds, &mut random);
}

#[test]
fn keys_that_lie_close_together_are_found() {
    let database = Database::new(false);
    let mut random = random(33);
    let mut all = BTreeMap::new();
    for base in [i64::MIN, -7, 1 << 40, i64::MAX - 5000] {
        for key in 0..4000 {
            all.insert((1, base + key), Some(vec![key as u8; 40]));
        }
    }
    database.add(&all);
    let (path, bounds, _) = database.files().pop().unwrap();
    compare(&path, &bounds, &mut random);
}

#[test]
fn every_flipped_byte_is_refused_or_harmless() {
    let mut random = random(35);
    for (path, bounds, bytes) in files(24, &[11, 75], BOTH) {
        let present = newest(&in_memory(&path, &bounds, bytes.clone()).unwrap());
        let keys = keys_around(&present, &mut random);
        let expected: Vec<_> = keys.iter().map(|key| present.get(key).cloned().flatten()).collect();
        let mut refused = 0;
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let Ok(file) = lookup(&path, &bounds, damaged) else {
                    refused += 1;
                    continue;
                };
                let (mut near, mut line) = (0, 0);
                for (key, expected) in keys.iter().zip(&expected) {
                    match get(&file, *key, &mut near) {
                        Err(_) => refused += 1,
                        Ok(version) => assert!(version == *expected, "another row"),
                    }
                    let may_have = may_have(&file, *key, &mut line);
                    assert!(may_have || expected.is_none(), "the filter hides a row");
                }
            }
        }
        let all = 3 * bytes.len();
        assert!(refused > all * 9 / 10, "{refused} of {all}");
    }
}

#[test]
fn damage_under_a_right_checksum_ends_no_process() {
    let mut random = random(36);
    for (path, bounds, bytes) in files(150, &[11, 75], BOTH) {
        let intact = in_memory(&path, &bounds, bytes.clone()).unwrap();
        let (base, blocks) = intact.blocks();
        let keys = keys_around(&newest(&intact), &mut random);
        let mut refused = 0;
        for _ in 0..700 {
            let mut damaged = bytes.clone();
            let place = blocks[random.random_range(0..blocks.len())];
            let (start, len) = (place.offset as usize, place.size as usize);
            for _ in 0..random.random_range(1..4) {
                damaged[start + random.random_range(0..len)] = random.random();
            }
            let block = &mut damaged[start..start + len + super::super::block::TRAILER];
            super::super::block::seal(block, base, place.offset);
            let Ok(file) = lookup(&path, &bounds, damaged) else {
                refused += 1;
                continue;
            };
            let mut near = 0;
            for key in &keys {
                refused += usize::from(get(&file, *key, &mut near).is_err());
            }
        }
        assert!(refused > 300, "{refused} were refused");
    }
}

#[test]
fn a_block_that_claims_to_be_compressed_ends_no_process() {
    for (path, bounds, bytes) in files(150, &[11, 75], BOTH) {
        let (base, blocks) = in_memory(&path, &bounds, bytes.clone()).unwrap().blocks();
        for place in blocks {
            let (start, len) = (place.offset as usize, place.size as usize);
            let trailer = super::super::block::TRAILER;
            // All lengths that fit into the block: such content unfolds to more than the block.
            for unpacked in [1, len, 10 * len, 200 * len] {
                let mut content = Vec::new();
                let mut rest = unpacked;
                while rest >= 128 {
                    content.push(rest as u8 | 128);
                    rest >>= 7;
                }
                content.push(rest as u8);
                content.extend(lz4_flex::block::compress(&vec![0; unpacked]));
                let mut damaged = bytes.clone();
                let block = &mut damaged[start..start + len + trailer];
                if content.len() <= len {
                    block[..content.len()].copy_from_slice(&content);
                }
                block[len] = super::super::block::LZ4;
                super::super::block::seal(block, base, place.offset);
                let Ok(file) = lookup(&path, &bounds, damaged) else { continue };
                let _ = get(&file, key::ordinal(&key::encode(1, 7)), &mut 0);
            }
        }
    }
}

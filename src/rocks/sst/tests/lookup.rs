//! Single rows against RocksDB's own reads, and damaged files.

use super::damage::files;
use super::*;
use crate::rocks::key::Ordinal;
use crate::rocks::sst::{FoundRow, SstLookup, hash};

/// What a file has of a key: a sequence number, whether it is a deletion, and the value.
type Version = Option<(u64, bool, Vec<u8>)>;

/// The newest version of each of ascending keys, by the filter and by the fences.
fn versions(file: &SstLookup, keys: &[Ordinal]) -> Result<Vec<Version>, Refusal> {
    let (mut near, mut found) = (0, FoundRow::default());
    let get = |key: &Ordinal| {
        let version = file.get(*key, &mut near, &mut found)?;
        let may_have = file.may_have(hash(&key::of_ordinal(*key)));
        assert!(may_have || version.is_none(), "the filter hides {key}");
        Ok(version.map(|version| (version.seqno(), version.is_deletion(), found.value().to_vec())))
    };
    keys.iter().map(get).collect()
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
    for lens in [&[0][..], &[13], &[11, 75, 218], &[700], &[4096, 9], &[20, 80_000]] {
        let database = Database::new(false);
        let count = if lens.contains(&80_000) { 60 } else { 3000 };
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
    let database = Database::new(false);
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
fn files_without_a_filter_are_refused() {
    let database = Database::new(true);
    database.add(&rows(&mut random(34), 1, 3000, &[75]));
    let (path, bounds, bytes) = database.files().pop().unwrap();
    let refusal = lookup(&path, &bounds, bytes).err().unwrap().to_string();
    assert!(refusal.contains("it has no filter that is known"), "{refusal}");
}

#[test]
fn every_flipped_byte_is_refused_or_harmless() {
    let mut random = random(35);
    for (path, bounds, bytes) in files(60, &[11, 75], &[false]) {
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
                let (mut near, mut found) = (0, FoundRow::default());
                for (key, expected) in keys.iter().zip(&expected) {
                    match file.get(*key, &mut near, &mut found) {
                        Err(_) => refused += 1,
                        Ok(version) => {
                            let version = version.map(|version| {
                                let value = found.value().to_vec();
                                (version.seqno(), version.is_deletion(), value)
                            });
                            assert!(version == *expected, "another row");
                        }
                    }
                    let may_have = file.may_have(hash(&key::of_ordinal(*key)));
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
    for (path, bounds, bytes) in files(150, &[11, 75], &[false]) {
        let intact = in_memory(&path, &bounds, bytes.clone()).unwrap();
        let (base, blocks) = intact.blocks();
        let keys = keys_around(&newest(&intact), &mut random);
        let mut refused = 0;
        for _ in 0..2_000 {
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
            let (mut near, mut found) = (0, FoundRow::default());
            for key in &keys {
                refused += usize::from(file.get(*key, &mut near, &mut found).is_err());
            }
        }
        assert!(refused > 500, "{refused} were refused");
    }
}

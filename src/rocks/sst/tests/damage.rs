//! A damaged file is refused, with its name and the place, or has the same rows.

use super::parts::{Part, parts_of};
use super::*;
use crate::rocks::sst::block::{Handle, TRAILER, seal};

/// Indexes of one level, and of two.
pub(super) const BOTH: &[bool] = &[false, true];

/// Files of these kinds of index, one level or two, with several versions of rows, deletions,
/// compressed blocks, and large rows.
pub(super) fn files(
    count: usize,
    lens: &[usize],
    kinds: &[bool],
) -> Vec<(PathBuf, Bounds, Vec<u8>)> {
    let mut files = Vec::new();
    for &has_two_levels in kinds {
        let database = Database::new(has_two_levels);
        let mut random = random(11);
        let mut first = rows(&mut random, 1, count, lens);
        for value in first.values_mut().take(count / 3) {
            value.as_mut().unwrap().fill(7);
        }
        database.add(&first);
        let _snapshot = database.rocks.db.snapshot();
        let mut second = rows(&mut random, 1, count / 2, lens);
        second.values_mut().step_by(3).for_each(|value| *value = None);
        database.add(&second);
        // Seen by the snapshot, so that deletions and old versions stay.
        files.extend(database.files());
        files.push(database.merged_file());
    }
    files
}

fn read(path: &std::path::Path, bounds: &Bounds, bytes: Vec<u8>) -> Result<Entries, Refusal> {
    in_memory(path, bounds, bytes).and_then(|file| entries(&file, 0))
}

/// Returns whether the file is refused.
fn check(path: &std::path::Path, bounds: &Bounds, bytes: Vec<u8>, expected: &Entries) -> bool {
    match read(path, bounds, bytes) {
        Ok(found) => {
            assert!(found == *expected, "other rows");
            false
        }
        Err(refusal) => {
            let text = refusal.to_string();
            let name = path.file_name().unwrap().to_str().unwrap();
            let rest = text.split_once(name).unwrap().1;
            assert!(rest.starts_with("', byte "), "{text}");
            true
        }
    }
}

#[test]
fn every_flipped_byte_of_small_files_is_noticed_or_harmless() {
    for (path, bounds, bytes) in files(60, &[11, 75], BOTH) {
        let expected = read(&path, &bounds, bytes.clone()).unwrap();
        let mut refused = 0;
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                refused += usize::from(check(&path, &bounds, damaged, &expected));
            }
        }
        // Filters are not read.
        let all = 3 * bytes.len();
        assert!(refused > all * 8 / 10, "{refused} of {all}");
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_at_every_length() {
    for (path, bounds, bytes) in files(60, &[11, 75], BOTH) {
        for len in 0..bytes.len() {
            let cut = Bounds { len: len as u64, ..bounds.clone() };
            for bounds in [&bounds, &cut] {
                assert!(read(&path, bounds, bytes[..len].to_vec()).is_err(), "{len} bytes");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_flips_in_larger_files_are_noticed_or_harmless() {
    let files = files(600, &[11, 75, 218, 900], BOTH);
    let mut random = random(12);
    let flips = 100_000 / files.len() + 1;
    for (path, bounds, bytes) in files {
        let expected = read(&path, &bounds, bytes.clone()).unwrap();
        let mut refused = 0;
        for _ in 0..flips {
            let mut damaged = bytes.clone();
            damaged[random.random_range(0..bytes.len())] ^= random.random_range(1..=255u8);
            refused += usize::from(check(&path, &bounds, damaged, &expected));
        }
        assert!(refused > flips * 9 / 10, "{refused} of {flips}");
    }
}

#[test]
fn damage_under_a_right_checksum_does_no_harm() {
    let mut random = random(13);
    for (path, bounds, bytes) in files(150, &[11, 75], BOTH) {
        let (base, blocks) = in_memory(&path, &bounds, bytes.clone()).unwrap().blocks();
        let mut refused = 0;
        for _ in 0..5_000 {
            let mut damaged = bytes.clone();
            let Handle { offset, size } = blocks[random.random_range(0..blocks.len())];
            let (start, len) = (offset as usize, size as usize);
            for _ in 0..random.random_range(1..4) {
                damaged[start + random.random_range(0..len)] = random.random();
            }
            seal(&mut damaged[start..start + len + TRAILER], base, offset);
            refused += usize::from(read(&path, &bounds, damaged).is_err());
        }
        assert!(refused > 500, "{refused} were refused");
    }
}

#[test]
fn an_index_that_names_a_part_twice_is_refused() {
    let database = Database::new(true);
    database.add(&rows(&mut random(14), 1, 12_000, &[75]));
    let (path, bounds, mut bytes) = database.files().pop().unwrap();
    let file = in_memory(&path, &bounds, bytes.clone()).unwrap();
    let (base, _) = file.blocks();
    let parts = parts_of(&file);
    let of_kind = |kind| parts.iter().filter(move |(part, _)| *part == kind).map(|(_, at)| at);
    let places: Vec<Vec<u8>> = of_kind(Part::Index)
        .map(|at| {
            let mut place = Vec::new();
            put(&mut place, at.start);
            put(&mut place, at.len() - TRAILER);
            place
        })
        .collect();
    assert!(places.len() > 1 && places[0].len() == places[1].len());
    let list = of_kind(Part::IndexParts).next().unwrap().clone();
    let second = bytes[list.clone()].windows(places[1].len()).position(|at| at == places[1]);
    let second = list.start + second.unwrap();
    bytes[second..second + places[0].len()].copy_from_slice(&places[0]);
    seal(&mut bytes[list.clone()], base, list.start as u64);
    let refused = read(&path, &bounds, bytes).unwrap_err().to_string();
    assert!(refused.contains("parts that do not follow each other"), "{refused}");
}

fn put(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

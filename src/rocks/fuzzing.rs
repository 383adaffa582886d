//! Entry point for the fuzz target `sst`: bytes as an SST file. Built only under `--cfg fuzzing`
//! and in tests. src/fuzzing exposes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use super::block_reader::BlockReader;
use super::key::{self, KEY_LEN, Ordinal};
use super::lookup_files::{Leveled, LookupFiles, Use};
use super::sst::{Bounds, Cursor, Entry, OpenFile, Refusal, SstFile, SstLookup, SstRows, Version};
use crate::files::regular;

/// How many entries of a file are remembered: a small file may unfold to a million.
const MOST: usize = 500;
/// How many bytes a scan reads at once. It finds the same with each of them.
const PIECES: [usize; 2] = [100, 64 << 10];

type Key = [u8; KEY_LEN];
/// An entry: its version, and its value.
type Scanned = (Version, Vec<u8>);
/// What is found of each key: a row, no row, or a refusal.
type Answers = Vec<Result<Option<Vec<u8>>, ()>>;

/// Reads the file at `path` in all ways: scans it, looks for keys in it, and salvages it as a
/// damaged file. Returns how many entries a scan finds, `MOST` at most; None if the file is
/// refused.
pub fn sst(path: &Path) -> Option<usize> {
    salvage(path);
    let bytes = regular::read(path).unwrap();
    let bounds = Bounds {
        len: bytes.len() as u64,
        first: vec![0; KEY_LEN],
        last: vec![u8::MAX; KEY_LEN + 1],
        first_seqno: 7,
        last_seqno: 7,
    };
    // One file is read by calls. The other is wholly in memory.
    let on_disk = || {
        let file = OpenFile::new(regular::open(path).unwrap()).unwrap();
        SstRows::open(path.to_owned(), Box::new(file), bounds.clone())
    };
    let in_memory = || SstRows::open(path.to_owned(), Box::new(bytes.clone()), bounds.clone());

    let scans = [scan(on_disk(), PIECES[0]), scan(on_disk(), PIECES[1]), scan(in_memory(), 0)];
    assert!(scans.iter().all(|found| *found == scans[0]), "each scan finds the same");
    let [(entries, end), ..] = scans;
    let keys = keys(&entries);
    let leveled = || Leveled::new(0, path.to_owned(), bounds.clone());
    let answers = [on_disk(), in_memory()].map(|file| look_up(file, leveled(), &keys));
    assert!(answers[0] == answers[1], "each lookup finds the same");
    if end == Some(true) {
        // The index may lead to another version of a row, since checksums are right.
        for (key, answer) in keys.iter().zip(&answers[0]) {
            let Ok(Some(value)) = answer else { continue };
            let is_it = |(one, known): &Scanned| one.key == key::ordinal(key) && known == value;
            assert!(entries.iter().any(is_it), "no scan finds this row");
        }
    }
    end.map(|_| entries.len())
}

/// The first entries that a scan finds, and whether these are all; None if the file is refused.
fn scan(file: Result<SstRows, Refusal>, piece: usize) -> (Vec<Scanned>, Option<bool>) {
    let mut entries = Vec::new();
    let mut all = true;
    let scanned = file.and_then(|file| {
        let mut cursor = Cursor::new(&file, 0, key::ABOVE_ALL, piece)?;
        while let Some(version) = cursor.entry() {
            let before = entries.last().is_none_or(|(before, _)| *before < version);
            assert!(before, "entries are ascending");
            if entries.len() < MOST {
                entries.push((version, cursor.value().to_vec()));
            } else {
                all = false;
            }
            cursor.advance()?;
        }
        Ok(())
    });
    (entries, scanned.is_ok().then_some(all))
}

/// Keys to look for, ascending: those of entries, and some around them.
fn keys(entries: &[Scanned]) -> Vec<Key> {
    let around = |key: Ordinal| [key.saturating_sub(1), key, key + 1];
    let mut keys: Vec<_> = entries.iter().flat_map(|(version, _)| around(version.key)).collect();
    keys.extend([0, 1 << 40, key::ABOVE_ALL - 1]);
    keys.retain(|key| *key < key::ABOVE_ALL);
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(key::of_ordinal).collect()
}

/// Looks for ascending keys in a file. If it is refused, so is each key.
fn look_up(file: Result<SstRows, Refusal>, mut listed: Leveled, keys: &[Key]) -> Answers {
    let Ok(file) = file.and_then(SstLookup::new) else { return vec![Err(()); keys.len()] };
    listed.state = Use::Open(Arc::new(file));
    let files = LookupFiles::new(vec![listed]);
    let mut answers: Vec<Option<Result<Option<Vec<u8>>, ()>>> = vec![None; keys.len()];
    let mut answer = |at: usize, found| {
        assert!(answers[at].replace(found).is_none(), "a key has two answers");
    };
    let rest = files.read(&BlockReader::new(true, true), keys, |at, value| {
        answer(at, Ok(value.map(<[u8]>::to_vec)));
        Ok(())
    });
    rest.unwrap().refused.into_iter().for_each(|at| answer(at, Err(())));
    answers.into_iter().map(|answer| answer.expect("each key has an answer")).collect()
}

/// Reads each block by itself.
fn salvage(path: &Path) {
    let Ok(mut file) = SstFile::open(path) else { return };
    file.hold().unwrap();
    for block in 0..file.block_count() {
        let (above, last) = file.keys_of(block);
        assert!(above <= last);
        let Ok(entries) = file.entries_of(block) else { continue };
        let order = |entry: &Entry| (entry.key.clone(), Reverse(entry.seqno));
        assert!(entries.is_sorted_by(|one, next| order(one) < order(next)));
        assert!(entries.iter().all(|entry| above <= entry.key && entry.key <= last));
    }
    file.ends();
    file.has_documents();
}

//! Flips: one byte of a file is changed, in any part of the file. A scan of the file, and lookups
//! in it alone and in all files, find what they found before, or say that they cannot.
//!
//! DAMO_FLIPS sets how many bytes are flipped for each kind of index, and DAMO_FLIPS_SEED which.
//! What each part of the files answered is printed.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rand_chacha::ChaCha8Rng;

use super::*;
use crate::rocks::fate::Fate;
use crate::rocks::row::{self, RowHeader, Stored};
use crate::rocks::sst::tests::parts::{Part, parts_of};
use crate::rocks::sst::tests::{Entries, entries};
use crate::rocks::sst::{OpenFile, SstRows};
use crate::seqno::Seqno;

/// Flips for each kind of index.
const FLIPS: u64 = 50_000;
/// One flip in this many is made in a file on the disk. The others are made in memory.
const ON_DISK: u64 = 16;
/// Rows that were changed before this time go when files are merged.
const GOES: u64 = 1000;
/// Rows that were changed before this time, and not before `GOES`, become tombstones.
const EXPIRES: u64 = 2000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Rows of a group as damo stores them: weights, and rows that were deleted.
fn stored_rows(
    random: &mut ChaCha8Rng,
    group: u16,
    count: usize,
) -> BTreeMap<(u16, i64), Option<Vec<u8>>> {
    let mut rows = BTreeMap::new();
    for _ in 0..count {
        let key = random.random_range(-4000..4000) * 7;
        let mut value = Vec::new();
        let time = random.random_range(0..20_000);
        let seqno = Seqno::new(random.random_range(1..1 << 40));
        match random.random_range(0..12) {
            0 => row::encode_deleted(&mut value, time, seqno),
            // Such blocks become smaller when they are compressed.
            1..5 => row::encode(&mut value, header(time, seqno), &[0.5; 12]),
            _ => {
                let floats: [f32; 8] = random.random();
                row::encode(&mut value, header(time, seqno), &floats);
            }
        }
        let is_tombstone = random.random_range(0..10) == 0;
        rows.insert((group, key), Some(value).filter(|_| !is_tombstone));
    }
    rows
}

fn header(update_time: u64, seqno: Seqno) -> RowHeader {
    RowHeader { update_time, update_num: 3, seqno }
}

fn fate(value: &[u8]) -> Fate {
    match row::parse(value) {
        Ok(Stored::Row(header, _)) if header.update_time < GOES => Fate::Go,
        Ok(Stored::Row(header, _)) if header.update_time < EXPIRES => {
            Fate::Leave(row::expired_on(5))
        }
        _ => Fate::Stay,
    }
}

/// A file to flip bytes of.
struct Subject {
    path: PathBuf,
    bounds: Bounds,
    bytes: Vec<u8>,
    /// Where it is in the list.
    index: usize,
    /// What a scan finds.
    entries: Entries,
    parts: Vec<(Part, std::ops::Range<usize>)>,
    /// For each block of rows the keys of the file that are looked for in it.
    keys: BTreeMap<usize, Vec<usize>>,
    /// What is found if there is no other file.
    alone: Values,
    /// A copy on the disk.
    copy: File,
}

/// Files of several levels, and all that may be asked for.
struct Stage {
    files: Vec<Leveled>,
    keys: Keys,
    /// RocksDB's answers.
    expected: Values,
    subjects: Vec<Subject>,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(has_two_levels: bool, random: &mut ChaCha8Rng) -> Stage {
        let database = Database::with_fate(has_two_levels, fate);
        for group in [1, 2, 700] {
            database.add(&stored_rows(random, group, 4000));
        }
        // Old versions stay, and what has deleted them.
        let _snapshot = database.rocks.db.snapshot();
        database.add(&stored_rows(random, 2, 900));
        database.rocks.compact().unwrap();
        // A merge of these puts them one level above.
        database.clear(700);
        database.rocks.flush().unwrap();
        for index in 0..18 {
            database.add(&stored_rows(random, 1 + index % 2, 60));
        }
        merge_newest(&database);
        for count in [90, 700] {
            database.add(&stored_rows(random, 1, count));
        }
        database.clear(2);
        database.rocks.flush().unwrap();

        let live = database.rocks.db.live_files().unwrap();
        let files = newest_first(&live).unwrap();
        let levels: std::collections::BTreeSet<_> = files.iter().map(|one| one.level).collect();
        assert!(levels.len() > 2 && files.len() > 4, "{levels:?}");
        let mut stage = Stage {
            files,
            keys: Vec::new(),
            expected: Vec::new(),
            subjects: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        stage.open(&database);
        stage
    }

    fn open(&mut self, database: &Database) {
        let on_disk = database.files();
        let bytes_of = |path: &PathBuf| {
            let name = path.file_name();
            on_disk.iter().find(|(one, ..)| one.file_name() == name).unwrap().2.clone()
        };
        let open = |one: &Leveled| {
            let source = Box::new(bytes_of(&one.path));
            SstRows::open(one.path.clone(), source, one.bounds.clone()).unwrap()
        };
        let scanned: Vec<Entries> =
            self.files.iter().map(|one| entries(&open(one), 0).unwrap()).collect();
        let present = scanned.iter().flatten().map(|entry| entry.0);
        let mut keys: Vec<_> = present.flat_map(|key| [key, key + 1]).collect();
        keys.sort_unstable();
        keys.dedup();
        self.keys = keys.into_iter().map(key::of_ordinal).collect();
        self.expected = expected(database, &self.keys);
        for (index, entries) in scanned.into_iter().enumerate() {
            let one = &self.files[index];
            let (path, bounds) = (one.path.clone(), one.bounds.clone());
            let file = open(one);
            let parts = parts_of(&file);
            let lookup = SstLookup::new(file).unwrap();
            let mut keys: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (key, ..) in &entries {
                let at = self.keys.binary_search(&key::of_ordinal(*key)).unwrap();
                let place = lookup.place(*key, &mut 0).unwrap().unwrap();
                keys.entry(place.offset as usize).or_default().push(at);
            }
            self.files[index].state = Use::Open(Arc::new(lookup));
            let alone = LookupFiles::new(vec![self.files[index].clone()]);
            let (alone, refused) = read(&alone, &self.keys);
            assert!(refused.is_empty());
            let bytes = bytes_of(&path);
            let copy = self.dir.path().join(index.to_string());
            fs::write(&copy, &bytes).unwrap();
            let copy = File::options().read(true).write(true).open(&copy).unwrap();
            let subject = Subject { path, bounds, bytes, index, entries, parts, keys, alone, copy };
            self.subjects.push(subject);
        }
        let all = LookupFiles::new(self.files.clone());
        assert_eq!(compare(&all, &self.keys, &self.expected), 0);
    }
}

/// Has RocksDB merge the files of level 0 by itself.
fn merge_newest(database: &Database) {
    let db = &database.rocks.db;
    db.set_options(&[("disable_auto_compactions", "false")]).unwrap();
    let is_between = |level: i32| (1..6).contains(&level);
    let has_merged = || db.live_files().unwrap().iter().any(|file| is_between(file.level));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !has_merged() {
        assert!(std::time::Instant::now() < until, "RocksDB does not merge");
        thread::sleep(std::time::Duration::from_millis(10));
    }
    db.set_options(&[("disable_auto_compactions", "true")]).unwrap();
}

/// One byte that is changed.
struct Flip<'a> {
    number: u64,
    subject: &'a Subject,
    part: Part,
    at: usize,
    bits: u8,
}

impl fmt::Display for Flip<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flip { number, subject, part, at, bits } = self;
        let path = subject.path.display();
        write!(formatter, "flip {number}: byte {at} of '{path}' (of {part:?}), bits {bits:#04x}")
    }
}

/// What flips of a part came to.
#[derive(Default)]
struct Sum {
    flips: u64,
    /// Scans that were refused.
    scans: u64,
    /// Files that were refused for lookups.
    files: u64,
    /// Other files with a block that was refused.
    blocks: u64,
}

impl<'a> Flip<'a> {
    /// Any byte of a file, or one of a part: small parts are hit as often as large ones.
    fn any(stage: &'a Stage, number: u64, random: &mut ChaCha8Rng) -> Flip<'a> {
        let subject = &stage.subjects[random.random_range(0..stage.subjects.len())];
        let at = if random.random() {
            random.random_range(0..subject.bytes.len())
        } else {
            let mut kinds: Vec<Part> = subject.parts.iter().map(|(part, _)| *part).collect();
            kinds.sort_unstable();
            kinds.dedup();
            let kind = kinds[random.random_range(0..kinds.len())];
            let of_kind: Vec<_> = subject.parts.iter().filter(|(part, _)| *part == kind).collect();
            let (_, range) = of_kind[random.random_range(0..of_kind.len())];
            random.random_range(range.clone())
        };
        let found = subject.parts.partition_point(|(_, range)| range.end <= at);
        let any = random.random_range(1..=u8::MAX);
        let bits = if random.random() { 1 << random.random_range(0..8) } else { any };
        Flip { number, subject, part: subject.parts[found].0, at, bits }
    }

    /// The file with the flipped byte.
    fn open(&self, stage: &Stage) -> Result<SstRows, String> {
        let Subject { path, bounds, bytes, index, copy, .. } = self.subject;
        let opened = if self.is_on_disk() {
            copy.write_all_at(&[bytes[self.at] ^ self.bits], self.at as u64).unwrap();
            let file = File::open(stage.dir.path().join(index.to_string())).unwrap();
            let source = Box::new(OpenFile::new(file).unwrap());
            SstRows::open(path.clone(), source, bounds.clone())
        } else {
            let mut bytes = bytes.clone();
            bytes[self.at] ^= self.bits;
            SstRows::open(path.clone(), Box::new(bytes), bounds.clone())
        };
        opened.map_err(|refusal| self.named(&refusal.to_string()))
    }

    fn is_on_disk(&self) -> bool {
        self.number.is_multiple_of(ON_DISK)
    }

    /// A refusal, which names the file and the place.
    fn named(&self, refusal: &str) -> String {
        let name = self.subject.path.file_name().unwrap().to_str().unwrap();
        let place = refusal.split_once(name).map(|(_, place)| place);
        assert!(place.is_some_and(|place| place.starts_with("', byte ")), "{self}: {refusal}");
        refusal.to_owned()
    }

    /// Scans the file and looks for keys, and returns what was noticed.
    fn check(&self, stage: &Stage, reader: &BlockReader, asked: &[usize]) -> (bool, Noticed) {
        let subject = self.subject;
        let file = self.open(stage);
        let pieces = 4096;
        let scanned = file.as_ref().map_err(String::clone).and_then(|file| {
            entries(file, pieces).map_err(|refusal| self.named(&refusal.to_string()))
        });
        if let Ok(found) = &scanned {
            assert!(*found == subject.entries, "{self}: a scan finds other rows");
        }
        let lookup = file.and_then(|file| {
            SstLookup::new(file).map_err(|refusal| self.named(&refusal.to_string()))
        });
        let is_open = lookup.is_ok();
        let state = lookup.map_or(Use::Refused, |lookup| Use::Open(Arc::new(lookup)));
        let mut files = stage.files.clone();
        files[subject.index].state = state;
        let alone = LookupFiles::new(vec![files[subject.index].clone()]);
        let refused = self.look(stage, reader, &alone, asked, &subject.alone);
        self.look(stage, reader, &LookupFiles::new(files), asked, &stage.expected);
        let noticed = match (is_open, refused) {
            (false, _) => Noticed::File,
            (true, 0) => Noticed::Nothing,
            (true, _) => Noticed::Block,
        };
        (scanned.is_err(), noticed)
    }

    /// Looks for keys. Returns how many are refused.
    fn look(
        &self,
        stage: &Stage,
        reader: &BlockReader,
        files: &LookupFiles,
        asked: &[usize],
        expected: &Values,
    ) -> usize {
        let keys: Keys = asked.iter().map(|at| stage.keys[*at]).collect();
        let (values, Rest { refused, .. }) = read_by(reader, files, &keys);
        let mut next_refused = refused.iter().peekable();
        for (index, at) in asked.iter().enumerate() {
            if next_refused.next_if_eq(&&index).is_some() {
                continue;
            }
            let key = key::ordinal(&stage.keys[*at]);
            assert!(values[index] == expected[*at], "{self}: another row of key {key:#x}");
        }
        refused.len()
    }

    /// The positions of keys to ask for: those of the flipped block and of the one before it, and
    /// some others.
    fn asked(&self, stage: &Stage, random: &mut ChaCha8Rng) -> Vec<usize> {
        let mut asked: Vec<usize> =
            (0..30).map(|_| random.random_range(0..stage.keys.len())).collect();
        let near = self.subject.keys.range(..=self.at).rev().take(2);
        near.for_each(|(_, keys)| asked.extend(keys));
        asked.sort_unstable();
        asked.dedup();
        asked
    }
}

#[derive(PartialEq)]
enum Noticed {
    Nothing,
    Block,
    File,
}

fn flip(has_two_levels: bool) {
    let (flips, seed) = (setting("DAMO_FLIPS", FLIPS), setting("DAMO_FLIPS_SEED", 50));
    let mut random = random(seed);
    let stage = Stage::new(has_two_levels, &mut random);
    let readers = [(true, false), (false, false), (false, true)]
        .map(|(maps, makes_rings)| BlockReader::new(maps, makes_rings));
    let mut sums: BTreeMap<Part, Sum> = BTreeMap::new();
    for number in 0..flips {
        let flip = Flip::any(&stage, number, &mut random);
        let asked = flip.asked(&stage, &mut random);
        let reader = &readers[(number / ON_DISK) as usize % readers.len()];
        let (is_scan_refused, noticed) = flip.check(&stage, reader, &asked);
        if flip.is_on_disk() {
            let Flip { subject, at, .. } = flip;
            subject.copy.write_all_at(&subject.bytes[at..=at], at as u64).unwrap();
        }
        // Scans read no filter, and all else.
        let is_of_filter = [Part::Filter, Part::FilterParts].contains(&flip.part);
        assert_eq!(is_scan_refused, !is_of_filter, "{flip}");
        // Lookups read all but rows when a file is opened. If it has no rows, there is no filter,
        // and the index is not read.
        let has_rows = !flip.subject.entries.is_empty();
        assert!(
            noticed == Noticed::File
                || flip.part == Part::Rows
                || (flip.part == Part::Index || flip.part == Part::IndexParts) && !has_rows,
            "{flip}: lookups do not notice it"
        );
        let sum = sums.entry(flip.part).or_default();
        sum.flips += 1;
        sum.scans += u64::from(is_scan_refused);
        sum.files += u64::from(noticed == Noticed::File);
        sum.blocks += u64::from(noticed == Noticed::Block);
    }
    println!("DAMO_FLIPS={flips} DAMO_FLIPS_SEED={seed}, two levels: {has_two_levels}");
    println!("{:15} {:>8} {:>8} {:>8} {:>8}", "part", "flips", "scans", "files", "blocks");
    for (part, Sum { flips, scans, files, blocks }) in &sums {
        println!("{:15} {flips:8} {scans:8} {files:8} {blocks:8}", format!("{part:?}"));
    }
    // A block may have only old versions of its rows, or some that a newer file has.
    let rows = &sums[&Part::Rows];
    assert!((rows.files + rows.blocks) * 20 > rows.flips * 19, "lookups miss flips in rows");
}

#[test]
fn flipped_bytes_of_files_with_two_levels_are_noticed_or_harmless() {
    flip(true);
}

#[test]
fn flipped_bytes_of_files_with_one_level_are_noticed_or_harmless() {
    flip(false);
}

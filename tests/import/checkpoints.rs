//! Import of checkpoint files of the earlier implementation, which the tests write.

use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::{FieldOrder, Imported, Record, Refusal, Storage};

use crate::common::{failure, initializer, int, lookup, optimizer, params, peek};

const OPTIMIZERS: [(&str, usize); 8] = [
    ("sgd", 0),
    ("ftrl", 2),
    ("adagrad", 1),
    ("adam", 2),
    ("amsgrad", 3),
    ("adamw", 2),
    ("lion", 1),
    ("rowwise_adagrad", 0),
];
const DIM: usize = 3;
/// A day in 2024.
const TIME: i64 = 1_720_000_000_000;

/// A record of the earlier implementation.
#[derive(Clone)]
struct Old {
    key_group: i32,
    key: i64,
    group: i32,
    value_key: i64,
    time: i64,
    num: i64,
    dim: i32,
    data: Vec<f32>,
}

fn old(group: i32, key: i64, time: i64, num: i64, data: &[f32]) -> Old {
    Old {
        key_group: group,
        key,
        group,
        value_key: key,
        time,
        num,
        dim: DIM as i32,
        data: data.to_vec(),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Release {
    Older,
    Later,
}

fn bytes(records: &[Old], release: Release) -> Vec<u8> {
    let mut file = (records.len() as i64).to_le_bytes().to_vec();
    for record in records {
        file.extend(12_u64.to_le_bytes());
        file.extend(record.key_group.to_le_bytes());
        file.extend(record.key.to_le_bytes());
        file.extend((32 + 4 * record.data.len() as u64).to_le_bytes());
        file.extend(record.group.to_le_bytes());
        file.extend(record.value_key.to_le_bytes());
        let pair = [record.time, record.num];
        let [first, second] = if release == Release::Older { pair } else { [pair[1], pair[0]] };
        file.extend(first.to_le_bytes());
        file.extend(second.to_le_bytes());
        file.extend(record.dim.to_le_bytes());
        record.data.iter().for_each(|float| file.extend(float.to_le_bytes()));
    }
    file
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, records: &[Old], release: Release) -> PathBuf {
        let path = self.path("old.ckpt");
        fs::write(&path, bytes(records, release)).unwrap();
        path
    }
}

fn open_with(dir: &Path, ttl: i64, options: &Params) -> Storage {
    Storage::open(dir, ttl, options).unwrap()
}

fn embedding(storage: &Storage, name: &str, group: u32) -> Embedding {
    let (optimizer, ones) = (optimizer(name, &[]), initializer("ones", &[]));
    Embedding::new(storage.clone(), optimizer, ones, DIM, group, &Params::new()).unwrap()
}

fn import(storage: &Storage, path: &Path) -> Imported {
    storage.import(path, |_, _| true).unwrap()
}

fn records(storage: &Storage) -> Vec<Record> {
    let mut rows = storage.rows(None).unwrap();
    std::iter::from_fn(|| rows.next_row().unwrap()).collect()
}

fn data(len: usize, seed: i64) -> Vec<f32> {
    (0..len as i64).map(|index| ((seed * 31 + index * 7).rem_euclid(101)) as f32 / 64.0).collect()
}

#[test]
fn rows_of_every_optimizer_come_in_as_they_were_in_both_orders() {
    for release in [Release::Older, Release::Later] {
        let scratch = Scratch::new();
        let storage = open_with(&scratch.path("dir"), 0, &Params::new());
        let mut expected = Vec::new();
        let mut file = Vec::new();
        for (group, (name, states)) in OPTIMIZERS.into_iter().enumerate() {
            let embedding = embedding(&storage, name, group as u32);
            let full = embedding.row_len();
            assert_eq!(full, DIM + states * DIM + usize::from(name == "rowwise_adagrad"));
            for key in [i64::MIN, -5, 0, 7, i64::MAX] {
                let (time, num) = (TIME + key % 100, (key & 0xff) + 1);
                let mut row = data(full, key % 1000 + group as i64);
                file.push(old(group as i32, key, time, num, &row));
                if key == 7 {
                    // Weights alone.
                    file.last_mut().unwrap().data.truncate(DIM);
                    let (weights, state) = row.split_at_mut(DIM);
                    optimizer(name, &[]).begin_at(weights, state);
                }
                let (update_time, update_num) = (time as u64, num as u64);
                expected.push(Record {
                    group: group as u16,
                    key,
                    update_time,
                    update_num,
                    dim: DIM,
                    data: row,
                });
            }
        }
        // Records of different groups alternate in the files.
        file.sort_by_key(|record| (record.key, record.group));
        let report = import(&storage, &scratch.file(&file, release));
        assert_eq!((report.records, report.imported, report.refused_records()), (40, 40, 0));
        assert_eq!(report.without_state, 7, "every optimizer but sgd has state");
        let order =
            if release == Release::Older { FieldOrder::TimeFirst } else { FieldOrder::NumFirst };
        assert_eq!(report.order, order);
        assert_eq!(records(&storage), expected);
        assert_eq!(storage.record(3, 7).unwrap(), expected[18]);
        drop(storage);
        let storage = open_with(&scratch.path("dir"), 0, &Params::new());
        assert_eq!(records(&storage), expected, "also after closing and opening");
        assert_eq!(storage.record(3, 7).unwrap(), expected[18], "without opening the group");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_counted_with_its_reason() {
    let scratch = Scratch::new();
    let ttl = 3600;
    let storage = open_with(&scratch.path("dir"), ttl, &Params::new());
    storage.set_clock_for_test(TIME as u64).unwrap();
    embedding(&storage, "adam", 1);
    embedding(&storage, "sgd", 5);
    let full = data(3 * DIM, 1);
    let good = old(1, 10, TIME - 3_599_999, 4, &full);
    let with = |change: fn(&mut Old)| {
        let mut record = good.clone();
        record.key = 99;
        record.value_key = 99;
        change(&mut record);
        record
    };
    let unknown = |group: i32| old(group, 3, TIME, 1, &full);
    let file = [
        good.clone(),
        unknown(2),
        unknown(-1),
        unknown(65_537),
        unknown(2),
        with(|record| record.group = 5),
        with(|record| record.value_key = 98),
        with(|record| record.dim = 4),
        with(|record| record.dim = -3),
        with(|record| record.data.truncate(6)),
        with(|record| record.data.clear()),
        with(|record| record.data[8] = f32::NAN),
        with(|record| record.data[0] = f32::NEG_INFINITY),
        with(|record| record.num = -1),
        with(|record| record.num = TIME),
        with(|record| record.time = 1 << 48),
        with(|record| record.time = TIME - 3_600_000),
        with(|record| record.time = 0),
        old(5, 11, TIME, 0, &full[..3]),
        old(5, 12, TIME, 0, &full),
    ];
    let report = import(&storage, &scratch.file(&file, Release::Later));
    let found: Vec<_> = report
        .refused
        .iter()
        .map(|refused| (refused.reason, refused.records, refused.first.as_str()))
        .collect();
    assert_eq!((report.records, report.imported), (20, 2), "{found:#?}");
    assert_eq!(report.without_state, 0);
    let expected = [
        (
            Refusal::UnknownGroup,
            4,
            "record 1 (group 2 key 3): group 2 is not registered; registered are: 1, 5",
        ),
        (Refusal::KeyMismatch, 2, "record 5 (group 1 key 99): its value is of group 5 key 99"),
        (Refusal::WrongDim, 2, "record 7 (group 1 key 99): its dim is 4; the group has 3"),
        (
            Refusal::WrongLength,
            3,
            "record 9 (group 1 key 99): it has 6 floats; 9 (weights and the state of 'adam') or 3 \
             (weights) are needed",
        ),
        (Refusal::NotFinite, 2, "record 11 (group 1 key 99): its float 8 is NaN"),
        (
            Refusal::BadTime,
            3,
            "record 13 (group 1 key 99): its update_time is 1719996400001 and its update_num -1",
        ),
        (
            Refusal::Expired,
            2,
            "record 16 (group 1 key 99): its update_time is 1719996400000; rows that were last \
             updated before 1719996400001 have expired",
        ),
    ];
    assert_eq!(found, expected);
    let keys: Vec<_> = records(&storage).iter().map(|record| (record.group, record.key)).collect();
    assert_eq!(keys, [(1, 10), (5, 11)]);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["refused"][0]["reason"], "unknown_group");
    assert_eq!((json["order"].as_str(), json["imported"].as_u64()), (Some("num_first"), Some(2)));
}

#[test]
fn a_file_that_is_not_whole_changes_nothing() {
    let scratch = Scratch::new();
    let storage = open_with(&scratch.path("dir"), 0, &Params::new());
    let adam = embedding(&storage, "adam", 1);
    lookup(&adam, &[1, 2]);
    let before = records(&storage);
    let file: Vec<Old> = (0..3).map(|key| old(1, key, TIME, 4, &data(9, key))).collect();
    let whole = bytes(&file, Release::Older);
    let path = scratch.path("file");
    let refuse = |content: &[u8], words: &str| {
        fs::write(&path, content).unwrap();
        let error = failure(storage.import(&path, |_, _| true), Status::Corruption);
        assert!(error.message().contains(words) && error.message().contains("file'"), "{error}");
    };
    for len in 0..whole.len() {
        refuse(&whole[..len], "not a whole checkpoint file");
    }
    refuse(&[], "has 0 bytes");
    refuse(&[whole.as_slice(), b"\0"].concat(), "after its 3 records 1 bytes follow");
    let with = |at: usize, number: u64| {
        let mut content = whole.clone();
        content[at..at + 8].copy_from_slice(&number.to_le_bytes());
        content
    };
    refuse(&with(0, u64::MAX), "a count of -1 records");
    refuse(&with(0, 1 << 62), "room for 4 at most");
    refuse(&with(0, 2), "after its 2 records 96 bytes follow");
    refuse(&with(8, 13), "record 0 (from 0; byte 16): its key has 13 bytes");
    for absurd in [0, 31, 69, u64::MAX, u64::MAX - 3] {
        refuse(&with(28, absurd), "its value has");
    }
    refuse(b"damotabl, which is something else than numbers that add up", "begins with a count of");
    let mixed =
        [bytes(&file[..1], Release::Older), bytes(&file[1..2], Release::Later)[8..].to_vec()]
            .concat();
    let mut mixed = mixed;
    mixed[0] = 2;
    fs::write(&path, mixed).unwrap();
    let error = failure(storage.import(&path, |_, _| true), Status::Corruption);
    assert!(error.message().contains("which is right cannot be told"), "{error}");
    assert_eq!(records(&storage), before);

    failure(storage.import(scratch.path("missing"), |_, _| true), Status::NotFound);
    failure(storage.import(scratch.path("dir"), |_, _| true), Status::InvalidArgument);
    failure(storage.import("", |_, _| true), Status::InvalidArgument);
    failure(storage.import("/dev/null", |_, _| true), Status::InvalidArgument);
    fs::write(&path, &whole).unwrap();
    let error = failure(storage.import(&path, |_, _| false), Status::Cancelled);
    assert!(error.message().contains("0 records were imported"), "{error}");
    assert_eq!(records(&storage), before);
    assert_eq!(import(&storage, &path).imported, 3);
}

#[test]
fn files_without_records_and_without_times_are_accepted() {
    let scratch = Scratch::new();
    let storage = open_with(&scratch.path("dir"), 0, &Params::new());
    embedding(&storage, "sgd", 0);
    let report = import(&storage, &scratch.file(&[], Release::Older));
    assert_eq!((report.records, report.imported, report.order), (0, 0, FieldOrder::Assumed));
    let report =
        import(&storage, &scratch.file(&[old(0, 1, 0, 6, &[1.0, 2.0, 3.0])], Release::Older));
    assert_eq!((report.imported, report.order), (1, FieldOrder::Assumed));
    assert_eq!(records(&storage)[0].update_num, 6);
}

/// Trains the same rows here, as the earlier implementation would have saved them.
fn trained(dir: &Path, name: &str) -> Vec<Old> {
    let storage = open_with(dir, 0, &Params::new());
    let embedding = embedding(&storage, name, 1);
    for step in 0..5 {
        train(&embedding, step);
    }
    let as_old = |record: Record| {
        let mut old =
            old(1, record.key, record.update_time as i64, record.update_num as i64, &record.data);
        old.dim = record.dim as i32;
        old
    };
    records(&storage).into_iter().map(as_old).collect()
}

fn train(embedding: &Embedding, step: i64) {
    let keys: Vec<i64> = (0..40).map(|index| (index * 13 + step * 7) % 60).collect();
    let gradients: Vec<f32> =
        (0..40 * DIM as i64).map(|index| ((index + step) % 9) as f32 / 8.0 - 0.5).collect();
    embedding.apply_gradients(&keys, &gradients).unwrap();
}

#[test]
fn training_goes_on_as_if_the_rows_had_always_been_here() {
    for (name, _) in OPTIMIZERS {
        for durability in ["process", "power", "checkpoint"] {
            let scratch = Scratch::new();
            let file = trained(&scratch.path("a"), name);
            let options = Params::new().with("durability", durability).unwrap();
            let storage = open_with(&scratch.path("b"), 0, &options);
            let ours = embedding(&storage, name, 1);
            // Rows that the import replaces, in memory and on disk only, and a row that stays.
            lookup(&ours, &(0..30).collect::<Vec<_>>());
            train(&ours, 900);
            ours.insert(&[1000], &[4.0, 5.0, 6.0]).unwrap();
            import(&storage, &scratch.file(&file, Release::Later));
            let original = open_with(&scratch.path("a"), 0, &Params::new());
            let theirs = embedding(&original, name, 1);
            for step in 5..12 {
                train(&ours, step);
                train(&theirs, step);
            }
            let content = |storage: &Storage| -> Vec<(i64, u64, Vec<f32>)> {
                let all = records(storage).into_iter();
                all.filter(|row| row.key < 1000)
                    .map(|row| (row.key, row.update_num, row.data))
                    .collect()
            };
            assert_eq!(content(&storage), content(&original), "{name} {durability}");
            assert_eq!(peek(&ours, &[1000]).0, [4.0, 5.0, 6.0]);
            assert_eq!(ours.step().unwrap(), 8, "an import is no step");
        }
    }
}

#[test]
fn a_large_file_goes_through_a_small_cache() {
    let scratch = Scratch::new();
    let options = params(&[("cache_bytes", int(64 << 10))]);
    let storage = open_with(&scratch.path("dir"), 0, &options);
    let (adam, sgd) = (embedding(&storage, "adam", 1), embedding(&storage, "sgd", 2));
    lookup(&adam, &(0..5000).collect::<Vec<_>>());
    const ROWS: i64 = 200_000;
    let keys = |index: i64| (index * 7919) % ROWS;
    let row = |index: i64| match index % 2 {
        0 => old(1, keys(index), TIME + index, index, &data(9, index)),
        _ => old(2, keys(index), TIME + index, index, &data(3, index)),
    };
    let mut file: Vec<Old> = (0..ROWS).map(row).collect();
    // The last record of a key counts.
    file.push(old(1, keys(0), TIME, 77, &data(9, 5)));
    let mut last = 0;
    let report = storage
        .import(scratch.file(&file, Release::Older), |at, of| {
            assert!(at >= last && at <= of);
            last = at;
            true
        })
        .unwrap();
    assert_eq!((report.imported, report.refused_records()), (ROWS as u64 + 1, 0));
    // The file has the even keys of group 1; a lookup had made 2500 odd ones.
    assert_eq!(storage.row_count(Some(1)).unwrap(), ROWS as u64 / 2 + 2500);
    assert_eq!(storage.row_count(Some(2)).unwrap(), ROWS as u64 / 2);
    for index in (0..ROWS).step_by(997).skip(1) {
        let embedding = if index % 2 == 0 { &adam } else { &sgd };
        let record = embedding.record(keys(index)).unwrap();
        assert_eq!(record.data, data(embedding.row_len(), index));
        assert_eq!((record.update_num, record.update_time), (index as u64, (TIME + index) as u64));
    }
    assert_eq!(adam.record(keys(0)).unwrap().update_num, 77);
    assert!(storage.stat("bytes_in_memory").unwrap() < 32 << 20);
    storage.verify().unwrap();
}

#[test]
fn an_increment_has_what_was_imported() {
    use damo::storage::{DumpFormat, DumpOptions};
    use damo::table::ValueType;
    let scratch = Scratch::new();
    let storage = open_with(&scratch.path("dir"), 0, &Params::new());
    let sgd = embedding(&storage, "sgd", 1);
    sgd.apply_gradients(&[1, 2, 3], &[0.5; 9]).unwrap();
    let options = |since| DumpOptions {
        expire_days: 0.0,
        min_count: 0,
        group: None,
        format: DumpFormat::Table { value_type: ValueType::Float32, since },
    };
    let base = storage.dump(scratch.path("base"), options(None), |_, _| true).unwrap();
    // The imported rows are older than the dump, and still new to its increment.
    import(&storage, &scratch.file(&[old(1, 2, TIME, 4, &[7.0, 8.0, 9.0])], Release::Older));
    let increment =
        storage.dump(scratch.path("more"), options(Some(base.number)), |_, _| true).unwrap();
    assert_eq!((increment.rows, increment.removed), (1, 0));
}

#[test]
fn training_and_checkpoints_go_on_while_rows_come_in() {
    let scratch = Scratch::new();
    let storage = open_with(&scratch.path("dir"), 0, &params(&[("cache_bytes", int(1 << 20))]));
    let adam = embedding(&storage, "adam", 1);
    let file: Vec<Old> = (0..60_000).map(|key| old(1, key, TIME, 3, &data(9, key))).collect();
    let path = scratch.file(&file, Release::Older);
    // Keys that the file does not have: the import must not change them.
    let keys: Vec<i64> = (100_000..100_500).collect();
    let steps = std::thread::scope(|scope| {
        let importing = scope.spawn(|| import(&storage, &path));
        let mut steps = 0_u64;
        while !importing.is_finished() || steps < 3 {
            adam.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
            steps += 1;
            if steps % 8 == 1 {
                storage.checkpoint(scratch.path(&format!("cp{steps}"))).unwrap();
            }
        }
        assert_eq!(importing.join().unwrap().imported, 60_000);
        steps
    });
    for key in [100_000, 100_499] {
        assert_eq!(adam.record(key).unwrap().update_num, steps);
    }
    assert_eq!(storage.row_count(None).unwrap(), 60_500);
    let copy = open_with(&scratch.path("cp1"), 0, &Params::new());
    for row in records(&copy) {
        let is_whole = row.key >= 100_000 || row.data == data(9, row.key) && row.update_num == 3;
        assert!(is_whole, "{row:?}");
    }
}

//! Dumps, checkpoints and iterators see one moment whole, though rows expire, are merged, deleted
//! and inserted while they read.

use std::path::Path;

use damo::embedding::Embedding;
use damo::params::Value;
use damo::storage::{DumpOptions, Dumped, Storage};
use damo::table::{Table, merge};

use crate::common::{float, initializer, int, lookup, optimizer, params, peek, text};

const START: u64 = 1_795_000_000_000;
const TTL_MS: u64 = 3_600_000;
/// More than 32 MiB, above which a table is read as several ranges, one after the other.
const ROWS: i64 = 36_000;
const DIM: usize = 256;

fn open(dir: &Path) -> (Storage, Embedding) {
    let storage =
        Storage::open(dir, (TTL_MS / 1000) as i64, &params(&[("threads", int(1))])).unwrap();
    storage.set_clock_for_test(START).unwrap();
    let sgd = optimizer("sgd", &[("gamma", float(1.0))]);
    // Floats that do not compress.
    let normal = initializer("random_normal", &[]);
    let embedding = Embedding::new(storage.clone(), sgd, normal, DIM, 0, &params(&[])).unwrap();
    (storage, embedding)
}

fn keys() -> Vec<i64> {
    (0..ROWS).collect()
}

/// Makes rows of random weights in merged files, and returns the weights.
fn fill(storage: &Storage, embedding: &Embedding) -> Vec<f32> {
    let weights = lookup(embedding, &keys());
    storage.compact().unwrap();
    assert!(storage.stat("bytes_on_disk").unwrap() > 34 << 20);
    weights
}

/// Lets all rows expire, and merges them away unless a reader needs them.
fn expire(storage: &Storage, now: &mut u64) {
    *now += TTL_MS + 1000;
    storage.set_clock_for_test(*now).unwrap();
    storage.compact().unwrap();
}

fn dump_while(
    storage: &Storage,
    path: &Path,
    list: &[(&str, Value)],
    meanwhile: impl FnOnce(),
) -> Dumped {
    let mut meanwhile = Some(meanwhile);
    let told = |_, _| {
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile();
        }
        true
    };
    storage.dump(path, DumpOptions::read(&params(list)).unwrap(), told).unwrap()
}

#[test]
fn a_dump_has_the_rows_that_expire_while_it_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(&scratch.path().join("t"));
    let weights = fill(&storage, &embedding);
    let (path, mut now) = (scratch.path().join("dump"), START);
    let table = [("format", text("table"))];
    let dumped = dump_while(&storage, &path, &table, || expire(&storage, &mut now));
    assert_eq!((dumped.rows, storage.row_count(None).unwrap()), (ROWS as u64, 0));
    let mut found = vec![0.0; weights.len()];
    Table::open(&path).unwrap().lookup(0, &keys(), &mut found, None).unwrap();
    assert!(found == weights);
}

/// They are not listed as removed, either: the next increment lists them.
#[test]
fn an_increment_has_the_rows_that_expire_while_it_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let (storage, embedding) = open(&path("t"));
    fill(&storage, &embedding);
    let table = [("format", text("table"))];
    let base = dump_while(&storage, &path("base"), &table, || ()).number;
    let mut now = START + 1_000_000;
    storage.set_clock_for_test(now).unwrap();
    embedding.apply_gradients(&keys(), &vec![0.25; DIM * ROWS as usize]).unwrap();
    let trained = peek(&embedding, &[0, ROWS - 1]).0;
    storage.compact().unwrap();
    let since = |number: u64| [table[0].clone(), ("since", int(number as i64))];
    let first = dump_while(&storage, &path("first"), &since(base), || expire(&storage, &mut now));
    assert_eq!((first.rows, first.removed), (ROWS as u64, 0));
    merge(&path("base"), &path("first"), &path("base")).unwrap();
    let (mut weights, mut found) = (vec![0.0; 2 * DIM], [0; 2]);
    let merged = Table::open(&path("base")).unwrap();
    merged.lookup(0, &[0, ROWS - 1], &mut weights, Some(&mut found)).unwrap();
    assert_eq!((weights, found), (trained, [1; 2]));
    let second = dump_while(&storage, &path("second"), &since(first.number), || ());
    assert_eq!((second.rows, second.removed), (0, ROWS as u64));
    merge(&path("base"), &path("second"), &path("base")).unwrap();
    assert_eq!(Table::open(&path("base")).unwrap().rows(0).unwrap(), 0);
}

/// A checkpoint has each row that has not expired at its moment, with the values of that moment.
#[test]
fn a_checkpoint_amid_expiry_has_every_row_that_lives() {
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(&scratch.path().join("t"));
    let mut now = START;
    for turn in 0..2 {
        lookup(&embedding, &keys()[..4000]);
        storage.compact().unwrap();
        now += TTL_MS / 2;
        storage.set_clock_for_test(now).unwrap();
        let young: Vec<i64> = (turn..4000).step_by(7).collect();
        embedding.insert(&young, &vec![turn as f32; DIM * young.len()]).unwrap();
        storage.flush().unwrap();
        let path = scratch.path().join(format!("checkpoint-{turn}"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                storage.set_clock_for_test(now + TTL_MS / 2 + 1).unwrap();
                storage.compact().unwrap();
            });
            storage.checkpoint(&path).unwrap();
        });
        now += TTL_MS / 2 + 1;
        let (copy, rows) = open(&path);
        copy.set_clock_for_test(now).unwrap();
        assert_eq!(copy.row_count(None).unwrap(), young.len() as u64);
        let (weights, found) = peek(&rows, &young);
        assert!(
            found.iter().all(|found| *found == 1)
                && weights.iter().all(|weight| *weight == turn as f32)
        );
        expire(&storage, &mut now);
    }
}

#[test]
fn an_iterator_sees_rows_as_they_were_before_others_were_deleted_and_inserted() {
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(scratch.path());
    let weights = fill(&storage, &embedding);
    let mut rows = storage.rows(Some(0)).unwrap();
    let mut seen: Vec<(i64, f32)> = Vec::new();
    let changes: [&dyn Fn(); 4] = [
        &|| embedding.delete(&(ROWS / 2..ROWS).collect::<Vec<_>>()).unwrap(),
        &|| {
            embedding
                .insert(&keys()[..ROWS as usize / 4], &vec![7.0; DIM * ROWS as usize / 4])
                .unwrap()
        },
        &|| drop(lookup(&embedding, &(-1000..0).chain(ROWS..ROWS + 1000).collect::<Vec<_>>())),
        &|| embedding.delete(&keys()).unwrap(),
    ];
    for change in changes {
        change();
        storage.compact().unwrap();
        for _ in 0..1000 {
            let row = rows.next_row().unwrap().unwrap();
            seen.push((row.key, row.data[0]));
        }
    }
    while let Some(row) = rows.next_row().unwrap() {
        seen.push((row.key, row.data[0]));
    }
    assert!(
        seen == keys().iter().map(|key| (*key, weights[*key as usize * DIM])).collect::<Vec<_>>()
    );
    assert_eq!(storage.row_count(None).unwrap(), 2000);
}

#[test]
fn an_iterator_that_is_dropped_leaves_the_rows_of_another_of_its_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(scratch.path());
    fill(&storage, &embedding);
    let [mut dropped, mut kept] = [(); 2].map(|()| storage.rows(None).unwrap());
    for rows in [&mut dropped, &mut kept] {
        assert_eq!(rows.next_row().unwrap().unwrap().key, 0);
    }
    drop(dropped);
    let mut now = START;
    expire(&storage, &mut now);
    for key in 1..ROWS {
        assert_eq!(kept.next_row().unwrap().unwrap().key, key);
    }
    assert!(kept.next_row().unwrap().is_none());
    drop(kept);
    storage.compact().unwrap();
    assert_eq!(storage.stat("expired_rows").unwrap(), ROWS as u64);
}

/// Two iterators, while the storage starts merges by itself, as in training.
#[test]
fn iterators_of_two_moments_each_see_their_own_while_training_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(scratch.path());
    let weights = fill(&storage, &embedding);
    let mut early = storage.rows(None).unwrap();
    early.next_row().unwrap().unwrap();
    let later = START + TTL_MS + 1000;
    let few: Vec<i64> = (0..ROWS).step_by(100).collect();
    storage.set_clock_for_test(later).unwrap();
    embedding.insert(&few, &vec![2.0; DIM * few.len()]).unwrap();
    storage.flush().unwrap();
    let mut late = storage.rows(None).unwrap();
    storage.set_clock_for_test(later + TTL_MS).unwrap();
    for turn in 0..8 {
        let others: Vec<i64> = (ROWS + turn..2 * ROWS).step_by(100).collect();
        embedding.insert(&others, &vec![3.0; DIM * others.len()]).unwrap();
        storage.flush().unwrap();
    }
    storage.compact().unwrap();
    let mut rest = 0;
    while let Some(row) = early.next_row().unwrap() {
        rest += 1;
        assert!(row.key == rest && row.data == weights[rest as usize * DIM..][..DIM]);
    }
    assert_eq!(rest, ROWS - 1);
    for key in &few {
        let row = late.next_row().unwrap().unwrap();
        assert_eq!((row.key, row.data[0]), (*key, 2.0));
    }
    assert!(late.next_row().unwrap().is_none());
    drop((early, late));
    storage.compact().unwrap();
    // A row that was replaced in between counts once at most; all rows that iterators held are
    // gone.
    assert!(storage.stat("expired_rows").unwrap() >= few.len() as u64);
    assert_eq!(peek(&embedding, &few).1, vec![0; few.len()]);
}

//! Pins: rows that the caller changes itself. Commits are whole, in the journal's order, and lose
//! nobody's change.

use std::collections::BTreeMap;

use damo::embedding::{Conflicts, Embedding, Pin};
use damo::error::Status;
use damo::filter::Filter;
use damo::params::{Params, Value};
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{
    copy_dir, failure, float, initializer, int, lookup, open, optimizer, params, peek, text,
};

pub const DIM: usize = 3;
const STATE: usize = 2;
pub const LEN: usize = DIM + STATE;
const PADDING: i64 = -1;

/// A group whose rows the trainer changes: weights begin at 1, and the state at 0.5.
pub fn own(storage: &Storage, group: u32) -> Embedding {
    let none = [("state", int(STATE as i64)), ("initial_accumulator_value", float(0.5))];
    let ones = initializer("constant", &[("value", float(1.0))]);
    let options = params(&[("padding_key", int(PADDING))]);
    let none = optimizer("none", &none);
    Embedding::new(storage.clone(), none, ones, DIM, group, &options).unwrap()
}

pub fn with(durability: &str, more: &[(&str, Value)]) -> Params {
    let mut all = vec![("durability", text(durability))];
    all.extend_from_slice(more);
    params(&all)
}

pub fn first() -> Vec<f32> {
    [[1.0; DIM].as_slice(), &[0.5; STATE]].concat()
}

/// Adds to every float of the keys' rows.
pub fn add(pin: &mut Pin, keys: usize, more: f32) {
    for position in 0..keys {
        let range = pin.range_of(position).unwrap();
        pin.rows_mut()[range].iter_mut().for_each(|float| *float += more);
    }
}

pub fn row(embedding: &Embedding, key: i64) -> (Vec<f32>, u64) {
    let record = embedding.record(key).unwrap();
    (record.data, record.update_num)
}

#[test]
fn a_pin_changes_nothing_until_it_is_committed() {
    for durability in ["process", "power", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), 0, &with(durability, &[])).unwrap();
        let embedding = own(&storage, 0);
        let keys = [7, PADDING, 9, 7];
        let mut pin = embedding.new_pin();
        embedding.pin_rows(&keys, &mut pin).unwrap();
        assert_eq!(pin.rows_mut().len(), 3 * LEN);
        assert_eq!([0, 1, 2, 3].map(|position| pin.is_new(position)), [true, false, true, true]);
        let ranges = [0, 1, 2, 3].map(|position| pin.range_of(position).unwrap());
        assert_eq!(ranges, [0..LEN, LEN..2 * LEN, 2 * LEN..3 * LEN, 0..LEN]);
        assert_eq!(pin.rows_mut()[..LEN], first());
        assert_eq!(pin.rows_mut()[LEN..2 * LEN], [0.0; LEN]);
        // The key that is given twice is changed twice.
        add(&mut pin, 4, 0.25);
        assert_eq!(peek(&embedding, &keys).1, [0; 4]);
        assert_eq!(storage.row_count(None).unwrap(), 0);
        pin.commit(Conflicts::Refuse).unwrap();
        assert_eq!(row(&embedding, 7), (first().iter().map(|float| float + 0.5).collect(), 1));
        assert_eq!(row(&embedding, 9), (first().iter().map(|float| float + 0.25).collect(), 1));
        assert_eq!(peek(&embedding, &keys).1, [1, 0, 1, 1]);
        assert_eq!(embedding.step().unwrap(), 0);
        let refused = failure(pin.commit(Conflicts::Add), Status::InvalidArgument);
        assert!(refused.message().contains("has no rows"), "{refused}");

        embedding.pin_rows(&keys[..1], &mut pin).unwrap();
        assert!(!pin.is_new(0));
        add(&mut pin, 1, 100.0);
        drop(pin);
        assert_eq!(row(&embedding, 7).1, 1);
        // Nothing is pinned, and nothing is to be committed.
        let mut pin = embedding.new_pin();
        embedding.pin_rows(&[], &mut pin).unwrap();
        pin.commit(Conflicts::Add).unwrap();
        embedding.pin_rows(&[PADDING], &mut pin).unwrap();
        pin.commit(Conflicts::Add).unwrap();
        assert_eq!(storage.row_count(None).unwrap(), 2);
    }
}

#[test]
fn changes_by_others_are_kept_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = own(&storage, 0);
    let (mut pin, mut other) = (embedding.new_pin(), embedding.new_pin());
    embedding.pin_rows(&[1, 2], &mut pin).unwrap();
    embedding.pin_rows(&[2, 3], &mut other).unwrap();
    add(&mut pin, 2, 0.5);
    add(&mut other, 2, 2.0);
    other.commit(Conflicts::Add).unwrap();
    let busy = failure(pin.commit(Conflicts::Refuse), Status::Busy);
    assert!(busy.message().contains("key 2 was changed by another call"), "{busy}");
    assert_eq!(peek(&embedding, &[1, 2, 3]).1, [0, 1, 1]);
    pin.commit(Conflicts::Add).unwrap();
    let plus = |more: f32| first().iter().map(|float| float + more).collect::<Vec<_>>();
    assert_eq!(row(&embedding, 1), (plus(0.5), 1));
    assert_eq!(row(&embedding, 2), (plus(2.5), 2));

    // Deleted, cleared, and back as it was.
    embedding.pin_rows(&[1, 2], &mut pin).unwrap();
    embedding.delete(&[1]).unwrap();
    add(&mut pin, 2, 1.0);
    failure(pin.commit(Conflicts::Refuse), Status::Busy);
    pin.commit(Conflicts::Add).unwrap();
    assert_eq!((row(&embedding, 1), row(&embedding, 2)), ((plus(1.0), 1), (plus(3.5), 3)));
    embedding.pin_rows(&[2], &mut pin).unwrap();
    embedding.clear().unwrap();
    add(&mut pin, 1, 1.0);
    pin.commit(Conflicts::Add).unwrap();
    assert_eq!(row(&embedding, 2), (plus(1.0), 1));
    embedding.pin_rows(&[2], &mut pin).unwrap();
    embedding.delete(&[2]).unwrap();
    embedding.insert_records(&[2], &plus(1.0), &[40]).unwrap();
    pin.commit(Conflicts::Refuse).unwrap();
    assert_eq!(row(&embedding, 2), (plus(1.0), 41));
}

#[test]
fn what_no_row_may_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (group, len) in [(0, 4), (1, 300)] {
        let embedding = own(&storage, group);
        let keys: Vec<i64> = (0..len).collect();
        let mut pin = embedding.new_pin();
        embedding.pin_rows(&keys, &mut pin).unwrap();
        pin.rows_mut()[2 * LEN + 4] = f32::NAN;
        let refused = failure(pin.commit(Conflicts::Add), Status::InvalidArgument);
        assert!(refused.message().contains("key 2 (column 4) would be NaN"), "{refused}");
        assert_eq!(storage.row_count(Some(group as u16)).unwrap(), 0);
        pin.rows_mut()[2 * LEN + 4] = 9.0;
        pin.commit(Conflicts::Add).unwrap();
        assert_eq!(row(&embedding, 2), (vec![1.0, 1.0, 1.0, 0.5, 9.0], 1));
        let gradients = embedding.apply_gradients(&[1], &[1.0; DIM]);
        let refused = failure(gradients, Status::InvalidArgument);
        assert!(refused.message().contains("the optimizer 'none' takes no steps"), "{refused}");
        assert_eq!((embedding.step().unwrap(), row(&embedding, 1).1), (0, 1));
    }
    // Sums of squares under an optimizer that has some.
    let adagrad = optimizer("adagrad", &[]);
    let zeros = initializer("zeros", &[]);
    let embedding = Embedding::new(storage.clone(), adagrad, zeros, 1, 2, &Params::new()).unwrap();
    let mut pin = embedding.new_pin();
    embedding.pin_rows(&[5], &mut pin).unwrap();
    pin.rows_mut()[1] = -1.0;
    let refused = failure(pin.commit(Conflicts::Add), Status::InvalidArgument);
    assert!(refused.message().contains("column 1) would have -1.0"), "{refused}");
    pin.rows_mut().copy_from_slice(&[3.0, 4.0]);
    pin.commit(Conflicts::Add).unwrap();
    assert_eq!(row(&embedding, 5), (vec![3.0, 4.0], 1));
    // Also where another call has changed the row.
    for wrong in [f32::NAN, f32::NEG_INFINITY, -1.0] {
        embedding.pin_rows(&[5], &mut pin).unwrap();
        embedding.apply_gradients(&[5], &[1.0]).unwrap();
        let (before, updates) = row(&embedding, 5);
        pin.rows_mut()[1] = wrong;
        let refused = failure(pin.commit(Conflicts::Add), Status::InvalidArgument);
        assert!(refused.message().contains("key 5 (column 1) would"), "{refused}");
        assert_eq!(row(&embedding, 5), (before, updates));
    }

    let state = |state| {
        let none = optimizer("none", &[("state", int(state))]);
        let zeros = initializer("zeros", &[]);
        Embedding::new(storage.clone(), none, zeros, DIM, 0, &Params::new())
    };
    let refused = failure(state(3), Status::AlreadyExists);
    assert!(refused.message().contains("has state 2 and was asked for with state 3"), "{refused}");
    state(2).unwrap();
}

#[test]
fn keys_that_a_filter_does_not_admit_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("storage"));
    let embedding = own(&storage, 0);
    let path = dir.path().join("filter");
    let options = params(&[
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(1000)),
        ("count", int(2)),
    ]);
    let filter = Filter::open(&options).unwrap();
    lookup(&embedding, &[1]);
    embedding.set_filter(Some(std::sync::Arc::new(filter))).unwrap();
    let mut pin = embedding.new_pin();
    for (made, keys) in [([1, 0, 1], [1, 2, 3]), ([1, 1, 1], [1, 2, 3])] {
        embedding.pin_rows(&[keys[0], keys[1], keys[2], 3], &mut pin).unwrap();
        assert_eq!(pin.rows_mut()[LEN..2 * LEN], first());
        add(&mut pin, 3, 1.0);
        pin.commit(Conflicts::Refuse).unwrap();
        assert_eq!(peek(&embedding, &keys).1, made);
    }
    assert_eq!(row(&embedding, 2), (vec![2.0, 2.0, 2.0, 1.5, 1.5], 1));
    assert_eq!(row(&embedding, 3).1, 2);
    // Keys of a call that is refused are not counted.
    let many = vec![4; (1 << 20) + 1];
    let refused = failure(embedding.pin_rows(&many, &mut pin), Status::InvalidArgument);
    assert!(refused.message().contains("keys_len is 1048577; at most 1048576 keys"), "{refused}");
    embedding.pin_rows(&[4], &mut pin).unwrap();
    pin.commit(Conflicts::Add).unwrap();
    assert_eq!(peek(&embedding, &[4]).1, [0]);
}

/// What rows are to be: floats and update counts.
type Model = BTreeMap<i64, (Vec<f32>, u64)>;

fn check(embedding: &Embedding, model: &Model, keys: i64) {
    for key in 0..keys {
        match model.get(&key) {
            Some(expected) => assert_eq!(row(embedding, key), *expected, "key {key}"),
            None => drop(failure(embedding.record(key), Status::NotFound)),
        }
    }
}

/// Random calls against a reference, over kills, checkpoints, and with a cache that is too small.
#[test]
fn histories_are_what_a_map_says() {
    const KEYS: i64 = 400;
    for (seed, durability) in ["process", "power", "process", "process"].into_iter().enumerate() {
        let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
        let scratch = tempfile::tempdir().unwrap();
        let mut dir = scratch.path().join("0");
        let mut model = Model::new();
        let cache = int(if seed == 3 { 64 << 10 } else { 1 << 26 });
        for life in 1..8 {
            let options = with(durability, &[("cache_bytes", cache.clone())]);
            let storage = Storage::open(&dir, 0, &options).unwrap();
            let embedding = own(&storage, 0);
            check(&embedding, &model, KEYS);
            let mut pin = embedding.new_pin();
            for _ in 0..60 {
                let most = [1, 9, 70, 300][random.random_range(0..4)];
                let count = random.random_range(0..=most);
                let keys: Vec<i64> = (0..count).map(|_| random.random_range(-1..KEYS)).collect();
                match random.random_range(0..12) {
                    0 => {
                        embedding.delete(&keys).unwrap();
                        keys.iter().for_each(|key| drop(model.remove(key)));
                    }
                    1 => storage.flush().unwrap(),
                    2 => embedding.pin_rows(&keys, &mut pin).unwrap(),
                    3 => {
                        let keys: Vec<i64> = keys.iter().map(|key| key.abs()).collect();
                        embedding.insert(&keys, &vec![2.0; DIM * keys.len()]).unwrap();
                        let row = [2.0, 2.0, 2.0, 0.5, 0.5].to_vec();
                        model.extend(keys.iter().map(|key| (*key, (row.clone(), 0))));
                    }
                    _ => {
                        embedding.pin_rows(&keys, &mut pin).unwrap();
                        for (position, key) in keys.iter().enumerate() {
                            let range = pin.range_of(position).unwrap();
                            let pinned = &mut pin.rows_mut()[range];
                            pinned[random.random_range(0..LEN)] *= random.random_range(0.5..2.0);
                            if *key != PADDING {
                                let pinned = pinned.to_vec();
                                let count = |old: &(_, u64)| old.1;
                                let updates = model.get(key).map_or(0, count);
                                model.insert(*key, (pinned, updates));
                            }
                        }
                        let conflicts = [Conflicts::Add, Conflicts::Refuse];
                        pin.commit(conflicts[random.random_range(0..2)]).unwrap();
                        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
                        for key in distinct.into_iter().filter(|key| **key != PADDING) {
                            model.get_mut(key).unwrap().1 += 1;
                        }
                    }
                }
            }
            check(&embedding, &model, KEYS);
            let next = scratch.path().join(life.to_string());
            if random.random_range(0..3) == 0 {
                storage.checkpoint(&next).unwrap();
            } else {
                // A copy of the directory between calls is what a kill would leave.
                copy_dir(&dir, &next);
            }
            dir = next;
        }
    }
}

#[test]
fn a_row_that_expires_while_it_is_pinned_is_made_anew() {
    const START: u64 = 1_795_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 10, &Params::new()).unwrap();
    storage.set_clock_for_test(START).unwrap();
    let embedding = own(&storage, 0);
    embedding.insert(&[1, 2], &[5.0; 2 * DIM]).unwrap();
    let mut pin = embedding.new_pin();
    embedding.pin_rows(&[1, 2], &mut pin).unwrap();
    add(&mut pin, 2, 1.0);
    storage.set_clock_for_test(START + 10_000).unwrap();
    failure(pin.commit(Conflicts::Refuse), Status::Busy);
    assert_eq!(peek(&embedding, &[1, 2]).1, [0, 0]);
    pin.commit(Conflicts::Add).unwrap();
    let record = embedding.record(2).unwrap();
    assert_eq!((record.data, record.update_num), (vec![2.0, 2.0, 2.0, 1.5, 1.5], 1));
    assert_eq!(record.update_time, START + 10_000);
    // A pin reads it as gone, too.
    storage.set_clock_for_test(START + 20_000).unwrap();
    embedding.pin_rows(&[1], &mut pin).unwrap();
    assert!(pin.is_new(0) && pin.rows_mut() == first());
}

#[test]
fn a_pin_outlives_its_embedding_and_takes_another() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("a"));
    let embedding = own(&storage, 0);
    let mut pin = embedding.new_pin();
    embedding.pin_rows(&[1], &mut pin).unwrap();
    add(&mut pin, 1, 1.0);
    drop((embedding, storage));
    pin.commit(Conflicts::Add).unwrap();
    let other = open(&dir.path().join("b"));
    let adam = optimizer("adam", &[]);
    let zeros = initializer("zeros", &[]);
    let wide = Embedding::new(other, adam, zeros, 7, 3, &Params::new()).unwrap();
    wide.pin_rows(&[4, 5], &mut pin).unwrap();
    assert_eq!(pin.rows_mut().len(), 2 * 21);
    add(&mut pin, 2, 0.5);
    pin.commit(Conflicts::Add).unwrap();
    assert_eq!(row(&wide, 5), (vec![0.5; 21], 1));
    // The first storage is closed by now, and can be opened again.
    assert_eq!(row(&own(&open(&dir.path().join("a")), 0), 1).1, 1);
}

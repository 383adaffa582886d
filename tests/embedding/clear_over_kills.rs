//! Kills at any moment before or after a clear: calls are replayed in their order, so no cleared
//! row comes back, and no later row is lost.

use std::collections::BTreeMap;
use std::path::Path;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::{Storage, salvage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{copy_dir, embed, failure, int, lookup, open, params, peek, text};

const KEYS: i64 = 40;
const GROUPS: [u32; 2] = [0, 1];

/// Update counts by group and key, and steps. All gradients are equal, so the count determines the
/// row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<(u16, i64), u64>,
    steps: [i64; 2],
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Step(usize),
    Delete(usize),
    Clear(usize),
    SetStep(usize),
    Flush,
    Compact,
    Dump,
}

fn open_with(dir: &Path, durability: &str) -> (Storage, [Embedding; 2]) {
    // A small cache writes back and evicts rows in between.
    let options = params(&[("durability", text(durability)), ("cache_bytes", int(64 << 10))]);
    let storage = Storage::open(dir, 0, &options).unwrap();
    let embeddings = GROUPS.map(|group| embed(&storage, group));
    (storage, embeddings)
}

fn draw(random: &mut ChaCha8Rng) -> Act {
    let group = random.random_range(0..2);
    match random.random_range(0..20) {
        0..9 => Act::Step(group),
        9..11 => Act::Delete(group),
        11..14 => Act::Clear(group),
        14 => Act::SetStep(group),
        15..18 => Act::Flush,
        18 => Act::Compact,
        _ => Act::Dump,
    }
}

fn make(
    act: Act,
    (storage, embeddings): &(Storage, [Embedding; 2]),
    model: &mut Model,
    random: &mut ChaCha8Rng,
) {
    let keys: Vec<i64> =
        (0..random.random_range(1..9)).map(|_| random.random_range(0..KEYS)).collect();
    match act {
        Act::Step(group) => {
            embeddings[group].apply_gradients(&keys, &vec![1.0; keys.len()]).unwrap();
            keys.iter().for_each(|key| *model.rows.entry((group as u16, *key)).or_default() += 1);
            model.steps[group] += 1;
        }
        Act::Delete(group) => {
            embeddings[group].delete(&keys).unwrap();
            model.rows.retain(|(of, key), _| usize::from(*of) != group || !keys.contains(key));
        }
        Act::Clear(group) => {
            embeddings[group].clear().unwrap();
            model.rows.retain(|(of, _), _| usize::from(*of) != group);
            model.steps[group] = 0;
        }
        Act::SetStep(group) => {
            embeddings[group].set_step(100).unwrap();
            model.steps[group] = 100;
        }
        Act::Flush => storage.flush().unwrap(),
        Act::Compact => storage.compact().unwrap(),
        // The cut writes the rows of its moment, and no later ones.
        Act::Dump => assert_eq!(storage.row_count(None).unwrap(), model.rows.len() as u64),
    }
}

/// The rows of an iterator, and the steps of each embedding.
fn found((storage, embeddings): &(Storage, [Embedding; 2])) -> Model {
    let mut model = Model::default();
    let mut rows = storage.rows(None).unwrap();
    while let Some(row) = rows.next_row().unwrap() {
        model.rows.insert((row.group, row.key), row.update_num);
    }
    let all: Vec<i64> = (0..KEYS).collect();
    for (group, embedding) in embeddings.iter().enumerate() {
        let rows = peek(embedding, &all).1;
        let has = |key: &i64| u8::from(model.rows.contains_key(&(group as u16, *key)));
        assert_eq!(rows, all.iter().map(has).collect::<Vec<u8>>(), "memory and disk differ");
        model.steps[group] = embedding.step().unwrap();
    }
    model
}

/// A copy of the directory between calls is what a kill would leave.
#[test]
fn every_call_before_and_after_a_clear_is_there_once_it_is_opened_again() {
    for (turn, durability) in ["process", "power", "process"].into_iter().enumerate() {
        let mut random = ChaCha8Rng::seed_from_u64(turn as u64);
        let scratch = tempfile::tempdir().unwrap();
        let mut dir = scratch.path().join("0");
        let mut model = Model::default();
        for life in 1..25 {
            let opened = open_with(&dir, durability);
            assert_eq!(found(&opened), model, "{durability}, life {life}");
            for _ in 0..random.random_range(1..30) {
                make(draw(&mut random), &opened, &mut model, &mut random);
            }
            let next = scratch.path().join(life.to_string());
            if random.random_range(0..4) == 0 {
                assert_eq!(found(&opened), model);
                drop(opened);
                copy_dir(&dir, &next);
            } else {
                copy_dir(&dir, &next);
                // Its writer makes files as long as it is open.
                drop(opened);
            }
            std::fs::remove_dir_all(&dir).unwrap();
            dir = next;
        }
    }
}

/// Without a journal a clear gets to disk with the next flush, and never in part.
#[test]
fn without_a_journal_a_kill_leaves_what_was_flushed() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let opened = open_with(&at("t"), "checkpoint");
    let (storage, [first, second]) = &opened;
    let keys: Vec<i64> = (0..KEYS).collect();
    for embedding in [first, second] {
        embedding.apply_gradients(&keys, &vec![1.0; keys.len()]).unwrap();
    }
    storage.flush().unwrap();
    first.clear().unwrap();
    copy_dir(&at("t"), &at("before"));
    first.apply_gradients(&[1], &[1.0]).unwrap();
    storage.flush().unwrap();
    copy_dir(&at("t"), &at("after"));
    let before = found(&open_with(&at("before"), "checkpoint"));
    assert_eq!((before.rows.len(), before.steps), (80, [1, 1]));
    let after = found(&open_with(&at("after"), "checkpoint"));
    assert_eq!((after.rows.len(), after.steps), (41, [1, 1]));
    assert_eq!(after.rows[&(0, 1)], 1);
}

/// A round that makes room writes the clear's DeleteRange, and leaves the journal as it is. After a
/// kill the journal has all calls. A power cut may cut its end off, and the clear with it. Calls
/// from before the clear must not bring rows back in either case.
#[test]
fn a_clear_on_disk_counts_whether_or_not_the_journal_has_it() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let opened = open_with(&at("t"), "process");
    let (storage, [first, second]) = &opened;
    let step = |embedding: &Embedding, keys: &[i64]| {
        embedding.apply_gradients(keys, &vec![1.0; keys.len()]).unwrap();
    };
    let keys: Vec<i64> = (0..KEYS).collect();
    step(first, &keys);
    step(second, &keys);
    copy_dir(&at("t/journal"), &at("journal"));
    first.clear().unwrap();
    for some in (1000..9000).collect::<Vec<i64>>().chunks(200) {
        step(second, some);
    }
    assert!(storage.stat("evictions").unwrap() > 1000);
    copy_dir(&at("t"), &at("killed"));
    copy_dir(&at("t"), &at("cut"));
    for entry in std::fs::read_dir(at("cut/journal")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    copy_dir(&at("journal"), &at("cut/journal"));
    for name in ["killed", "cut"] {
        let found = found(&open_with(&at(name), "process"));
        assert!(found.rows.keys().all(|(group, _)| *group == 1), "{name}");
        assert_eq!((found.steps[0], found.rows[&(1, 7)]), (0, 1), "{name}");
    }
}

/// Neither an opening with read_only nor a salvage brings cleared rows back.
#[test]
fn looks_and_salvage_see_no_row_that_was_cleared() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let (storage, [first, second]) = open_with(&at("t"), "process");
    let keys: Vec<i64> = (0..KEYS).collect();
    for embedding in [&first, &second] {
        embedding.apply_gradients(&keys, &vec![1.0; keys.len()]).unwrap();
    }
    storage.flush().unwrap();
    first.clear().unwrap();
    let look = || {
        let options = params(&[("read_only", Value::Bool(true))]);
        let looking = Storage::open(at("t"), 0, &options).unwrap();
        let first = embed(&looking, 0);
        assert_eq!(first.step().unwrap(), 0);
        failure(first.record(7), Status::NotFound);
        assert_eq!(lookup(&first, &[7]), [1.0], "as a new row");
        looking.row_count(None).unwrap()
    };
    assert_eq!(look(), 40);
    // The clear is in the journal only; later rows are, too; all is on disk, where cleared rows
    // share files with others.
    copy_dir(&at("t"), &at("journal-only"));
    first.apply_gradients(&[3], &[1.0]).unwrap();
    first.set_step(0).unwrap();
    copy_dir(&at("t"), &at("later"));
    storage.flush().unwrap();
    assert_eq!(look(), 41);
    copy_dir(&at("t"), &at("on-disk"));
    drop((first, second, storage));
    for (name, rows) in [("journal-only", 40), ("later", 41), ("on-disk", 41), ("t", 41)] {
        let out = at(&format!("{name}.saved"));
        let salvaged = salvage(&at(name), &out, None, |_| ()).unwrap();
        assert!(salvaged.is_whole(), "{name}: {salvaged:?}");
        assert_eq!((salvaged.rows, salvaged.entries_lost), (rows, 0), "{name}: {salvaged:?}");
        let saved = open(&out);
        assert_eq!(peek(&embed(&saved, 0), &[7]).1, [0], "{name}");
        // Without the MANIFEST salvage reads every file, including those that RocksDB had merged.
        let cut = at(&format!("{name}.damaged"));
        copy_dir(&at(name), &cut);
        for entry in std::fs::read_dir(&cut).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST-") {
                std::fs::write(&path, b"damaged").unwrap();
            }
        }
        let salvaged = salvage(&cut, &at(&format!("{name}.rest")), None, |_| ()).unwrap();
        assert_eq!(salvaged.rows, rows, "{name}: {salvaged:?}");
    }
}

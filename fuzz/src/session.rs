//! A storage and its model: each call is made on both, and their answers must be the same.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::Storage;
use tempfile::TempDir;

use crate::bytes::Bytes;
use crate::model::{Model, PADDING, Rows, SPECS};
use crate::storage::{embedding, open, optimizer, text};

/// The smallest cache, and one that holds all rows.
const CACHES: [i64; 2] = [64 << 10, 1 << 20];
const DURABILITIES: [&str; 3] = ["process", "checkpoint", "power"];
/// How long rows live; 0 is for ever.
const TTLS: [i64; 2] = [0, 100];
/// Checkpoints that a program can choose from.
const SLOTS: usize = 2;

pub struct Session {
    pub(crate) model: Model,
    /// None while it is closed.
    open: Option<Opened>,
    durability: &'static str,
    ttl_seconds: i64,
    cache_bytes: i64,
    /// The groups of each checkpoint, and how many were made.
    checkpoints: [Option<(String, [Rows; SPECS.len()])>; SLOTS],
    made: usize,
    /// The number of the last table dump, whose file still exists; increments follow it.
    pub(crate) since: Option<u64>,
    pub(crate) folder: TempDir,
}

struct Opened {
    embeddings: [Vec<Embedding>; SPECS.len()],
    storage: Storage,
}

impl Session {
    /// Begins with an empty storage; the first byte chooses its options.
    pub fn new(bytes: &mut Bytes) -> Session {
        let choice = bytes.byte();
        let at = |shift: u8, len: usize| usize::from(choice >> shift) % len;
        let ttl_seconds = TTLS[at(1, TTLS.len())];
        let mut session = Session {
            model: Model::new(ttl_seconds),
            open: None,
            durability: DURABILITIES[at(2, DURABILITIES.len())],
            ttl_seconds,
            cache_bytes: CACHES[at(0, CACHES.len())],
            checkpoints: [const { None }; SLOTS],
            made: 0,
            since: None,
            folder: crate::fresh_folder(),
        };
        session.reopen();
        session
    }

    /// Closes the storage and opens it again.
    pub fn reopen(&mut self) {
        self.open = None;
        let dir = self.folder.path().join("storage");
        let storage =
            open(&dir, self.durability, self.ttl_seconds, self.cache_bytes, self.model.now);
        let embeddings = SPECS.each_ref().map(|spec| {
            let face = |duplicates: &&str| {
                let options =
                    [("duplicates", text(duplicates)), ("padding_key", Value::Int(PADDING))];
                embedding(
                    &storage,
                    optimizer(spec.optimizer),
                    spec.dim,
                    spec.group.into(),
                    &options,
                )
            };
            spec.duplicates.iter().map(face).collect()
        });
        self.open = Some(Opened { embeddings, storage });
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.open.as_ref().expect("an open storage").storage
    }

    pub(crate) fn embedding(&self, group: usize, face: usize) -> &Embedding {
        &self.open.as_ref().expect("an open storage").embeddings[group][face]
    }

    pub fn lookup(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        let mut weights = vec![f32::NAN; keys.len() * SPECS[group].dim];
        self.embedding(group, 0).lookup(&keys, &mut weights).unwrap();
        assert_same(&weights, &self.model.lookup(group, &keys), "lookup");
    }

    pub fn peek(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        let (mut weights, mut found) =
            (vec![f32::NAN; keys.len() * SPECS[group].dim], vec![9; keys.len()]);
        self.embedding(group, 0).peek(&keys, &mut weights, Some(&mut found)).unwrap();
        let expected = self.model.peek(group, &keys);
        assert_eq!(found, expected.1, "peek finds {keys:?}");
        assert_same(&weights, &expected.0, "peek");
    }

    pub fn apply(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        let face = bytes.below(SPECS[group].duplicates.len());
        let mut gradients = floats(bytes, keys.len() * SPECS[group].dim);
        let is_bad = bytes.byte() == 255 && keys.last().is_some_and(|key| *key != PADDING);
        if is_bad && let Some(last) = gradients.last_mut() {
            *last = f32::NAN;
        }
        match self.embedding(group, face).apply_gradients(&keys, &gradients) {
            Ok(()) => assert!(!is_bad, "a gradient that is NaN was taken"),
            Err(error) => {
                assert!(is_bad && error.status() == Status::InvalidArgument, "{error}");
                return;
            }
        }
        self.model.apply(group, SPECS[group].duplicates[face], &keys, &gradients);
        let step = self.embedding(group, face).step().unwrap();
        assert_eq!(step, self.model.groups[group].step, "step of group {group}");
    }

    pub fn insert(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        let weights = floats(bytes, keys.len() * SPECS[group].dim);
        match self.embedding(group, 0).insert(&keys, &weights) {
            Ok(()) => self.model.insert(group, &keys, &weights),
            Err(error) => assert!(keys.contains(&PADDING), "{error}"),
        }
    }

    pub fn insert_records(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        let mut rows = floats(bytes, keys.len() * self.model.row_len(group));
        self.model.make_possible(group, &mut rows);
        let updates: Vec<u64> = keys.iter().map(|_| u64::from(bytes.byte())).collect();
        match self.embedding(group, 0).insert_records(&keys, &rows, &updates) {
            Ok(()) => self.model.insert_records(group, &keys, &rows, &updates),
            Err(error) => assert!(keys.contains(&PADDING), "{error}"),
        }
    }

    pub fn delete(&mut self, bytes: &mut Bytes) {
        let (group, keys) = group_and_keys(bytes);
        self.embedding(group, 0).delete(&keys).unwrap();
        self.model.delete(group, &keys);
    }

    pub fn clear(&mut self, bytes: &mut Bytes) {
        let group = bytes.below(SPECS.len());
        self.embedding(group, 0).clear().unwrap();
        self.model.groups[group] = Rows::default();
        // No increment follows a dump from before the clear.
        if let Some(since) = self.since.take() {
            self.refuse_increment(since);
        }
    }

    pub fn set_step(&mut self, bytes: &mut Bytes) {
        let (group, step) = (bytes.below(SPECS.len()), i64::from(bytes.byte()));
        self.embedding(group, 0).set_step(step).unwrap();
        self.model.groups[group].step = step;
    }

    pub fn flush(&mut self) {
        self.storage().flush().unwrap();
    }

    pub fn compact(&mut self) {
        self.storage().compact().unwrap();
    }

    pub fn pass_time(&mut self, bytes: &mut Bytes) {
        self.model.now += 1000 * u64::from(bytes.byte());
        self.storage().set_clock_for_test(self.model.now).unwrap();
    }

    pub fn checkpoint(&mut self, bytes: &mut Bytes) {
        let slot = bytes.below(SLOTS);
        self.made += 1;
        let name = format!("checkpoint-{}", self.made);
        self.storage().checkpoint(self.folder.path().join(&name)).unwrap();
        self.checkpoints[slot] = Some((name, self.model.groups.clone()));
    }

    pub fn load(&mut self, bytes: &mut Bytes) {
        let Some((name, groups)) = &self.checkpoints[bytes.below(SLOTS)] else { return };
        self.storage().load_from_checkpoint(self.folder.path().join(name)).unwrap();
        self.model.groups = groups.clone();
        // The storage has forgotten its dumps.
        self.since = None;
    }

    /// Reads every row and compares it with the model's.
    pub fn compare_all(&mut self) {
        for (group, spec) in SPECS.iter().enumerate() {
            let mut rows = self.storage().rows(Some(spec.group)).unwrap();
            let mut expected = self.model.rows(group);
            while let Some(record) = rows.next_row().unwrap() {
                let (key, row) =
                    expected.next().unwrap_or_else(|| panic!("{record:?} should not be there"));
                assert_eq!(record.key, key, "group {}: the next key", spec.group);
                assert_eq!((record.dim, record.update_num), (spec.dim, row.updates), "key {key}");
                assert_eq!(record.update_time, row.time, "time of key {key}");
                assert_same(&record.data, &row.data, "a stored row");
            }
            assert_eq!(expected.next(), None, "group {}: a row is missing", spec.group);
            assert_eq!(self.embedding(group, 0).step().unwrap(), self.model.groups[group].step);
        }
        let rows: usize = (0..SPECS.len()).map(|group| self.model.rows(group).count()).sum();
        assert_eq!(self.storage().row_count(None).unwrap(), rows as u64);
        assert_eq!(self.storage().verify().unwrap().rows, rows as u64);
    }
}

fn group_and_keys(bytes: &mut Bytes) -> (usize, Vec<i64>) {
    (bytes.below(SPECS.len()), bytes.keys())
}

/// Floats that differ, from two bytes.
fn floats(bytes: &mut Bytes, len: usize) -> Vec<f32> {
    let (first, step) = (bytes.float(), bytes.float());
    (0..len).map(|index| first + step * (index % 37) as f32).collect()
}

pub(crate) fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{what}: {found:?}, expected {expected:?}");
}

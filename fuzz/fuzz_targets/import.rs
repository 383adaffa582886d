//! Bytes as a checkpoint file of the earlier implementation: the import refuses the file, or brings
//! in exactly the records that a plain reading of docs/formats.md gives.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Mutex;

use damo::embedding::Embedding;
use damo::storage::{FieldOrder, Format, ImportOptions, Layout, Storage};
use damo_fuzz::storage::{embedding, open, optimizer};
use damo_fuzz::{file, fresh_folder};
use tempfile::TempDir;

/// Group, dim, optimizer, floats of a row.
const GROUPS: [(u32, usize, &str, usize); 3] =
    [(0, 2, "sgd", 2), (1, 3, "adam", 9), (2, 1, "rowwise_adagrad", 2)];
const NOW_MS: u64 = 1_900_000_000_000;
const TTL_SECONDS: i64 = 1_000_000_000;
const SMALLEST_TIME: i64 = 100_000_000_000;
/// The number of imports into one storage.
const IMPORTS: u32 = 500;

struct Target {
    imports: u32,
    embeddings: Vec<Embedding>,
    storage: Storage,
    _folder: TempDir,
}

static TARGET: Mutex<Option<Target>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = file("old.checkpoint", bytes);
    let mut place = TARGET.lock().unwrap();
    let target = place.get_or_insert_with(new_target);
    let checkpoint = Some(Format::Checkpoint(Layout::Short));
    let options = ImportOptions { format: checkpoint, ..ImportOptions::default() };
    let imported = target.storage.import_with(&path, &options, |_, _| true);
    let expected = read(bytes).and_then(|mut records| {
        let (order, is_long) = (order(&records)?, is_long(&records)?);
        records.iter_mut().for_each(|record| record.place_fields(is_long));
        // If there are records, one must fit.
        let fits = records.is_empty() || records.iter().any(|record| record.row(order).is_some());
        fits.then_some((records, order))
    });
    let (imported, (records, order)) = match (imported, expected) {
        (Ok(imported), Some(expected)) => (imported, expected),
        (Err(_), None) => return,
        (imported, expected) => {
            panic!("imported {imported:?}, and {:?} were expected", expected.map(|of| of.0))
        }
    };
    assert_eq!((imported.records, imported.order), (records.len() as u64, order));
    let (mut rows, mut fitting) = (BTreeMap::new(), 0);
    for record in &records {
        if let Some((group, row)) = record.row(order) {
            fitting += 1;
            rows.insert((group, record.key), row);
        }
    }
    assert_eq!(imported.imported, fitting);
    for ((group, key), (time, num, data)) in rows {
        let found = target.embeddings[group].record(key).unwrap();
        assert_eq!(
            (found.update_time, found.update_num),
            (time as u64, num as u64),
            "group {group} key {key}"
        );
        assert_eq!(found.data, data, "group {group} key {key}");
    }
    target.imports += 1;
    if target.imports == IMPORTS {
        *place = None;
    }
});

fn new_target() -> Target {
    let folder = fresh_folder();
    let storage = open(&folder.path().join("storage"), "process", TTL_SECONDS, 1 << 20, NOW_MS);
    let embeddings = GROUPS
        .map(|(group, dim, name, _)| embedding(&storage, optimizer(name), dim, group, &[]))
        .into_iter()
        .collect();
    Target { imports: 0, embeddings, storage, _folder: folder }
}

#[derive(Debug)]
struct Record {
    group: i32,
    key: i64,
    value_group: i32,
    value_key: i64,
    pair: (i64, i64),
    /// The rest: dim and floats, after 8 more bytes under a long header.
    rest: Vec<u8>,
    dim: i32,
    data: Vec<f32>,
}

/// Update time, update count, floats.
type Row = (i64, i64, Vec<f32>);

impl Record {
    /// The dim and floats under one of the two headers.
    fn fields(&self, is_long: bool) -> Option<(i32, Vec<f32>)> {
        let mut rest = self.rest.as_slice();
        if is_long {
            take::<8>(&mut rest)?;
        }
        let dim = i32::from_le_bytes(take(&mut rest)?);
        let data = rest.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some((dim, data))
    }

    fn suits(&self, is_long: bool) -> bool {
        self.fields(is_long).is_some_and(|(dim, data)| {
            let floats = data.len() as i64;
            let dim = i64::from(dim);
            dim > 0 && ((1..=4).any(|times| floats == times * dim) || floats == dim + 1)
        })
    }

    /// A value that is too short has no dim.
    fn place_fields(&mut self, is_long: bool) {
        (self.dim, self.data) = self.fields(is_long).unwrap_or_default();
    }

    /// Its group's index in GROUPS, and its row, if it fits.
    fn row(&self, order: FieldOrder) -> Option<(usize, Row)> {
        let place =
            GROUPS.iter().position(|(group, ..)| i64::from(*group) == i64::from(self.group))?;
        let (_, dim, _, row_len) = GROUPS[place];
        let (time, num) = match order {
            FieldOrder::NumFirst => (self.pair.1, self.pair.0),
            _ => self.pair,
        };
        let is_same = (self.group, self.key) == (self.value_group, self.value_key);
        let is_time = (0..1 << 48).contains(&time) && (0..1 << 56).contains(&num);
        let is_swapped = num > SMALLEST_TIME && order != FieldOrder::Assumed;
        let is_alive = time > NOW_MS as i64 - 1000 * TTL_SECONDS;
        let fits = is_same
            && self.dim as i64 == dim as i64
            && [dim, row_len].contains(&self.data.len())
            && is_time
            && !is_swapped
            && is_alive
            && self.data.iter().all(|float| float.is_finite());
        let mut data = self.data.clone();
        data.resize(row_len, 0.0);
        fits.then_some((place, (time, num, data)))
    }
}

/// The records of a whole file.
fn read(bytes: &[u8]) -> Option<Vec<Record>> {
    let mut rest = bytes;
    let count = i64::from_le_bytes(take(&mut rest)?);
    // A record without floats has 60 bytes.
    if count < 0 || count as u64 > rest.len() as u64 / 60 {
        return None;
    }
    let mut records = Vec::new();
    for _ in 0..count {
        let key_len = u64::from_le_bytes(take(&mut rest)?);
        let (group, key) =
            (i32::from_le_bytes(take(&mut rest)?), i64::from_le_bytes(take(&mut rest)?));
        let value_len = u64::from_le_bytes(take(&mut rest)?);
        let (value_group, value_key) =
            (i32::from_le_bytes(take(&mut rest)?), i64::from_le_bytes(take(&mut rest)?));
        let pair = (i64::from_le_bytes(take(&mut rest)?), i64::from_le_bytes(take(&mut rest)?));
        let left = usize::try_from(value_len.checked_sub(28)?).ok()?;
        if key_len != 12 || left < 4 || left % 4 != 0 {
            return None;
        }
        let (fields, after) = rest.split_at_checked(left)?;
        rest = after;
        let (dim, data) = (0, Vec::new());
        records.push(Record {
            group,
            key,
            value_group,
            value_key,
            pair,
            rest: fields.to_vec(),
            dim,
            data,
        });
    }
    rest.is_empty().then_some(records)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// Which of the two fields is the time; None for a tie.
fn order(records: &[Record]) -> Option<FieldOrder> {
    let count = |of: fn(&Record) -> bool| records.iter().filter(|record| of(record)).count();
    let first = count(|record| record.pair.0 > SMALLEST_TIME && record.pair.1 <= SMALLEST_TIME);
    let second = count(|record| record.pair.1 > SMALLEST_TIME && record.pair.0 <= SMALLEST_TIME);
    match first.cmp(&second) {
        std::cmp::Ordering::Greater => Some(FieldOrder::TimeFirst),
        std::cmp::Ordering::Less => Some(FieldOrder::NumFirst),
        std::cmp::Ordering::Equal if first == 0 => Some(FieldOrder::Assumed),
        std::cmp::Ordering::Equal => None,
    }
}

/// Whether headers are the long ones; None for a tie.
fn is_long(records: &[Record]) -> Option<bool> {
    let count = |is_long| records.iter().filter(|record| record.suits(is_long)).count();
    let (short, long) = (count(false), count(true));
    if short == long && short > 0 { None } else { Some(long > short) }
}

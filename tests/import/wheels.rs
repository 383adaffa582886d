//! Import of files that releases of damo-embedding wrote (tests/import), compared row by row with
//! what the releases reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::optimizer::Optimizer;
use damo::params::{Params, Value as Parameter};
use damo::storage::{FieldOrder, Format, ImportOptions, Imported, Layout, Refusal, Storage};
use serde_json::Value;

use crate::common::{failure, initializer, open, optimizer, params, peek};

const RELEASES: [&str; 5] = ["1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12"];
const SETS: [&str; 3] = ["all", "sgd1", "sgd3"];

fn fixture(release: &str, set: &str, kind: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures");
    folder.join(release).join(format!("{set}.{kind}"))
}

fn values(release: &str, set: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(release, set, "json")).unwrap()).unwrap()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn weights(row: &Value) -> Vec<f32> {
    row["weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|weight| weight.as_f64().unwrap() as f32)
        .collect()
}

/// Opens the groups of a set in a storage.
fn open_groups(storage: &Storage, values: &Value) -> BTreeMap<i64, Embedding> {
    let open = |group: &Value| {
        let bag = group["parameters"]
            .as_object()
            .unwrap()
            .iter()
            .fold(Params::new(), |bag, (name, value)| {
                bag.with(name, value.as_f64().unwrap()).unwrap()
            });
        let optimizer = Optimizer::new(group["optimizer"].as_str().unwrap(), &bag, None).unwrap();
        let (number, dim) = (number(&group["group"]), number(&group["dim"]) as usize);
        let zeros = initializer("zeros", &[]);
        let opened = Embedding::new(
            storage.clone(),
            Arc::new(optimizer),
            zeros,
            dim,
            number as u32,
            &params(&[]),
        );
        (number, opened.unwrap())
    };
    values["groups"].as_array().unwrap().iter().map(open).collect()
}

fn import(storage: &Storage, path: &Path) -> Imported {
    storage.import(path, |_, _| true).unwrap()
}

/// Trains as train_wheel.py does.
fn train(embeddings: &BTreeMap<i64, Embedding>, keys: &[i64], steps: std::ops::Range<i64>) {
    for step in steps {
        let indexes: Vec<i64> =
            (0..keys.len() as i64).filter(|index| step % (index + 1) == 0).collect();
        for (group, embedding) in embeddings {
            let gradient = |index: i64, column: i64| {
                ((7 * index + 13 * step + 3 * group + 5 * column) % 17 - 8) as f32 / 16.0
            };
            let dim = embedding.dim() as i64;
            let gradients: Vec<f32> = indexes
                .iter()
                .flat_map(|index| {
                    (0..dim).map(|column| gradient(*index, column)).collect::<Vec<_>>()
                })
                .collect();
            let trained: Vec<i64> = indexes.iter().map(|index| keys[*index as usize]).collect();
            embedding.apply_gradients(&trained, &gradients).unwrap();
        }
    }
}

/// The largest difference of weights, by optimizer.
fn differences(
    embeddings: &BTreeMap<i64, Embedding>,
    values: &Value,
    part: &str,
) -> BTreeMap<String, f32> {
    let mut largest: BTreeMap<String, f32> = BTreeMap::new();
    for row in values[part].as_array().unwrap() {
        let group = number(&row["group"]);
        let optimizer = values["groups"][group as usize]["optimizer"].as_str().unwrap();
        let (ours, found) = peek(&embeddings[&group], &[number(&row["key"])]);
        assert_eq!(found, [1]);
        let entry = largest.entry(optimizer.to_owned()).or_default();
        for (ours, theirs) in ours.iter().zip(weights(row)) {
            *entry = entry.max((ours - theirs).abs());
        }
    }
    largest
}

#[test]
fn checkpoints_of_every_release_come_in_and_train_on() {
    for release in RELEASES {
        for set in SETS {
            let folder = tempfile::tempdir().unwrap();
            let storage = open(folder.path());
            let values = values(release, set);
            let embeddings = open_groups(&storage, &values);
            let rows = values["rows"].as_array().unwrap();
            let report = import(&storage, &fixture(release, set, "checkpoint"));
            let count = rows.len() as u64;
            assert_eq!(
                (report.records, report.imported),
                (count, count),
                "{release} {set}: {report:?}"
            );
            let layout = if release == "1.1.12" { Layout::Long } else { Layout::Short };
            assert_eq!(report.format, Format::Checkpoint(layout), "{release} {set}");
            let order =
                if release == "1.0.5" { FieldOrder::TimeFirst } else { FieldOrder::NumFirst };
            assert_eq!(report.order, order, "{release} {set}");
            for row in rows {
                let record =
                    embeddings[&number(&row["group"])].record(number(&row["key"])).unwrap();
                assert_eq!(record.data[..record.dim], weights(row), "{release} {set} {row}");
                assert_eq!(
                    record.update_num as i64,
                    number(&row["updates"]),
                    "{release} {set} {row}"
                );
                assert_eq!(
                    record.update_time as i64,
                    number(&row["time"]),
                    "{release} {set} {row}"
                );
            }
            let keys: Vec<i64> = rows
                .iter()
                .filter(|row| row["group"] == 0)
                .map(|row| number(&row["key"]))
                .collect();
            train(&embeddings, &keys, 50..100);
            for (optimizer, difference) in differences(&embeddings, &values, "later") {
                // amsgrad has another formula here: see docs/migrating.md.
                let most = if optimizer == "amsgrad" { 0.02 } else { 1e-5 };
                assert!(difference <= most, "{release} {set} {optimizer}: {difference}");
            }
        }
    }
}

#[test]
fn dumps_of_every_release_come_in_as_weights() {
    for release in RELEASES {
        for set in SETS {
            let folder = tempfile::tempdir().unwrap();
            let storage = open(folder.path());
            storage.set_clock_for_test(1_900_000_000_000).unwrap();
            let values = values(release, set);
            let embeddings = open_groups(&storage, &values);
            let report = import(&storage, &fixture(release, set, "dump"));
            let rows = values["rows"].as_array().unwrap();
            assert_eq!(
                (report.imported, report.refused_records()),
                (rows.len() as u64, 0),
                "{report:?}"
            );
            let format = if release == "1.0.5" { Format::Classic } else { Format::Counted };
            assert_eq!(
                (report.format, report.order),
                (format, FieldOrder::Absent),
                "{release} {set}"
            );
            for row in rows {
                let (embedding, key) = (&embeddings[&number(&row["group"])], number(&row["key"]));
                let record = embedding.record(key).unwrap();
                assert_eq!(record.data[..record.dim], weights(row), "{release} {set} {row}");
                assert_eq!((record.update_num, record.update_time), (0, 1_900_000_000_000));
                embedding.insert(&[key], &weights(row)).unwrap();
                assert_eq!(record.data, embedding.record(key).unwrap().data, "as it is inserted");
            }
        }
    }
}

#[test]
fn weights_of_a_dump_begin_with_the_optimizers_own_state() {
    let folder = tempfile::tempdir().unwrap();
    let values = values("1.0.6", "sgd3");
    let (half, lambda1) = (
        [("initial_accumulator_value", Parameter::Float(0.5))],
        [("lambda1", Parameter::Float(0.25))],
    );
    let kinds: [(&str, &[(&str, Parameter)]); 4] =
        [("adagrad", &half), ("rowwise_adagrad", &half), ("ftrl", &half), ("ftrl", &lambda1)];
    for (place, (name, list)) in kinds.into_iter().enumerate() {
        let storage = open(&folder.path().join(place.to_string()));
        let embedding = Embedding::new(
            storage.clone(),
            optimizer(name, list),
            initializer("ones", &[]),
            3,
            0,
            &params(&[]),
        )
        .unwrap();
        import(&storage, &fixture("1.0.6", "sgd3", "dump"));
        for row in values["rows"].as_array().unwrap() {
            let (key, weights) = (number(&row["key"]), weights(row));
            let imported = embedding.record(key).unwrap().data;
            let begins = imported[3..].iter().any(|state| *state != 0.0);
            assert!(begins || weights == [0.0; 3], "{name} {list:?}");
            embedding.insert(&[key], &weights).unwrap();
            assert_eq!(imported, embedding.record(key).unwrap().data, "{name} {list:?}");
            // A gradient of zero leaves a fixed point unchanged.
            embedding.apply_gradients(&[key], &[0.0; 3]).unwrap();
            assert_eq!(embedding.record(key).unwrap().data[..3], weights, "{name} {list:?}");
        }
    }
}

#[test]
fn a_group_by_itself_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let values = values("1.1.12", "all");
    open_groups(&storage, &values);
    let options = ImportOptions { group: Some(7), ..ImportOptions::default() };
    let path = fixture("1.1.12", "all", "checkpoint");
    let report = storage.import_with(&path, &options, |_, _| true).unwrap();
    assert_eq!((report.imported, report.other_groups, report.refused_records()), (5, 55, 0));
    assert_eq!(storage.row_count(None).unwrap(), 5);
    // A group that the file does not have is an error, whether it is registered or not.
    for kind in ["checkpoint", "dump", "checkpoint"] {
        let options = ImportOptions { group: Some(99), ..ImportOptions::default() };
        let imported = storage.import_with(fixture("1.1.12", "all", kind), &options, |_, _| true);
        let error = failure(imported, Status::InvalidArgument);
        for words in
            ["none of its 60 records is of group 99", "they are of groups 0, 1, 2", " and others"]
        {
            assert!(error.message().contains(words), "{error}");
        }
        let report = storage.last_import().unwrap();
        assert_eq!((report.imported, report.other_groups, report.refused_records()), (0, 60, 0));
        let (sgd, zeros) = (optimizer("sgd", &[]), initializer("zeros", &[]));
        Embedding::new(storage.clone(), sgd, zeros, 2, 99, &Params::new()).unwrap();
    }
}

#[test]
fn a_file_of_which_nothing_fits_is_an_error_that_names_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let path = fixture("1.1.12", "sgd3", "checkpoint");
    let error = failure(storage.import(&path, |_, _| true), Status::InvalidArgument);
    for words in
        ["sgd3.checkpoint", "value headers of 40 bytes", "none of its 5 records", "group 0 is not"]
    {
        assert!(error.message().contains(words), "{error}");
    }
    // The group exists now, with another dim.
    open_groups(&storage, &values("1.1.12", "sgd1"));
    let error = failure(storage.import(&path, |_, _| true), Status::InvalidArgument);
    assert!(error.message().contains("its dim is 3; the group has 1"), "{error}");
    assert_eq!(storage.row_count(None).unwrap(), 0);
    assert_eq!(storage.last_import().unwrap().refused[0].reason, Refusal::WrongDim);
    let error = failure(
        storage.import(fixture("1.0.6", "sgd3", "dump"), |_, _| true),
        Status::InvalidArgument,
    );
    assert!(error.message().contains("it is a counted dump, and none of its 5 records"), "{error}");
}

#[test]
fn the_header_is_told_from_all_records() {
    let folder = tempfile::tempdir().unwrap();
    for (from, into, imported) in [("sgd3", "sgd3", 4), ("sgd1", "sgd1", 4), ("all", "all", 59)] {
        for release in RELEASES {
            let storage = open(&folder.path().join(format!("{release}-{from}")));
            let values = values(release, into);
            open_groups(&storage, &values);
            // The first record's dim is nonsense.
            let mut bytes = std::fs::read(fixture(release, from, "checkpoint")).unwrap();
            let dim = 8 + 28 + if release == "1.1.12" { 36 } else { 28 };
            bytes[dim..dim + 4].copy_from_slice(&77_i32.to_le_bytes());
            let path = folder.path().join("damaged");
            std::fs::write(&path, bytes).unwrap();
            let report = import(&storage, &path);
            assert_eq!(report.imported, imported, "{release} {from}: {report:?}");
            assert_eq!(report.refused[0].reason, Refusal::WrongDim);
        }
    }
}

#[test]
fn what_the_last_release_has_in_its_eight_bytes_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    for (index, filling) in [1_i64, 2, 3, -1, 1 << 40, 1_795_735_638_184].into_iter().enumerate() {
        let storage = open(&folder.path().join(index.to_string()));
        open_groups(&storage, &values("1.1.12", "sgd3"));
        let mut bytes = std::fs::read(fixture("1.1.12", "sgd3", "checkpoint")).unwrap();
        // Some of the records have it.
        for record in [0, 3] {
            let at = 8 + record * 80 + 28 + 28;
            bytes[at..at + 8].copy_from_slice(&filling.to_le_bytes());
        }
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(import(&storage, &path).imported, 5, "{filling}");
    }
}

#[test]
fn dumps_that_do_not_add_up_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    open_groups(&storage, &values("1.0.6", "sgd3"));
    let path = folder.path().join("file");
    let whole = std::fs::read(fixture("1.0.6", "sgd3", "dump")).unwrap();
    let options = ImportOptions { format: Some(Format::Counted), ..ImportOptions::default() };
    for len in (0..whole.len()).filter(|len| *len != 4) {
        std::fs::write(&path, &whole[..len]).unwrap();
        failure(storage.import_with(&path, &options, |_, _| true), Status::Corruption);
        failure(storage.import(&path, |_, _| true), Status::Corruption);
    }
    // A row of a group that is not in the header.
    let mut other = whole.clone();
    other[20 + 8..20 + 12].copy_from_slice(&6_i32.to_le_bytes());
    std::fs::write(&path, other).unwrap();
    let error = failure(storage.import(&path, |_, _| true), Status::Corruption);
    assert!(error.message().contains("row 0 (from 0; byte 32): it is of group 6"), "{error}");
    std::fs::write(&path, &whole).unwrap();
    let options = ImportOptions { format: Some(Format::Classic), ..ImportOptions::default() };
    let error = failure(storage.import_with(&path, &options, |_, _| true), Status::Corruption);
    assert!(
        error.message().contains("classic dump") && error.message().contains("256, 1024, 128"),
        "{error}"
    );
    assert_eq!(storage.row_count(None).unwrap(), 0);
    assert_eq!(import(&storage, &path).imported, 5);
}

//! Import of checkpoint files in each of the three forms that releases wrote, and of ambiguous
//! files: all records of a file together decide its form.

use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::{FieldOrder, Format, Imported, Layout, Refusal, Storage};

use crate::common::{failure, initializer, open, optimizer, peek};

/// A day in 2024.
const TIME: i64 = 1_720_000_000_000;

/// The header of a value.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    /// 1.0.5: 32 bytes, the time first.
    TimeFirst,
    /// 1.0.6 to 1.1.11: 32 bytes, the count first.
    CountFirst,
    /// 1.1.12: 40 bytes, the count first, and 8 unused bytes.
    Long(i64),
}

const FORMS: [Form; 4] = [Form::TimeFirst, Form::CountFirst, Form::Long(0), Form::Long(-1)];

struct Row {
    form: Form,
    group: i32,
    key: i64,
    count: i64,
    time: i64,
    dim: i32,
    floats: Vec<f32>,
}

impl Row {
    fn new(form: Form, group: i32, key: i64, floats: &[f32]) -> Row {
        Row {
            form,
            group,
            key,
            count: key,
            time: TIME + key,
            dim: floats.len() as i32,
            floats: floats.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let packed = [self.group.to_le_bytes().as_slice(), &self.key.to_le_bytes()].concat();
        let mut value = packed.clone();
        let pair = if self.form == Form::TimeFirst {
            [self.time, self.count]
        } else {
            [self.count, self.time]
        };
        value.extend(pair.map(i64::to_le_bytes).concat());
        if let Form::Long(filling) = self.form {
            value.extend(filling.to_le_bytes());
        }
        value.extend(self.dim.to_le_bytes());
        self.floats.iter().for_each(|float| value.extend(float.to_le_bytes()));
        let lengths = [packed.len() as u64, value.len() as u64].map(u64::to_le_bytes);
        [lengths[0].as_slice(), &packed, &lengths[1], &value].concat()
    }
}

struct Scratch {
    folder: tempfile::TempDir,
    storage: Storage,
    groups: Vec<Embedding>,
}

impl Scratch {
    /// A storage with groups 0, 1, 2 of these optimizers and dims.
    fn new(groups: &[(&str, usize)]) -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(&folder.path().join("table"));
        let opened = (0..).zip(groups).map(|(number, (name, dim))| {
            let (optimizer, ones) = (optimizer(name, &[]), initializer("ones", &[]));
            Embedding::new(storage.clone(), optimizer, ones, *dim, number, &Params::new()).unwrap()
        });
        let groups = opened.collect();
        Scratch { folder, storage, groups }
    }

    fn file(&self, rows: &[Row]) -> PathBuf {
        let mut bytes = (rows.len() as i64).to_le_bytes().to_vec();
        rows.iter().for_each(|row| bytes.extend(row.bytes()));
        self.write(&bytes)
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("old");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn import(&self, path: &Path) -> Imported {
        self.storage.import(path, |_, _| true).unwrap()
    }
}

fn layout(form: Form) -> Layout {
    if matches!(form, Form::Long(_)) { Layout::Long } else { Layout::Short }
}

#[test]
fn lengths_that_two_forms_share() {
    // 32 + 4 x 3 = 40 + 4 x 1, and so on: weights alone, with state, and in several groups.
    for form in FORMS {
        for (name, dims, states) in
            [("sgd", [1, 3, 5], 0), ("adagrad", [1, 2, 3], 1), ("adam", [1, 2, 4], 2)]
        {
            let scratch = Scratch::new(&dims.map(|dim| (name, dim)));
            let row = |group: usize, key: i64| {
                let floats = vec![key as f32 / 4.0; dims[group] * (1 + states)];
                Row { dim: dims[group] as i32, ..Row::new(form, group as i32, key, &floats) }
            };
            let rows: Vec<Row> = (0..9).map(|place| row(place % 3, 1 + place as i64)).collect();
            let report = scratch.import(&scratch.file(&rows));
            assert_eq!(
                (report.imported, report.refused_records()),
                (9, 0),
                "{form:?} {name}: {report:?}"
            );
            assert_eq!(report.format, Format::Checkpoint(layout(form)), "{form:?} {name}");
            for (place, key) in (0..9).zip(1..) {
                let record = scratch.groups[place % 3].record(key).unwrap();
                assert_eq!(record.data, rows[place].floats, "{form:?} {name}");
                assert_eq!(
                    (record.update_num, record.update_time),
                    (key as u64, (TIME + key) as u64)
                );
            }
        }
    }
}

#[test]
fn files_of_one_record() {
    for form in FORMS {
        for (name, dim, floats) in
            [("sgd", 1, 1), ("sgd", 64, 64), ("adam", 3, 9), ("adam", 3, 3), ("amsgrad", 2, 8)]
        {
            let scratch = Scratch::new(&[(name, dim)]);
            let row = Row { dim: dim as i32, ..Row::new(form, 0, -7, &vec![0.5; floats]) };
            let path = scratch.file(&[Row { count: 2, ..row }]);
            let report = scratch.import(&path);
            assert_eq!(report.imported, 1, "{form:?} {name} {dim}: {report:?}");
            assert_eq!(report.without_state, u64::from(floats == dim && name != "sgd"));
            assert_eq!(peek(&scratch.groups[0], &[-7]), (vec![0.5; dim], vec![1]));
        }
    }
}

#[test]
fn records_without_updates_or_times_do_not_decide() {
    for form in FORMS {
        let scratch = Scratch::new(&[("sgd", 2)]);
        let row = |key: i64, count: i64, time: i64| Row {
            count,
            time,
            ..Row::new(form, 0, key, &[1.0, 2.0])
        };
        // The first records do not show where the time is.
        let rows = [row(1, 0, 0), row(2, 5, 7), row(3, 0, TIME), row(4, 1 << 33, TIME + 1)];
        let report = scratch.import(&scratch.file(&rows));
        let order =
            if form == Form::TimeFirst { FieldOrder::TimeFirst } else { FieldOrder::NumFirst };
        assert_eq!((report.order, report.imported), (order, 4), "{form:?} {report:?}");
        let found = [2, 4].map(|key| {
            let record = scratch.groups[0].record(key).unwrap();
            (record.update_num, record.update_time)
        });
        assert_eq!(found, [(5, 7), (1 << 33, TIME as u64 + 1)], "{form:?}");
    }
}

#[test]
fn records_of_two_forms_in_one_file() {
    // As many records of each form: the import cannot tell, and changes nothing.
    for (one, other) in [
        (Form::CountFirst, Form::Long(0)),
        (Form::Long(-1), Form::CountFirst),
        (Form::TimeFirst, Form::Long(0)),
    ] {
        for dim in [2_usize, 3, 4] {
            let scratch = Scratch::new(&[("sgd", dim)]);
            let row = |form, key| Row::new(form, 0, key, &vec![1.0; dim]);
            let rows = [row(one, 1), row(other, 2), row(other, 3), row(one, 4)];
            let error = failure(
                scratch.storage.import(scratch.file(&rows), |_, _| true),
                Status::Corruption,
            );
            assert!(error.message().contains("which is right cannot be told"), "{error}");
            assert_eq!(scratch.storage.row_count(None).unwrap(), 0);
        }
    }
    // If the 8 bytes look like a dim, each record is whole in both forms.
    let scratch = Scratch::new(&[("sgd", 1)]);
    let path = scratch.file(&[Row::new(Form::Long(3), 0, 1, &[1.0])]);
    let error = failure(scratch.storage.import(&path, |_, _| true), Status::Corruption);
    assert!(error.message().contains("1 of its records have a dim after 28 bytes"), "{error}");
    let others = [1, 2].map(|key| Row::new(Form::Long(0), 0, key, &[1.0]));
    let more: Vec<Row> =
        [Row::new(Form::Long(3), 0, 3, &[1.0])].into_iter().chain(others).collect();
    assert_eq!(scratch.import(&scratch.file(&more)).imported, 3, "the others decide");
    // The majority decides; the other records are left out and counted.
    for (one, other) in [(Form::CountFirst, Form::Long(0)), (Form::Long(0), Form::CountFirst)] {
        let scratch = Scratch::new(&[("sgd", 2)]);
        let row = |form, key| Row::new(form, 0, key, &[1.0, 2.0]);
        let rows = [row(other, 1), row(one, 2), row(one, 3), row(other, 4), row(one, 5)];
        let report = scratch.import(&scratch.file(&rows));
        assert_eq!((report.imported, report.refused_records()), (3, 2), "{report:?}");
        assert!(
            report.refused.iter().all(|refused| refused.reason == Refusal::WrongDim),
            "{one:?} {report:?}"
        );
        assert_eq!(peek(&scratch.groups[0], &[1, 2, 3, 4, 5]).1, [0, 1, 1, 0, 1]);
    }
}

#[test]
fn files_that_are_cut_or_longer_change_nothing() {
    for form in FORMS {
        let scratch = Scratch::new(&[("sgd", 3)]);
        let rows: Vec<Row> = (1..4).map(|key| Row::new(form, 0, key, &[1.0, 2.0, 3.0])).collect();
        let whole = std::fs::read(scratch.file(&rows)).unwrap();
        let refused = |bytes: &[u8]| {
            let path = scratch.write(bytes);
            failure(scratch.storage.import(&path, |_, _| true), Status::Corruption)
                .message()
                .to_owned()
        };
        for len in 0..whole.len() {
            let said = refused(&whole[..len]);
            assert!(
                said.contains("old'") && said.contains("not a whole checkpoint file"),
                "{len}: {said}"
            );
        }
        for more in [1, 3, 4, 8, 40] {
            refused(&[whole.as_slice(), &vec![0; more]].concat());
        }
        // One byte is missing in the middle.
        for at in (8..whole.len()).step_by(7) {
            refused(&[&whole[..at], &whole[at + 1..]].concat());
        }
        assert_eq!(scratch.storage.row_count(None).unwrap(), 0);
        assert_eq!(scratch.import(&scratch.write(&whole)).imported, 3);
    }
}

#[test]
fn groups_and_dims_that_are_not_there() {
    for form in FORMS {
        let scratch = Scratch::new(&[("sgd", 3), ("adam", 3)]);
        let row = |group, dim: usize| Row::new(form, group, 9, &vec![1.0; dim]);
        let nothing: [(&[Row], &str); 6] = [
            (&[row(2, 3), row(3, 3)], "group 2 is not registered; registered are: 0, 1"),
            (&[row(-1, 3)], "group -1 is not from 0 to 65535"),
            (&[row(65_536, 3), row(65_537, 3)], "group 65536 is not from 0 to 65535"),
            (&[row(0, 2), row(0, 4), row(0, 2)], "its dim is 2; the group has 3"),
            (&[row(1, 12)], "its dim is 12; the group has 3"),
            (&[row(1, 4), row(2, 4), row(0, 4)], "its dim is 4; the group has 3"),
        ];
        for (rows, words) in nothing {
            let path = scratch.file(rows);
            let error =
                failure(scratch.storage.import(&path, |_, _| true), Status::InvalidArgument);
            for word in [words, &format!("none of its {} records", rows.len()), "old'"] {
                assert!(error.message().contains(word), "{form:?}: {error}");
            }
            assert_eq!(scratch.storage.last_import().unwrap().refused_records(), rows.len() as u64);
        }
        assert_eq!(scratch.storage.row_count(None).unwrap(), 0);
        // One record that fits is enough.
        let report = scratch.import(&scratch.file(&[row(2, 3), row(0, 3), row(1, 4)]));
        assert_eq!((report.imported, report.refused_records()), (1, 2), "{form:?}");
    }
}

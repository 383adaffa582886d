//! Import of dumps: classic headers of every width, counted ones with groups in any order.

use std::path::PathBuf;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::{Format, ImportOptions, Storage};

use crate::common::{failure, initializer, open, optimizer, params, peek, text};

/// Group, key and weights of a row.
type Row = (i32, i64, Vec<f32>);

fn rows_bytes(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (group, key, weights) in rows {
        bytes.extend(key.to_le_bytes());
        bytes.extend(group.to_le_bytes());
        weights.iter().for_each(|weight| bytes.extend(weight.to_le_bytes()));
    }
    bytes
}

/// A header with (group, dim, rows) in this order, and rows.
fn counted(header: &[(i32, i32, u64)], rows: &[Row]) -> Vec<u8> {
    let mut bytes = (header.len() as i32).to_le_bytes().to_vec();
    header.iter().for_each(|(group, _, _)| bytes.extend(group.to_le_bytes()));
    header.iter().for_each(|(_, dim, _)| bytes.extend(dim.to_le_bytes()));
    header.iter().for_each(|(_, _, count)| bytes.extend(count.to_le_bytes()));
    bytes.extend(rows_bytes(rows));
    bytes
}

fn classic(width: usize, header: &[(usize, i32, u64)], rows: &[Row]) -> Vec<u8> {
    let mut bytes = vec![0; 12 * width];
    for (group, dim, count) in header {
        bytes[4 * group..4 * group + 4].copy_from_slice(&dim.to_le_bytes());
        let at = 4 * width + 8 * group;
        bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
    }
    bytes.extend(rows_bytes(rows));
    bytes
}

struct Scratch {
    folder: tempfile::TempDir,
    storage: Storage,
}

impl Scratch {
    fn new() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(&folder.path().join("table"));
        Scratch { folder, storage }
    }

    fn group(&self, group: u32, dim: usize) -> Embedding {
        let (adam, ones) = (optimizer("adam", &[]), initializer("ones", &[]));
        Embedding::new(self.storage.clone(), adam, ones, dim, group, &Params::new()).unwrap()
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("dump");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, bytes: &[u8], options: &[(&str, &str)], status: Status) -> String {
        let options = options.iter().map(|(name, value)| (*name, text(value))).collect::<Vec<_>>();
        let options = ImportOptions::read(&params(&options)).unwrap();
        let path = self.write(bytes);
        failure(self.storage.import_with(&path, &options, |_, _| true), status).message().to_owned()
    }
}

#[test]
fn groups_of_a_counted_header_in_any_order() {
    let rows: Vec<Row> = vec![
        (7, 1, vec![1.0, 2.0]),
        (0, -1, vec![3.0]),
        (300, i64::MIN, vec![4.0, 5.0, 6.0]),
        (7, i64::MAX, vec![7.0, 8.0]),
        (0, 1, vec![9.0]),
    ];
    let header = [(0, 1, 2), (7, 2, 2), (300, 3, 1)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        for turn in 0..rows.len() {
            let scratch = Scratch::new();
            let groups = [scratch.group(0, 1), scratch.group(7, 2), scratch.group(300, 3)];
            let mut turned = rows.clone();
            turned.rotate_left(turn);
            let path = scratch.write(&counted(&order.map(|place| header[place]), &turned));
            let report = scratch.storage.import(&path, |_, _| true).unwrap();
            assert_eq!((report.imported, report.format), (5, Format::Counted), "{order:?} {turn}");
            for (group, key, weights) in &rows {
                let place = [0, 7, 300].iter().position(|number| number == group).unwrap();
                assert_eq!(peek(&groups[place], &[*key]), (weights.clone(), vec![1]));
            }
        }
    }
}

#[test]
fn a_counted_header_may_have_groups_without_rows() {
    let scratch = Scratch::new();
    let group = scratch.group(5, 2);
    // A group that is not open does no harm without rows.
    let bytes = counted(&[(9, 4, 0), (5, 2, 1), (1, 1, 0)], &[(5, 3, vec![1.0, 2.0])]);
    let report = scratch.storage.import(scratch.write(&bytes), |_, _| true).unwrap();
    assert_eq!((report.imported, report.refused_records()), (1, 0));
    assert_eq!(peek(&group, &[3]).0, [1.0, 2.0]);
    // A group with rows is left out, with its reason.
    let bytes = counted(&[(9, 4, 1), (5, 2, 1)], &[(9, 3, vec![0.0; 4]), (5, 4, vec![3.0, 4.0])]);
    let report = scratch.storage.import(scratch.write(&bytes), |_, _| true).unwrap();
    assert_eq!((report.imported, report.refused_records()), (1, 1));
    let none = counted(&[(9, 4, 1)], &[(9, 3, vec![0.0; 4])]);
    assert!(
        scratch.refused(&none, &[], Status::InvalidArgument).contains("group 9 is not registered")
    );
    let other = counted(&[(5, 3, 1)], &[(5, 3, vec![0.0; 3])]);
    assert!(
        scratch
            .refused(&other, &[], Status::InvalidArgument)
            .contains("its dim is 3; the group has 2")
    );
}

#[test]
fn dumps_without_rows() {
    let scratch = Scratch::new();
    scratch.group(5, 2);
    let empty = [
        (counted(&[], &[]), Format::Counted),
        (counted(&[(5, 2, 0)], &[]), Format::Counted),
        (classic(256, &[], &[]), Format::Classic),
        (classic(1024, &[(5, 2, 0)], &[]), Format::Classic),
        (classic(128, &[], &[]), Format::Classic),
    ];
    for (bytes, format) in empty {
        let report = scratch.storage.import(scratch.write(&bytes), |_, _| true).unwrap();
        assert_eq!(
            (report.records, report.imported, report.format),
            (0, 0, format),
            "{} bytes",
            bytes.len()
        );
    }
    // An empty file is no dump.
    for format in ["auto", "checkpoint", "classic", "counted"] {
        scratch.refused(&[], &[("format", format)], Status::Corruption);
    }
}

#[test]
fn classic_headers_of_every_width() {
    for width in [128, 256, 1024] {
        let scratch = Scratch::new();
        let (low, high) = (scratch.group(3, 2), scratch.group(width as u32 - 1, 1));
        let last = width as i32 - 1;
        // Rows of different groups alternate, as in 1.0.4.
        let rows = [(last, 5, vec![1.0]), (3, 5, vec![2.0, 3.0]), (last, 6, vec![4.0])];
        let bytes = classic(width, &[(3, 2, 1), (width - 1, 1, 2)], &rows);
        let report = scratch.storage.import(scratch.write(&bytes), |_, _| true).unwrap();
        assert_eq!((report.imported, report.format), (3, Format::Classic), "{width}");
        assert_eq!((peek(&low, &[5]).0, peek(&high, &[5, 6]).0), (vec![2.0, 3.0], vec![1.0, 4.0]));
        // A wrong format, and a shorter or longer file, are refused.
        scratch.refused(&bytes, &[("format", "counted")], Status::Corruption);
        scratch.refused(&bytes, &[("format", "checkpoint")], Status::Corruption);
        for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            scratch.refused(&bytes[..len], &[], Status::Corruption);
        }
        scratch.refused(&[bytes.as_slice(), &[0]].concat(), &[], Status::Corruption);
    }
    // Any other width imports when header_groups names it.
    let scratch = Scratch::new();
    let group = scratch.group(3, 1);
    let path = scratch.write(&classic(10, &[(3, 1, 1)], &[(3, 5, vec![1.5])]));
    let options = ImportOptions { header_groups: Some(10), ..ImportOptions::default() };
    assert_eq!(scratch.storage.import_with(&path, &options, |_, _| true).unwrap().imported, 1);
    assert_eq!(peek(&group, &[5]).0, [1.5]);
}

#[test]
fn headers_that_do_not_add_up() {
    let scratch = Scratch::new();
    scratch.group(5, 2);
    let row: Row = (5, 3, vec![1.0, 2.0]);
    let whole = counted(&[(5, 2, 1)], std::slice::from_ref(&row));
    for wrong in [
        counted(&[(5, 2, 2)], std::slice::from_ref(&row)),
        counted(&[(5, 2, 0)], std::slice::from_ref(&row)),
        counted(&[(5, 1, 1)], std::slice::from_ref(&row)),
        counted(&[(5, -2, 1)], std::slice::from_ref(&row)),
        counted(&[(5, 2, 1), (5, 2, 0)], std::slice::from_ref(&row)),
        counted(&[(-5, 2, 1)], &[(-5, 3, vec![1.0, 2.0])]),
        counted(&[(70_000, 2, 1)], &[(70_000, 3, vec![1.0, 2.0])]),
        counted(&[(5, 2, u64::MAX)], std::slice::from_ref(&row)),
        counted(&[(5, 0, 0), (5, 2, 1)], std::slice::from_ref(&row)),
        counted(&[(6, 2, 1)], std::slice::from_ref(&row)),
        counted(&[(5, 2, 1), (6, 2, 1)], &[row.clone(), row.clone(), row.clone()]),
    ] {
        scratch.refused(&wrong, &[("format", "counted")], Status::Corruption);
        scratch.refused(&wrong, &[], Status::Corruption);
    }
    for len in 0..whole.len() {
        scratch.refused(&whole[..len], &[("format", "counted")], Status::Corruption);
    }
    assert_eq!(scratch.storage.row_count(None).unwrap(), 0);
    assert_eq!(scratch.storage.import(scratch.write(&whole), |_, _| true).unwrap().imported, 1);
}

/// The dims of groups 2 and 3 are where a checkpoint has the length of its first key, 12.
#[test]
fn a_classic_header_that_looks_like_a_checkpoints() {
    let scratch = Scratch::new();
    let (low, high) = (scratch.group(0, 2), scratch.group(2, 12));
    let rows = [(0, 5, vec![2.0, 3.0]), (2, 6, vec![0.5; 12])];
    let path = scratch.write(&classic(256, &[(0, 2, 1), (2, 12, 1)], &rows));
    let report = scratch.storage.import(&path, |_, _| true).unwrap();
    assert_eq!((report.imported, report.format), (2, Format::Classic));
    assert_eq!((peek(&low, &[5]).0, peek(&high, &[6]).0), (vec![2.0, 3.0], vec![0.5; 12]));
}

//! int8 rows with weights up to float32's largest, and with weights that are not numbers.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::DumpOptions;
use damo::table::{Table, ValueType, Writer};

use crate::common::{self, failure, initializer, open, optimizer, params};
use crate::content::{look, options};

const LARGEST: f32 = 1.7e38;

/// The rows that a table returns for rows of four weights, and the number of saturated weights.
fn stored(rows: &[[f32; 4]]) -> (Vec<[f32; 4]>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut writer = Writer::create(&path, &options(ValueType::Int8, 0, None, &[(0, 4)])).unwrap();
    let keys: Vec<i64> = (0..rows.len() as i64).collect();
    writer.add_rows(0, &keys, rows.as_flattened()).unwrap();
    let saturated = writer.finish().unwrap().saturated;
    let (weights, _) = look(&Table::open(&path).unwrap(), 0, &keys);
    (weights.as_chunks::<4>().0.to_vec(), saturated)
}

/// Each weight is as near as docs/formats.md states, after weights beyond 1.7e38 became that.
fn check(rows: &[[f32; 4]], saturated: u64) {
    let (found, counted) = stored(rows);
    assert_eq!(counted, saturated);
    for (given, found) in rows.iter().zip(found) {
        let wanted = given.map(|weight| f64::from(weight.clamp(-LARGEST, LARGEST)));
        let low = wanted.iter().copied().fold(f64::INFINITY, f64::min);
        let high = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let bound = (high - low) / 510.0 + low.abs().max(high.abs()) * 2f64.powi(-22);
        for (wanted, found) in wanted.iter().zip(found) {
            let difference = (wanted - f64::from(found)).abs();
            assert!(difference <= bound, "{given:?}: {wanted:e} became {found:e}, bound {bound:e}");
        }
    }
}

#[test]
fn rows_that_are_all_beyond_the_largest_become_that() {
    let beyond = [[3.0e38, 3.1e38, 3.2e38, 3.3e38], [1.8e38; 4], [f32::MAX; 4]];
    check(&beyond, 12);
    assert!(stored(&beyond).0.as_flattened().iter().all(|weight| *weight == LARGEST));
}

#[test]
fn rows_that_are_all_the_least_or_below_stay_negative() {
    check(&[[-LARGEST; 4]], 0);
    check(&[[-3.0e38, -2.0e38, -1.8e38, f32::MIN]], 4);
    assert_eq!(stored(&[[-LARGEST; 4]]).0, [[-LARGEST; 4]]);
}

#[test]
fn rows_that_mix_huge_weights_of_both_signs_with_small_ones() {
    check(&[[3.4e38, -3.4e38, 1.0, -1.0]], 2);
    check(&[[1.7e38, -1.7e38, 1.6e38, -1.6e38]], 0);
    check(&[[3.4e38, 1.6e38, 3.4e38, 1.65e38], [-3.4e38, -1e-40, 0.0, -0.0]], 3);
    check(&[[1.71e38, 1.69e38, 1.7e38, 1.7001e38]], 2);
}

/// No row of a storage has such a weight; a table's row that has one reads as NaN throughout.
#[test]
fn weights_that_are_no_numbers_are_refused_where_rows_come_in() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("t"));
    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
    let rows = Embedding::new(storage.clone(), sgd, ones, 4, 0, &Params::new()).unwrap();
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let row = [1.0, 2.0, bad, 3.0];
        failure(rows.insert(&[1], &row), Status::InvalidArgument);
        failure(rows.insert_records(&[1], &row, &[]), Status::InvalidArgument);
        failure(rows.apply_gradients(&[1], &row), Status::InvalidArgument);
        let (found, saturated) = stored(&[row, [3.0e38; 4]]);
        assert!(found[0].iter().all(|weight| weight.is_nan()));
        assert_eq!((found[1], saturated), ([LARGEST; 4], 4), "the next row is none of its");
    }
    // In a dump, weights beyond the largest saturate as in the table.
    rows.insert(&[7], &[3.0e38; 4]).unwrap();
    let list = [("format", common::text("table")), ("value_type", common::text("int8"))];
    let path = scratch.path().join("dump");
    let dumped =
        storage.dump(&path, DumpOptions::read(&params(&list)).unwrap(), |_, _| true).unwrap();
    assert_eq!((dumped.rows, dumped.saturated), (1, 4));
    assert_eq!(look(&Table::open(&path).unwrap(), 0, &[7]).0, [LARGEST; 4]);
}

//! Bytes as the file of a filter, as they are and with the header's checksum corrected, opened with
//! the parameters in the header: opening refuses them, or the filter counts as it should.
#![no_main]

use damo::error::Status;
use damo::filter::Filter;
use damo::params::Value;
use damo_fuzz::storage::{params, text};
use damo_fuzz::{checksums, file};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut right = bytes.to_vec();
    checksums::filter(&mut right);
    for bytes in [bytes, &right] {
        let path = file("filter", bytes);
        let mut header = [0; 48];
        header.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let (capacity, count, fpr) =
            (field(16) as i64, field(24) as u32, f64::from_bits(field(32)));
        if !fpr.is_finite() {
            continue;
        }
        let options = params(&[
            ("path", text(path.to_str().unwrap())),
            ("capacity", Value::Int(capacity)),
            ("count", Value::Int(count.into())),
            ("fpr", Value::Float(fpr)),
        ]);
        match Filter::open(&options) {
            Ok(filter) => use_it(&filter, count),
            Err(error) => {
                assert!(!matches!(error.status(), Status::Busy | Status::Panic), "{error}")
            }
        }
    }
});

fn use_it(filter: &Filter, count: u32) {
    let keys = [0, 1, -1, i64::MIN, i64::MAX, 77];
    let mut before = [9; 6];
    filter.check_batch(0, &keys, &mut before).unwrap();
    filter.add(65535, 5, 1).unwrap();
    filter.add_batch(0, &keys, 1).unwrap();
    let mut after = [9; 6];
    filter.check_batch(0, &keys, &mut after).unwrap();
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "counts only grow");
    filter.add_batch(0, &keys, count).unwrap();
    for (index, key) in keys.iter().enumerate() {
        assert!(filter.check(0, *key).unwrap(), "key {key}, admitted before: {}", before[index]);
    }
    filter.sync().unwrap();
    let copy = damo_fuzz::scratch().join("copy");
    filter.save_copy(&copy).unwrap();
    filter.restore_from(&copy).unwrap();
    assert!(filter.check(0, 77).unwrap());
}

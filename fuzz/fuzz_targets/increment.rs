//! Bytes as an increment to a good table, and as the table under a good increment: merging refuses
//! them, or gives a table that opens.
#![no_main]

use std::path::Path;

use damo::table::{Table, merge};
use damo_fuzz::{checksums, file, scratch};

const BASE: &[u8] = include_bytes!("../../tests/golden/tables/base.table");
const INCREMENT: &[u8] = include_bytes!("../../tests/golden/tables/increment.table");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut right = bytes.to_vec();
    checksums::table(&mut right);
    let (base, increment) = (file("base", BASE), file("increment", INCREMENT));
    for bytes in [bytes, &right] {
        let any = file("any", bytes);
        check(&base, &any);
        check(&any, &increment);
    }
});

fn check(base: &Path, increment: &Path) {
    let merged = scratch().join("merged");
    let Ok(summary) = merge(base, increment, &merged) else { return };
    let table = Table::open(&merged).expect("what merging writes opens");
    let mut count = 0;
    for info in table.contents().groups() {
        let (mut rows, mut weights) = (table.contents().rows(info.group), vec![0.0; info.dim]);
        let keys: Vec<i64> = std::iter::from_fn(|| rows.next_into(&mut weights)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys ascend: {keys:?}");
        count += keys.len() as u64;
    }
    assert_eq!(count, summary.rows);
    assert_eq!(std::fs::metadata(&merged).unwrap().len(), summary.bytes);
}

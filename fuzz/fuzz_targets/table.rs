//! Bytes as a serving table, as they are and with corrected checksums: opening refuses them, or
//! every lookup ends.
#![no_main]

use std::path::Path;

use damo::table::{Contents, Table};
use damo_fuzz::{checksums, file};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut right = bytes.to_vec();
    checksums::table(&mut right);
    for bytes in [bytes, &right] {
        let path = file("table", bytes);
        if let Ok(contents) = Contents::open(&path) {
            read_through(&contents);
        }
        look_up(&path);
    }
});

fn read_through(contents: &Contents) {
    for info in contents.groups() {
        let mut rows = contents.rows(info.group);
        assert_eq!(rows.len() as u64, info.rows);
        let mut weights = vec![0.0; info.dim];
        while rows.next_into(&mut weights).is_some() {}
        assert!(rows.is_empty());
        assert_eq!(contents.removed(info.group).len() as u64, info.removed);
    }
}

fn look_up(path: &Path) {
    let Ok(table) = Table::open(path) else { return };
    for info in table.contents().groups() {
        let mut keys = vec![0, -1, i64::MIN, i64::MAX];
        let mut rows = table.contents().rows(info.group);
        let mut weights = vec![0.0; info.dim];
        while let Some(key) = rows.next_into(&mut weights) {
            keys.extend([key, key ^ 1]);
        }
        let (mut weights, mut found) = (vec![f32::NAN; keys.len() * info.dim], vec![9; keys.len()]);
        table.lookup(info.group.into(), &keys, &mut weights, Some(&mut found)).unwrap();
        for (found, weights) in found.iter().zip(weights.chunks_exact(info.dim)) {
            assert!(*found == 1 || *found == 0 && weights.iter().all(|weight| *weight == 0.0));
        }
    }
}

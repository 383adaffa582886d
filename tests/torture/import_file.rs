//! Files to be imported: checkpoints of the earlier implementation (docs/formats.md), whose rows
//! are a function of a number.

use std::path::Path;

use rand::RngExt;

use crate::groups::{USUAL, specs};
use crate::model::{Key, Row};
use crate::script::{KEYS, random};

/// Some day in 2024, in milliseconds.
const TIME: i64 = 1_720_000_000_000;
const KEY_BYTES: u64 = 12;
const HEAD_BYTES: u64 = 32;

pub fn rows(number: u64) -> Vec<(Key, Row)> {
    let mut random = random(0x696d_706f_7274, number);
    let mut rows = Vec::new();
    for spec in &specs()[..USUAL] {
        for key in KEYS.step_by(3) {
            let updates = random.random_range(1..100);
            let data =
                (0..spec.row_len()).map(|_| random.random_range(1..=64) as f32 / 64.0).collect();
            rows.push(((spec.group, key), Row { updates, data, fleeting: false }));
        }
    }
    rows
}

pub fn write(path: &Path, number: u64) -> std::io::Result<()> {
    let rows = rows(number);
    let mut file = (rows.len() as i64).to_le_bytes().to_vec();
    for ((group, key), row) in rows {
        let dim = specs().iter().find(|spec| spec.group == group).map_or(0, |spec| spec.dim);
        for len in [KEY_BYTES, HEAD_BYTES + 4 * row.data.len() as u64] {
            file.extend(len.to_le_bytes());
            file.extend(i32::from(group).to_le_bytes());
            file.extend(key.to_le_bytes());
        }
        file.extend(TIME.to_le_bytes());
        file.extend((row.updates as i64).to_le_bytes());
        file.extend((dim as i32).to_le_bytes());
        row.data.iter().for_each(|float| file.extend(float.to_le_bytes()));
    }
    std::fs::write(path, file)
}

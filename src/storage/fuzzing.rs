//! Entry points for fuzz targets: rows and keys as they are stored, and the storage's JSON
//! documents and lists. Built only under `--cfg fuzzing` and in tests. src/fuzzing exposes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Storage;
use super::checkpoint::FileList;
use super::dump::bases::Base;
use crate::engine::expiry::{DAY_MS, Expiry};
use crate::engine::group::GroupConfig;
use crate::engine::journal_document::JournalDocument;
use crate::rocks::fate::Fate;
use crate::rocks::key;
use crate::rocks::row::{self, Found, RowHeader, Stored};
use crate::seqno::Seqno;

/// Reads bytes as a stored row and as stored keys, and writes them again.
pub fn row(bytes: &[u8]) {
    stored(bytes);
    written(bytes);
    keys(bytes);
    fate(bytes);
}

fn stored(bytes: &[u8]) {
    let parsed = row::parse(bytes);
    let mut again = vec![0xee; 3];
    match parsed {
        Ok(Stored::Row(header, body)) => {
            let row_len = body.len() / 4;
            let mut floats = vec![0.0; row_len];
            let decoded = row::decode(bytes, row_len, &mut floats);
            if body.len() != 4 * row_len {
                decoded.unwrap_err();
                return;
            }
            assert_eq!(decoded, Ok(Found::Row(header)));
            assert_eq!(bytemuck::cast_slice::<f32, u8>(&floats), body);
            row::decode(bytes, row_len + 1, &mut floats).unwrap_err();
            row::encode(&mut again, header, &floats);
            assert_eq!(row::parse(&again), Ok(Stored::Row(header, body)));
            assert!(again.len() <= bytes.len() && again.len() <= row::max_bytes(row_len));
        }
        Ok(Stored::Deleted { time, seqno }) => {
            row::encode_deleted(&mut again, time, seqno);
            assert_eq!(row::parse(&again), Ok(Stored::Deleted { time, seqno }));
            assert_eq!(row::decode(bytes, 1, &mut [0.0]), Ok(Found::Deleted { time, seqno }));
        }
        Ok(Stored::Expired { day }) => {
            assert_eq!(row::parse(row::expired_on(day % 64)).is_ok(), day < 1 << 32)
        }
        Err(error) => assert_eq!(row::decode(bytes, 1, &mut [0.0]), Err(error)),
    }
}

/// Any header and any floats come back as they were written, up to what their fields hold.
fn written(bytes: &[u8]) {
    let Some((numbers, rest)) = bytes.split_first_chunk::<24>() else { return };
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().unwrap());
    let seqno = Seqno::new(number(16));
    let header = RowHeader { update_time: number(0), update_num: number(8), seqno };
    let floats: Vec<f32> =
        rest.as_chunks().0.iter().map(|bytes| f32::from_bits(u32::from_le_bytes(*bytes))).collect();
    let mut value = Vec::new();
    row::encode(&mut value, header, &floats);
    let expected = RowHeader {
        update_time: header.update_time.min((1 << 48) - 1),
        update_num: header.update_num.min((1 << 56) - 1),
        seqno: header.seqno.min(Seqno::new((1 << 56) - 1)),
    };
    let mut back = vec![0.0; floats.len()];
    assert_eq!(row::decode(&value, floats.len(), &mut back), Ok(Found::Row(expected)));
    assert_eq!(bytemuck::cast_slice::<f32, u8>(&back), bytemuck::cast_slice::<f32, u8>(&floats));
    for len in 0..value.len() {
        assert!(row::decode(&value[..len], floats.len(), &mut back).is_err(), "cut at {len}");
    }
}

fn keys(bytes: &[u8]) {
    match key::decode(bytes) {
        Ok((group, key)) => assert_eq!(key::encode(group, key), bytes),
        Err(_) => assert_ne!(bytes.len(), key::KEY_LEN),
    }
    let found: Vec<_> = bytes
        .chunks_exact(key::KEY_LEN)
        .map(|bytes| (key::decode(bytes).unwrap(), bytes))
        .collect();
    for pair in found.windows(2) {
        assert_eq!(
            pair[0].0.cmp(&pair[1].0),
            pair[0].1.cmp(pair[1].1),
            "bytes sort as groups and keys do"
        );
    }
}

/// What merging does with the bytes. RocksDB's threads call it, so it must not panic.
fn fate(bytes: &[u8]) {
    let expiry = Expiry::new(10).unwrap();
    for settled in [0, DAY_MS, u64::MAX] {
        expiry.set_settled(settled, Seqno::MAX);
        expiry.set_recorded(settled);
        for oldest in [None, Some((Seqno::NONE, 0)), Some((Seqno::new(1 << 40), 2 * DAY_MS))] {
            expiry.set_oldest_base(oldest);
            expiry.set_now_ms(3 * DAY_MS);
            let fate = expiry.fate(bytes);
            if settled == 0 || row::parse(bytes).is_err() {
                assert_eq!(fate, Fate::Stay, "what is damaged comes out when it is read");
            }
        }
    }
}

/// Reads bytes as each of the storage's JSON documents, and a group's configuration as it is built
/// at opening.
pub fn documents(bytes: &[u8]) {
    if let Some(document) = round_trip::<JournalDocument>(bytes) {
        let _ = document.is_active();
        let _ = document.last_possible();
    }
    round_trip::<Vec<Base>>(bytes);
    round_trip::<FileList>(bytes);
    let Some(config) = round_trip::<GroupConfig>(bytes) else { return };
    let Ok((optimizer, initializer)) = config.build() else { return };
    let dim = config.dim.clamp(1, 16);
    let mut row = vec![0.0; optimizer.row_len(dim)];
    initializer.fill(3, -7, &mut row[..dim]);
    assert!(row.iter().all(|weight| weight.is_finite()), "first weights are finite: {row:?}");
}

/// What is read, written, and read again stays the same.
fn round_trip<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let document: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_string(&document).unwrap();
    let again: T = serde_json::from_str(&written).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
    Some(document)
}

/// Compares a folder with the checkpoint list in it.
pub fn checkpoint_list(folder: &Path) {
    let Ok(Some(list)) = FileList::check(folder) else { return };
    for (name, bytes) in &list.files {
        let found = std::fs::metadata(folder.join(name)).unwrap();
        assert_eq!(found.len(), *bytes, "'{name}' passed the check");
    }
}

/// Reads the list of filters of a checkpoint for a storage whose groups have filters.
pub fn filter_list(storage: &Storage, checkpoint: &Path) {
    let filters = storage.filters();
    if let Ok(prepared) = filters.prepare(checkpoint) {
        assert!(prepared.len() <= filters.live().len());
    }
}

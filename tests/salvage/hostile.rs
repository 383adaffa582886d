//! SST files that were made to do harm, with valid checksums.

use std::fs;
use std::path::Path;

use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;
use twox_hash::XxHash3_64;

use crate::common::copy_dir;
use crate::{Content, Scene, content, handed_over};

/// An SST file without compression, by RocksDB's table/format.h.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    /// The position of the bytes in the file.
    begin: usize,
}

impl Table {
    fn add(&mut self, entries: &[u8]) -> (usize, usize) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(entries);
        self.bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        let end = self.bytes.len();
        self.bytes.push(0);
        let sum = checksum(&self.bytes[begin..]);
        self.bytes.extend(sum.to_le_bytes());
        (self.begin + begin, end - begin)
    }

    /// Adds the index of the blocks, and writes the file.
    fn write(mut self, blocks: &[(&[u8], (usize, usize))], path: &Path) {
        let mut index = Vec::new();
        for (last, (offset, size)) in blocks {
            [0, last.len()].iter().for_each(|number| varint(&mut index, *number));
            index.extend_from_slice(last);
            [*offset, *size].iter().for_each(|number| varint(&mut index, *number));
        }
        let index = self.add(&index);
        fs::write(path, self.end(index)).unwrap();
    }

    /// Adds the list that leads to the index and the footer, and returns all bytes.
    fn end(mut self, index: (usize, usize)) -> Vec<u8> {
        let mut handle = Vec::new();
        [index.0, index.1].iter().for_each(|number| varint(&mut handle, *number));
        let list = self.add(&entry(0, b"rocksdb.index", &handle));
        let mut footer = [0; 53];
        footer[..5].copy_from_slice(&[4, 0x3e, 0, 0x7a, 0]);
        footer[13..17].copy_from_slice(&(list.1 as u32).to_le_bytes());
        footer[41..45].copy_from_slice(&6u32.to_le_bytes());
        footer[45..].copy_from_slice(&0x88e2_41b7_85f4_cff7u64.to_le_bytes());
        let sum = checksum(&footer);
        footer[5..9].copy_from_slice(&sum.to_le_bytes());
        self.bytes.extend(footer);
        self.bytes
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let (last, rest) = bytes.split_last().unwrap();
    XxHash3_64::oneshot(rest) as u32 ^ u32::from(*last).wrapping_mul(0x6b90_83d9)
}

fn varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn entry(shared: usize, own: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    [shared, own.len(), value.len()].iter().for_each(|number| varint(&mut bytes, *number));
    [&bytes, own, value].concat()
}

/// The internal key of a value, as RocksDB stores it.
fn internal(key: &[u8]) -> Vec<u8> {
    [key, &[1, 0, 0, 0, 0, 0, 0, 0]].concat()
}

fn row_key(group: u16, key: u64) -> Vec<u8> {
    [&group.to_be_bytes()[..], &(key ^ 1 << 63).to_be_bytes()].concat()
}

/// The tombstone of a row that no call has deleted.
const TOMBSTONE: [u8; 7] = [0x80, 0, 0, 0, 0, 0, 0];

/// Writes the hostile files, and returns their names.
fn hostile_tables(folder: &Path) -> Vec<&'static str> {
    let path = |name: &str| folder.join(name);
    let last = [0xff; 10];
    // Keys that share a long prefix unfold without bound.
    let mut table = Table::default();
    let mut entries = entry(0, &internal(&[b'k'; 300_000]), b"");
    (0..200_000).for_each(|_| entries.extend(entry(300_008, b"", b"")));
    let block = table.add(&entries);
    table.write(&[(&last, block)], &path("long keys"));
    // Many short keys do the same.
    let mut table = Table::default();
    let mut entries = entry(0, &internal(&[b'k'; 200]), b"");
    (0..400_000).for_each(|_| entries.extend(entry(208, b"", b"")));
    let block = table.add(&entries);
    table.write(&[(&last, block)], &path("many keys"));
    // An index whose entries lead to one block, and an index out of order.
    let one = entry(0, &internal(&row_key(0, 1)), &TOMBSTONE);
    let mut table = Table::default();
    let block = table.add(&one);
    let lasts: Vec<Vec<u8>> = (0..30u8).map(|index| vec![0xf0 + index / 2, index]).collect();
    let blocks: Vec<(&[u8], _)> = lasts.iter().map(|last| (last.as_slice(), block)).collect();
    table.write(&blocks, &path("one block"));
    let mut table = Table::default();
    let block = table.add(&one);
    let other = table.add(&one);
    table.write(&[(&[9], block), (&[8], other)], &path("index in disorder"));
    // Keys that descend within a block, and from one to the next.
    let two = [entry(0, &internal(&row_key(0, 2)), &TOMBSTONE), one.clone()].concat();
    let mut table = Table::default();
    let block = table.add(&two);
    table.write(&[(&last, block)], &path("keys in disorder"));
    let mut table = Table::default();
    let block = table.add(&entry(0, &internal(&row_key(0, 9)), &TOMBSTONE));
    let other = table.add(&one);
    table.write(&[(&row_key(0, 9), block), (&last, other)], &path("blocks in disorder"));
    // Keys that are not a row's.
    let mut table = Table::default();
    let block = table.add(
        &[entry(0, &internal(b"\0"), &TOMBSTONE), entry(0, &internal(b"\0\x01ab"), &TOMBSTONE)]
            .concat(),
    );
    table.write(&[(&last, block)], &path("strange keys"));
    // Handles that point beyond the file.
    let mut table = Table::default();
    table.add(&one);
    table.write(&[(&last, (1 << 60, 1 << 29)), (&last, (0, usize::MAX))], &path("out of the file"));
    vec![
        "long keys",
        "many keys",
        "one block",
        "index in disorder",
        "keys in disorder",
        "blocks in disorder",
        "strange keys",
        "out of the file",
    ]
}

/// Whether all rows that were on disk, and were not deleted, exist. They may lack steps: a hostile
/// file claims to have had their rows.
fn has_rows_on_disk(scene: &Scene, found: &Content) -> bool {
    let mut keys = scene.on_disk.rows.keys().filter(|key| scene.expected.rows.contains_key(key));
    scene.on_disk.rows.len() > 1500 && keys.all(|key| found.rows.contains_key(key))
}

#[test]
fn hostile_files_cost_nothing_but_themselves() {
    let scene = Scene::new();
    let tables = tempfile::tempdir().unwrap();
    for name in hostile_tables(tables.path()) {
        let (salvaged, found) = scene.salvage(|dir| {
            fs::copy(tables.path().join(name), dir.join("000777.sst")).unwrap();
            fs::remove_file(dir.join("CURRENT")).unwrap();
        });
        assert!(!salvaged.is_whole(), "{name}: {salvaged:?}");
        let told =
            salvaged.damage.iter().filter(|told| told.starts_with("000777.sst")).count() as u64;
        assert!(told + salvaged.rows_refused > 0, "{name}: {salvaged:?}");
        assert!(has_rows_on_disk(&scene, &found), "{name}: {salvaged:?}");
    }
}

/// Opening looks at all files when one is damaged.
#[test]
fn hostile_files_do_not_harm_who_opens_the_storage() {
    let scene = Scene::new();
    let tables = tempfile::tempdir().unwrap();
    for name in hostile_tables(tables.path()) {
        let dir = scene.scratch.path().join("damaged");
        copy_dir(&scene.scratch.path().join("killed"), &dir);
        fs::copy(tables.path().join(name), dir.join("000001.sst")).unwrap();
        let file = handed_over(&dir).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
        let error = Storage::open(&dir, 0, &Params::new()).unwrap_err();
        assert_eq!(error.status(), Status::Corruption, "{name}: {error}");
        assert!(error.message().contains(".sst"), "{name}: {error}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// A file that is long only by its hole; its long index hardly takes room.
fn write_with_hole(path: &Path) {
    let mut index = vec![0; 64 << 20];
    index.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    let mut block = Vec::new();
    varint(&mut block, index.len());
    block.extend(lz4_flex::block::compress(&index));
    let size = block.len();
    block.push(4);
    let sum = checksum(&block);
    block.extend(sum.to_le_bytes());
    let begin = 1 << 30;
    let end = Table { bytes: block, begin }.end((begin, size));
    let file = fs::File::create_new(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &end, begin as u64).unwrap();
}

/// Limited to the memory of a small machine.
#[test]
fn hostile_files_take_little_memory() {
    let scene = Scene::new();
    let tables = tempfile::tempdir().unwrap();
    let [dir, out] = ["killed", "out"].map(|name| scene.scratch.path().join(name));
    for (number, name) in hostile_tables(tables.path()).into_iter().enumerate() {
        fs::copy(tables.path().join(name), dir.join(format!("{:06}.sst", 700 + number))).unwrap();
    }
    fs::remove_file(dir.join("CURRENT")).unwrap();
    write_with_hole(&dir.join("000790.sst"));
    let mut command = std::process::Command::new("bash");
    command.args(["-c", "ulimit -v 2000000; exec \"$0\" --json salvage \"$1\" \"$2\""]);
    let output = command.arg(env!("CARGO_BIN_EXE_damo")).args([&dir, &out]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("000790.sst: its index"), "{told}");
    let found = content(&out);
    assert!(has_rows_on_disk(&scene, &found));
}

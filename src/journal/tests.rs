//! The journal written and read back: cut off, with zeros, with files missing; faults; threads.

mod clients;
mod concurrent;
mod mapped;
mod spares;
mod step_faults;
mod steps;
mod written;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::entry::ENTRY_HEADER_LEN;
use super::mapped::SEGMENT_BYTES;
use super::*;
use crate::error::Status;

/// The keys of each call that was read back.
#[derive(Default)]
struct Calls(Vec<(u64, Vec<i64>)>);

impl Replay for Calls {
    fn config(&mut self, group: u16, _: u32, description: &[u8]) -> Result<()> {
        assert_eq!((group, description), (3, &b"{}"[..]));
        Ok(())
    }

    fn call(&mut self, seqno: Seqno, _: &Head, keys: &[i64], _: &[f32]) -> Result<()> {
        self.0.push((seqno.get(), keys.to_vec()));
        Ok(())
    }

    fn floats_a_key(&self, _: &Head) -> Result<usize> {
        Ok(0)
    }

    fn segment(&mut self) {}
}

fn append(journal: &Journal, keys: &[i64]) -> Result<u64> {
    let config = journal.announce(3, b"{}".to_vec());
    let head = Head { kind: CallKind::Delete, group: 3, config, step: 1, time: 2, rate: 0.0 };
    let seqno = journal.append(&head, &Payload::new(&[IoSlice::new(bytemuck::cast_slice(keys))]));
    journal.prepare_if_low();
    seqno.map(Seqno::get)
}

fn start(dir: &Path) -> Result<Journal> {
    Journal::start(dir, Seqno::NONE, false)
}

fn is_mapped(path: &Path) -> bool {
    entry::is_mapped(&fs::read(path).unwrap())
}

/// Three calls in a closed segment, two in the one after it.
fn five_calls(start: impl Fn(&Path) -> Result<Journal>) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    for call in 1..=5 {
        assert_eq!(append(&journal, &[call; 100]).unwrap(), call as u64);
        if call == 3 {
            assert_eq!(journal.rotate().unwrap(), Seqno::new(3));
        }
    }
    let paths = paths(dir.path());
    (dir, paths)
}

fn fails_to_rotate_and_tries_again(start: impl Fn(&Path) -> Result<Journal>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    append(&journal, &[1; 100]).unwrap();
    // A folder in the place of the next file keeps it from being made.
    let place = dir.path().join(names::name(Seqno::new(2)));
    fs::create_dir(&place).unwrap();
    assert_eq!(journal.rotate().unwrap_err().status(), Status::Io);
    append(&journal, &[2; 100]).unwrap();
    fs::remove_dir(&place).unwrap();
    assert_eq!(journal.rotate().unwrap(), Seqno::new(2));
    append(&journal, &[3; 100]).unwrap();
    assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3]);
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn read(dir: &Path, machine_stopped: bool) -> Result<Vec<u64>> {
    let mut calls = Calls::default();
    let last = read_all(dir, Seqno::NONE, machine_stopped, &mut calls)?.get();
    let seqnos: Vec<_> = calls.0.iter().map(|(seqno, _)| *seqno).collect();
    assert_eq!(seqnos.last().copied().unwrap_or(0), last);
    assert!(calls.0.iter().all(|(seqno, keys)| *keys == [*seqno as i64; 100]));
    Ok(seqnos)
}

fn refused(dir: &Path, path: &Path) {
    let error = read(dir, false).unwrap_err();
    assert_eq!(error.status(), Status::Corruption, "{error}");
    assert!(error.message().contains(path.to_str().unwrap()), "{error}");
}

/// Each range of a segment in turn as zeros: the journal is refused, or ends after so many calls if
/// the machine stopped.
fn refused_with_zeros(path: &Path, zeroed: &[(usize, usize, usize)]) {
    let dir = path.parent().unwrap();
    let bytes = fs::read(path).unwrap();
    for &(from, to, calls) in zeroed {
        let mut damaged = bytes.clone();
        damaged[from..to].fill(0);
        fs::write(path, damaged).unwrap();
        refused(dir, path);
        assert_eq!(read(dir, true).unwrap().len(), calls, "{from} to {to}");
    }
}

/// Counts how many calls were undone.
#[derive(Default)]
struct Undone(std::cell::Cell<u32>);

impl InOrder for Undone {
    fn complete(&self, head: &Head) -> Result<Head> {
        Ok(*head)
    }

    fn take_back(&self) {
        self.0.set(self.0.get() + 1);
    }
}

const CONFIG_LEN: usize = ENTRY_HEADER_LEN + 2;
const CALL_LEN: usize = ENTRY_HEADER_LEN + 800;

//! Reads rows from disk with many reads in flight.
//!
//! RocksDB reads one block after the other, and a disk is fastest with many reads at once. So
//! threads read, each a part of a batch's sorted keys. They are made when they are first needed. A
//! storage that may have one reader has no thread for it: calls read for themselves.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use super::Rocks;
use super::key;
use super::lookup_files::LookupFiles;
use super::row::{self, Found, RowHeader};
use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;
use crate::locks::{Condvar, Mutex};
use crate::memory::{filled, room_for};
use crate::threads;

/// Keys that one thread reads at a time. Few, so that all threads have some of a small batch; not
/// more, so that a large batch does not wait for its slowest part.
const MIN_PART: usize = 8;
const MAX_PART: usize = 128;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The most reads in flight.
    most: usize,
}

/// What was read for consecutive keys.
pub(super) struct ReadRows {
    pub(crate) found: Vec<Found>,
    /// `row_len` floats a key; zeros where there is no row.
    pub(crate) floats: Vec<f32>,
    /// How many keys RocksDB was asked for.
    asked: usize,
}

/// The rows of a batch, in parts of equal length; the last may be shorter.
pub(crate) struct ReadBatch {
    part_len: usize,
    row_len: usize,
    parts: Vec<ReadRows>,
}

#[cfg(feature = "check-index")]
impl ReadRows {
    /// Whether all is the same, bit for bit.
    pub(super) fn is_same(&self, other: &ReadRows) -> bool {
        let bits = |rows: &ReadRows| rows.floats.iter().map(|float| float.to_bits()).collect();
        let (ours, theirs): (Vec<u32>, Vec<u32>) = (bits(self), bits(other));
        self.found == other.found && ours == theirs
    }
}

impl ReadBatch {
    /// How many keys RocksDB was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.parts.iter().map(|part| part.asked).sum()
    }

    /// The row of the `index`th key, if there is one.
    pub(crate) fn row(&self, index: usize) -> Option<(RowHeader, &[f32])> {
        let Found::Row(header) = self.found(index) else { return None };
        let (part, row) = (&self.parts[index / self.part_len], index % self.part_len);
        Some((header, &part.floats[row * self.row_len..(row + 1) * self.row_len]))
    }

    /// What was found under the `index`th key.
    pub(crate) fn found(&self, index: usize) -> Found {
        self.parts[index / self.part_len].found[index % self.part_len]
    }
}

impl Readers {
    /// At most `most` threads; none if that is 1.
    pub(crate) fn new(most: usize) -> Readers {
        Readers { shared: Arc::default(), threads: Mutex::default(), most }
    }

    /// Reads the rows of ascending `keys` of a group.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, and `CORRUPTION` naming the row.
    pub(crate) fn read(
        &self,
        rocks: &Arc<Rocks>,
        group: u16,
        keys: &[i64],
        row_len: usize,
    ) -> Result<ReadBatch> {
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let part_len = keys.len().div_ceil(self.most).clamp(MIN_PART, MAX_PART);
        let count = keys.len().div_ceil(part_len);
        let files = rocks.lookup_files(keys.len());
        if count <= 1 || self.most == 1 || self.make_threads(count) == 0 {
            let read = |part| read_part(rocks, files.as_deref(), group, part, row_len);
            let parts: Result<Vec<_>> = keys.chunks(part_len).map(read).collect();
            rocks.renew_lookups();
            return Ok(ReadBatch { part_len, row_len, parts: parts? });
        }
        let (sender, receiver) = mpsc::channel();
        let mut jobs: Vec<Job> = room_for(count)?;
        for (index, part) in keys.chunks(part_len).enumerate() {
            let (rocks, files, sender) = (Arc::clone(rocks), files.clone(), sender.clone());
            let mut keys = room_for(part.len())?;
            keys.extend_from_slice(part);
            jobs.push(Box::new(move || {
                let read = threads::catch("a reader", || {
                    read_part(&rocks, files.as_deref(), group, &keys, row_len)
                });
                // Before the answer: whoever gets it may close the database, and must be the
                // last to hold it.
                drop((rocks, files));
                let _ = sender.send((index, read));
            }));
        }
        drop(sender);
        self.shared.queue.lock().jobs.extend(jobs);
        self.shared.ready.notify_all();
        rocks.renew_lookups();

        let mut parts: Vec<Option<ReadRows>> = Vec::new();
        parts.resize_with(count, || None);
        let mut failure = None;
        // Waits for all parts, also after a failure: when this returns, no job of this call is
        // under way.
        for (index, read) in receiver {
            match read {
                Ok(rows) => parts[index] = Some(rows),
                Err(error) => failure = Some(error),
            }
        }
        match (failure, parts.into_iter().collect::<Option<Vec<_>>>()) {
            (None, Some(parts)) => Ok(ReadBatch { part_len, row_len, parts }),
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::bug("a reader did not answer")),
        }
    }

    /// Makes threads until there are `wanted`, or the most; returns how many there are.
    fn make_threads(&self, wanted: usize) -> usize {
        let mut threads = self.threads.lock();
        while threads.len() < wanted.min(self.most) {
            let shared = Arc::clone(&self.shared);
            let name = format!("damo-reader-{}", threads.len());
            // Reading needs little stack. So many stacks of the usual size would frighten people
            // who look at the process's virtual memory.
            let builder = thread::Builder::new().name(name).stack_size(512 << 10);
            match start_thread(builder, move || shared.work()) {
                Ok(thread) => threads.push(thread),
                // With fewer threads reading is slower.
                Err(_) => break,
            }
        }
        threads.len()
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.ready.notify_all();
        self.threads.lock().drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue.lock();
            } else if queue.stopping {
                return;
            } else {
                self.ready.wait(&mut queue);
            }
        }
    }
}

/// Reads the rows of ascending keys from `files`, or asks RocksDB.
fn read_part(
    rocks: &Rocks,
    files: Option<&LookupFiles>,
    group: u16,
    keys: &[i64],
    row_len: usize,
) -> Result<ReadRows> {
    let read = read_rows_of(rocks, files, group, keys, row_len)?;
    #[cfg(feature = "check-index")]
    if files.is_some() {
        rocks.check_read(&read, group, keys, row_len)?;
    }
    Ok(read)
}

/// As [`read_part`], and not checked.
pub(super) fn read_rows_of(
    rocks: &Rocks,
    files: Option<&LookupFiles>,
    group: u16,
    keys: &[i64],
    row_len: usize,
) -> Result<ReadRows> {
    let mut found = filled(Found::Nothing, keys.len())?;
    let mut floats = filled(0.0f32, keys.len() * row_len)?;
    let mut encoded = room_for(keys.len())?;
    encoded.extend(keys.iter().map(|&key| key::encode(group, key)));
    let mut keep = |index: usize, value: Option<&[u8]>| {
        if let Some(value) = value {
            let floats = &mut floats[index * row_len..(index + 1) * row_len];
            found[index] = row::decode(value, row_len, floats)
                .map_err(|error| error.within(&format!("group {group} key {}", keys[index])))?;
        }
        Ok(())
    };
    let asked = match files {
        None => {
            rocks.read_rows(&encoded, row::max_bytes(row_len), keep)?;
            keys.len()
        }
        Some(files) => {
            let left = files.read(&encoded, &mut keep)?;
            let mut asked = room_for(left.len())?;
            asked.extend(left.iter().map(|&index| encoded[index]));
            let keep_asked = |index: usize, value: Option<&[u8]>| keep(left[index], value);
            rocks.read_rows(&asked, row::max_bytes(row_len), keep_asked)?;
            left.len()
        }
    };
    Ok(ReadRows { found, floats, asked })
}

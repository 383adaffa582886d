//! Reads rows from disk with many reads in flight.
//!
//! RocksDB reads one block after the other, and a disk is fastest with many reads at once. So
//! threads read, each a part of a batch's sorted keys. They are made when they are first needed. A
//! storage that may have one reader has no thread for it: calls read for themselves. So do calls of
//! few keys while reads are quick, as from the page cache: waking a thread takes longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Rocks;
use super::lookup_files::LookupFiles;
use super::read_batch::{ReadBatch, ReadRows, read_part};
use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;
use crate::locks::{Condvar, Mutex};
use crate::memory::room_for;
use crate::threads;

/// Keys that one thread reads at a time. Few, so that all threads have some of a small batch; not
/// more, so that a large batch does not wait for its slowest part.
const MIN_PART: usize = 8;
const MAX_PART: usize = 128;
/// Reads that take no more nanoseconds a block than this hardly ever wait for the disk.
const QUICK: u64 = 5_000;
/// A slower part counts as this slow, so that one does not count for long.
const SLOWEST: u64 = 200_000;
/// The newest part's share in the average.
const NEWEST_PART: u64 = 8;

type Job = Box<dyn FnOnce() + Send>;
/// The index of a part, and what was read for it.
type Answer = (usize, Result<ReadRows>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopping: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    /// Nanoseconds that a read takes, on average over the latest parts.
    pace: AtomicU64,
}

pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The most reads in flight.
    most: usize,
}

impl Readers {
    /// At most `most` threads; none if that is 1.
    pub(crate) fn new(most: usize) -> Readers {
        Readers { shared: Arc::new(Shared::new()), threads: Mutex::default(), most }
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
        let part_len = part_len(keys.len(), self.most, self.shared.pace.load(Ordering::Relaxed));
        let count = keys.len().div_ceil(part_len);
        let files = rocks.lookup_files(keys.len());
        let parts = if count <= 1 || self.most == 1 || self.make_threads(count) == 0 {
            let read = |part: &[i64]| {
                let read = read_part(rocks, files.as_deref(), group, part, row_len)?;
                self.shared.note(read.took, read.reads);
                Ok(read)
            };
            let parts = keys.chunks(part_len).map(read).collect::<Result<_>>()?;
            rocks.renew_lookups();
            parts
        } else {
            let answers = self.begin(rocks, files, group, keys.chunks(part_len), row_len)?;
            rocks.renew_lookups();
            collect(answers, count)?
        };
        Ok(ReadBatch::new(part_len, row_len, parts))
    }

    /// Has threads read the parts. Each answers with its index.
    fn begin<'a>(
        &self,
        rocks: &Arc<Rocks>,
        files: Option<Arc<LookupFiles>>,
        group: u16,
        parts: impl ExactSizeIterator<Item = &'a [i64]>,
        row_len: usize,
    ) -> Result<Receiver<Answer>> {
        let (sender, receiver) = mpsc::channel();
        let mut jobs: Vec<Job> = room_for(parts.len())?;
        for (index, part) in parts.enumerate() {
            let (rocks, files, sender) = (Arc::clone(rocks), files.clone(), sender.clone());
            let shared = Arc::clone(&self.shared);
            let mut keys = room_for(part.len())?;
            keys.extend_from_slice(part);
            jobs.push(Box::new(move || {
                let read = threads::catch("a reader", || {
                    read_part(&rocks, files.as_deref(), group, &keys, row_len)
                });
                if let Ok(read) = &read {
                    shared.note(read.took, read.reads);
                }
                // Before the answer: whoever gets it may close the database, and must be the
                // last to hold it.
                drop((rocks, files));
                let _ = sender.send((index, read));
            }));
        }
        self.shared.queue.lock().jobs.extend(jobs);
        self.shared.ready.notify_all();
        Ok(receiver)
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

/// Waits for all parts, also after a failure: when this returns, no job of the call is under way.
fn collect(answers: Receiver<Answer>, count: usize) -> Result<Vec<ReadRows>> {
    let mut parts: Vec<Option<ReadRows>> = Vec::new();
    parts.resize_with(count, || None);
    let mut failure = None;
    for (index, read) in answers {
        match read {
            Ok(rows) => parts[index] = Some(rows),
            Err(error) => failure = Some(error),
        }
    }
    match (failure, parts.into_iter().collect()) {
        (None, Some(parts)) => Ok(parts),
        (Some(error), _) => Err(error),
        (None, None) => Err(Error::bug("a reader did not answer")),
    }
}

/// How many keys a part has, of so many.
fn part_len(keys: usize, readers: usize, pace: u64) -> usize {
    let least = if pace <= QUICK { MAX_PART } else { MIN_PART };
    keys.div_ceil(readers).clamp(least, MAX_PART)
}

impl Shared {
    fn new() -> Shared {
        // Slow, until it is known.
        let pace = AtomicU64::new(SLOWEST);
        Shared { queue: Mutex::default(), ready: Condvar::new(), pace }
    }

    /// Notes how long the reads of a part took. A part without reads says nothing about the disk.
    fn note(&self, took: Duration, reads: usize) {
        if reads == 0 {
            return;
        }
        let took = took.as_nanos() as u64 / reads as u64;
        let before = self.pace.load(Ordering::Relaxed);
        let after = before - before / NEWEST_PART + took.min(SLOWEST) / NEWEST_PART;
        self.pace.store(after, Ordering::Relaxed);
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_one_part_while_reads_are_quick() {
        for keys in [1, 8, 39, 96, 128] {
            assert!(part_len(keys, 64, QUICK) >= keys);
            assert_eq!(part_len(keys, 64, QUICK + 1), 8);
        }
        // Many keys are shared by all threads, whatever the pace.
        for keys in [8192, 20_000] {
            assert_eq!(part_len(keys, 64, QUICK), part_len(keys, 64, SLOWEST));
        }
    }

    #[test]
    fn the_pace_follows_what_reads_take() {
        let shared = Shared::new();
        let pace = || shared.pace.load(Ordering::Relaxed);
        for _ in 0..60 {
            shared.note(Duration::from_micros(128), 128);
        }
        assert!(pace() <= QUICK, "{}", pace());
        shared.note(Duration::from_secs(10), 8);
        assert!((QUICK + 1..SLOWEST / 4).contains(&pace()), "{}", pace());
        for _ in 0..30 {
            shared.note(Duration::from_micros(16), 8);
            shared.note(Duration::from_secs(1), 0);
        }
        assert!(pace() <= QUICK, "{}", pace());
    }
}

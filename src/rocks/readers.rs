//! Reads rows from disk on several threads.
//!
//! RocksDB reads one block after the other, and a disk is fastest with many reads at once. So a
//! batch's sorted keys are read in parts. The calling thread reads, and readers' threads help it.
//! These are made when they are first needed; a storage that may have one reader has none.
//!
//! Where a thread may have many reads in flight, only four threads read for each of the storage's
//! option `threads`. While reads are quick, as from the page cache, two for each are enough. Few
//! keys are then read on the calling thread: waking another takes longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use super::Rocks;
use super::block_reader::BlockReader;
use super::lookup_files::LookupFiles;
use super::pace::{Pace, is_quick};
use super::read_batch::{ReadBatch, ReadFrom, ReadRows, read_part};
use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;
use crate::locks::{Condvar, Mutex};
use crate::memory::room_for;
use crate::threads;

/// Keys that one thread reads at a time. Few, so that all threads have some of a small batch; not
/// more, so that a large batch does not wait for its slowest part.
const MIN_PART: usize = 8;
const MAX_PART: usize = 128;
/// The same while reads are quick.
const MAX_QUICK_PART: usize = 256;
/// The same where a thread has many reads in flight, and needs as many keys for that.
const MIN_RING_PART: usize = 64;
const MAX_RING_PART: usize = 4096;
/// To wake a sleeping thread takes microseconds. So whoever has work for many threads wakes two,
/// and each of these wakes two more.
const WOKEN: usize = 2;

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
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The most threads that read at once, with the caller.
    most: usize,
    /// How many read where each has many reads in flight. Half of them read while reads are quick.
    few: usize,
    pace: Pace,
    reader: BlockReader,
}

/// How a batch is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Keys of a part.
    part_len: usize,
    /// How many threads read.
    threads: usize,
}

/// A batch whose parts several threads read.
struct Parts {
    todo: Mutex<Todo>,
    group: u16,
    keys: Vec<i64>,
    row_len: usize,
    plan: Plan,
    /// Set once all threads were asked for help.
    is_widened: AtomicBool,
    answers: Sender<Answer>,
}

/// What nobody has begun to read.
struct Todo {
    next: usize,
    /// None once all parts were begun: a thread that comes later must not hold the database, which
    /// whoever gets the last answer may close.
    from: Option<(Arc<Rocks>, Option<Arc<LookupFiles>>)>,
}

pub(crate) struct Readers(Arc<Shared>);

impl Readers {
    /// At most `most` threads read, the caller among them. As `few` are enough where each thread
    /// has many reads in flight.
    pub(crate) fn new(most: usize, few: usize, reader: BlockReader) -> Readers {
        Readers(Arc::new(Shared::new(most, few, reader)))
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
        let shared = &self.0;
        let files = rocks.lookup_files(keys.len());
        let plan = shared.plan(keys.len(), files.as_deref());
        let count = keys.len().div_ceil(plan.part_len);
        if count <= 1 || shared.most == 1 {
            let from = shared.from(files.as_deref());
            let read = |part: &[i64]| {
                let timing = shared.pace.begin();
                let read = read_part(rocks, from, group, part, row_len)?;
                shared.pace.note(timing, read.took, read.reads());
                Ok(read)
            };
            let parts = keys.chunks(plan.part_len).map(read).collect::<Result<_>>()?;
            return Ok(ReadBatch::new(plan.part_len, row_len, parts));
        }
        let (answers, answered) = mpsc::channel();
        let mut copied = room_for(keys.len())?;
        copied.extend_from_slice(keys);
        let from = Some((Arc::clone(rocks), files));
        let parts = Arc::new(Parts {
            todo: Mutex::new(Todo { next: 0, from }),
            group,
            keys: copied,
            row_len,
            plan,
            is_widened: AtomicBool::new(false),
            answers,
        });
        shared.call_for_help(&parts, plan.threads.min(count) - 1);
        shared.read_parts(&parts);
        // Also after a failure: when this returns, nobody reads for the call.
        let parts = collect(answered.iter().take(count), count)?;
        Ok(ReadBatch::new(plan.part_len, row_len, parts))
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        let shared = &self.0;
        shared.queue.lock().stopping = true;
        shared.ready.notify_all();
        let threads = std::mem::take(&mut *shared.threads.lock());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Parts {
    /// Takes a part that nobody has begun to read: its index, and where to read it.
    fn take(&self) -> Option<(usize, Arc<Rocks>, Option<Arc<LookupFiles>>)> {
        let mut todo = self.todo.lock();
        let (rocks, files) = todo.from.clone()?;
        let part = todo.next;
        todo.next += 1;
        if todo.next * self.plan.part_len >= self.keys.len() {
            todo.from = None;
        }
        Some((part, rocks, files))
    }

    /// How many parts nobody has begun to read.
    fn left(&self) -> usize {
        self.keys.len().div_ceil(self.plan.part_len) - self.todo.lock().next
    }
}

/// The parts of a batch, in their order.
fn collect(answers: impl Iterator<Item = Answer>, count: usize) -> Result<Vec<ReadRows>> {
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

impl Shared {
    fn new(most: usize, few: usize, reader: BlockReader) -> Shared {
        Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            threads: Mutex::default(),
            most,
            few: few.min(most),
            pace: Pace::default(),
            reader,
        }
    }

    /// How to divide so many keys, which are read from files or by RocksDB.
    fn plan(&self, keys: usize, files: Option<&LookupFiles>) -> Plan {
        let is_quick = self.pace.is_quick();
        if files.is_some() && is_quick {
            let part_len = keys.div_ceil(2 * self.few).clamp(MAX_PART, MAX_QUICK_PART);
            return Plan { part_len, threads: self.few.div_ceil(2) };
        }
        // RocksDB has one read in flight for each thread, also for the keys of files that are not
        // open.
        if files.is_some_and(LookupFiles::is_complete) && self.reader.makes_rings() {
            let part_len = keys.div_ceil(self.few).clamp(MIN_RING_PART, MAX_RING_PART);
            return Plan { part_len, threads: self.few };
        }
        let least = if is_quick { MAX_PART } else { MIN_PART };
        let part_len = keys.div_ceil(self.most).clamp(least, MAX_PART);
        Plan { part_len, threads: self.most }
    }

    fn from<'a>(&'a self, files: Option<&'a LookupFiles>) -> Option<ReadFrom<'a>> {
        files.map(|files| ReadFrom { files, reader: &self.reader })
    }

    /// Has so many threads help to read the parts, as far as threads can be made. With fewer,
    /// reading is slower.
    fn call_for_help(self: &Arc<Shared>, parts: &Arc<Parts>, helpers: usize) {
        // Nobody would take the jobs of threads that could not be made.
        let helpers = helpers.min(self.make_threads(helpers));
        let job = || {
            let (shared, parts) = (Arc::clone(self), Arc::clone(parts));
            Box::new(move || shared.read_parts(&parts)) as Job
        };
        self.queue.lock().jobs.extend((0..helpers).map(|_| job()));
        self.wake(helpers);
    }

    fn wake(&self, wanted: usize) {
        for _ in 0..wanted.min(WOKEN) {
            self.ready.notify_one();
        }
    }

    /// Reads parts until all are begun. Each is answered.
    fn read_parts(self: &Arc<Shared>, parts: &Arc<Parts>) {
        while let Some((index, rocks, files)) = parts.take() {
            let keys = parts.keys.chunks(parts.plan.part_len).nth(index).unwrap_or_default();
            let timing = self.pace.begin();
            let read = threads::catch("a reader", || {
                read_part(&rocks, self.from(files.as_deref()), parts.group, keys, parts.row_len)
            });
            if let Ok(read) = &read {
                self.pace.note(timing, read.took, read.reads());
                self.widen(parts, read);
            }
            // Before the answer: whoever gets it may close the database, and must be the last to
            // hold it.
            drop((rocks, files));
            let _ = parts.answers.send((index, read));
        }
    }

    /// Has all threads help if a part of few threads has waited for the disk after all.
    fn widen(self: &Arc<Shared>, parts: &Arc<Parts>, read: &ReadRows) {
        let is_slow = !is_quick(read.took, read.reads());
        if is_slow
            && !self.reader.makes_rings()
            && parts.plan.threads < self.most
            && !parts.is_widened.swap(true, Ordering::Relaxed)
        {
            self.call_for_help(parts, (self.most - parts.plan.threads).min(parts.left()));
        }
    }

    /// Makes threads until there are `wanted`, or the most. Waits until they have begun. Returns
    /// how many there are.
    fn make_threads(self: &Arc<Shared>, wanted: usize) -> usize {
        let mut threads = self.threads.lock();
        // The calling thread is one of the most.
        let wanted = wanted.min(self.most - 1);
        if threads.len() >= wanted {
            return threads.len();
        }
        let (beginning, beginnings) = threads::beginnings();
        while threads.len() < wanted {
            let (shared, beginning) = (Arc::clone(self), beginning.clone());
            let name = format!("damo-reader-{}", threads.len());
            // Reading needs little stack. So many stacks of the usual size would frighten people
            // who look at the process's virtual memory.
            let builder = thread::Builder::new().name(name).stack_size(512 << 10);
            let work = move || {
                beginning.has_begun();
                shared.work();
            };
            match start_thread(builder, work) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        drop(beginning);
        beginnings.wait();
        threads.len()
    }

    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                let left = queue.jobs.len();
                drop(queue);
                self.wake(left);
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

    fn shared(most: usize, few: usize) -> Shared {
        Shared::new(most, few, BlockReader::new(true, false))
    }

    #[test]
    fn few_keys_are_one_part_while_reads_are_quick() {
        let files = LookupFiles::new(Vec::new());
        let shared = shared(64, 2);
        let part_len = |keys, is_quick| {
            shared.pace.set(is_quick);
            [Some(&files), None].map(|files| shared.plan(keys, files).part_len)
        };
        for keys in [1, 8, 39, 96, 128] {
            assert!(part_len(keys, true).iter().all(|len| *len >= keys));
            assert_eq!(part_len(keys, false), [8, 8]);
        }
        // RocksDB reads slower, and all threads ask it for many keys, whatever the pace.
        for keys in [8192, 20_000] {
            assert_eq!(part_len(keys, true)[1], part_len(keys, false)[1]);
        }
    }

    #[test]
    fn few_threads_read_while_reads_are_quick() {
        let files = LookupFiles::new(Vec::new());
        let threads = |most, few, is_quick| {
            let shared = shared(most, few);
            shared.pace.set(is_quick);
            [Some(&files), None].map(|files| shared.plan(20_000, files).threads)
        };
        assert_eq!(threads(64, 8, true), [4, 64]);
        assert_eq!(threads(64, 2, false), [64, 64]);
        assert_eq!(threads(4, 16, true), [2, 4]);
        assert_eq!(threads(4, 1, true), [1, 4]);
    }

    #[test]
    fn few_threads_read_where_each_has_many_reads_in_flight() {
        let shared = Shared::new(64, 2, BlockReader::new(true, true));
        let files = LookupFiles::new(Vec::new());
        let plan = |keys| shared.plan(keys, Some(&files));
        assert_eq!(plan(40), Plan { part_len: 64, threads: 2 });
        assert_eq!(plan(1000), Plan { part_len: 500, threads: 2 });
        assert_eq!(plan(20_000), Plan { part_len: 4096, threads: 2 });
        // RocksDB has one read in flight for each thread.
        assert_eq!(shared.plan(20_000, None), Plan { part_len: 128, threads: 64 });
    }
}

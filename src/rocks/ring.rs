//! Ring: many reads in flight from one thread, by io_uring.
//!
//! A thread makes a ring for its part of one batch. That takes 20 us, and a cold read takes 6. So
//! no ring is open between calls. A child that is forked while another thread reads has the
//! descriptor of that thread's ring, and not its memory.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, opcode, types};

use super::sst::FileRead;
use crate::error::Result;
use crate::memory::{filled, room_for};

/// The most reads in flight. An NVMe disk is fastest with 64 to 128.
const DEPTH: usize = 128;
/// The fewest reads that may be in flight, however large they are.
const MIN_DEPTH: usize = 8;
/// The memory of the reads in flight. Of large reads fewer are in flight, down to `MIN_DEPTH`.
const BYTES: usize = 1 << 20;
/// How often a system that has no memory for the moment is asked again, and how long after.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_micros(100);

pub(super) struct Ring(IoUring);

/// What is left of a ring after a batch.
#[allow(clippy::large_enum_variant, reason = "it is moved once a batch")]
pub(super) enum Left {
    Ring(Ring),
    /// The system was short of memory for too long. Another ring may be made.
    Nothing,
    /// The system does not serve rings.
    Refusal,
}

/// What waiting for reads has come to.
enum Waited {
    /// Some reads may have finished.
    Done,
    /// The system begins no more reads now.
    Shortage,
    Refusal,
}

impl Ring {
    /// # Errors
    /// The system's. It may refuse rings, as in many containers.
    pub(super) fn new() -> io::Result<Ring> {
        // The system finishes reads only while the thread waits, and does not interrupt it
        // otherwise. Systems before Linux 6.1 do not know that.
        let waiting = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(DEPTH as u32);
        let ring = waiting.or_else(|_| IoUring::builder().dontfork().build(DEPTH as u32))?;
        // A lower number is that of a standard descriptor that the program has closed, and may open
        // again at any moment.
        let is_ours = ring.as_raw_fd() > libc::STDERR_FILENO;
        if is_ours { Ok(Ring(ring)) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Reads all of `reads`, and hands what was read to `visit` with its index, in any order. What
    /// the system does not read by the ring is read by calls.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `visit`.
    pub(super) fn read(
        mut self,
        reads: &[FileRead<'_>],
        mut visit: impl FnMut(usize, io::Result<&[u8]>) -> Result<()>,
    ) -> Result<Left> {
        let len = reads.iter().map(|read| read.len).max().unwrap_or(0).max(1);
        let depth = (BYTES / len).clamp(MIN_DEPTH, DEPTH).min(reads.len());
        let mut is_read = filled(false, reads.len())?;
        let mut finished = room_for(depth)?;
        let mut flight = Flight::new(&mut self.0, depth, len)?;
        let mut waiting = 0..reads.len();
        let mut is_served = true;
        let left = loop {
            flight.begin(&mut waiting, reads);
            if flight.count == 0 {
                drop(flight);
                return Ok(if is_served { Left::Ring(self) } else { Left::Refusal });
            }
            match flight.wait() {
                Waited::Done => {}
                Waited::Shortage if is_served => break Left::Nothing,
                Waited::Shortage | Waited::Refusal => break Left::Refusal,
            }
            flight.take_finished(&mut finished);
            for Finished { slot, index, outcome } in finished.drain(..) {
                is_served &= !is_refusal(outcome);
                let bytes = flight.read_part(slot, outcome, &reads[index]);
                visit(index, bytes)?;
                is_read[index] = true;
                flight.free.push(slot);
            }
        };
        drop(flight);
        let mut buffer = filled(0, len)?;
        for (index, read) in reads.iter().enumerate().filter(|(index, _)| !is_read[*index]) {
            let buffer = &mut buffer[..read.len];
            let outcome = read.file.read_exact_at(buffer, read.offset);
            visit(index, outcome.map(|()| &*buffer))?;
        }
        Ok(left)
    }
}

/// A read that has finished: its place in the buffer, its index, and what the system says.
struct Finished {
    slot: usize,
    index: usize,
    outcome: i32,
}

/// Reads in flight, and the memory that the system writes to. The memory is not freed before all
/// reads that the system has begun have finished, whatever ends the reading. Dropping it begins no
/// more: then the ring must not be used again, unless all reads have finished.
struct Flight<'a> {
    ring: &'a mut IoUring,
    buffer: ManuallyDrop<Vec<u8>>,
    /// Where the buffer begins.
    start: *mut u8,
    /// Bytes of a slot.
    len: usize,
    /// Slots without a read.
    free: Vec<usize>,
    /// How many reads are in flight: begun, or handed to the ring.
    count: usize,
}

impl<'a> Flight<'a> {
    fn new(ring: &'a mut IoUring, depth: usize, len: usize) -> Result<Flight<'a>> {
        let mut free = room_for(depth)?;
        free.extend(0..depth);
        let mut buffer = ManuallyDrop::new(filled(0, depth * len)?);
        let start = buffer.as_mut_ptr();
        Ok(Flight { ring, buffer, start, len, free, count: 0 })
    }

    /// Hands waiting reads to the ring while slots are free. `wait` has the system begin them.
    fn begin(&mut self, waiting: &mut Range<usize>, reads: &[FileRead<'_>]) {
        let mut queue = self.ring.submission();
        while waiting.start < waiting.end
            && let Some(slot) = self.free.pop()
        {
            let index = waiting.start;
            let read = &reads[index];
            assert!(read.len <= self.len && slot < self.buffer.len() / self.len, "a slot's room");
            // SAFETY: the slot lies in the buffer.
            let place = unsafe { self.start.add(slot * self.len) };
            let entry = opcode::Read::new(types::Fd(read.file.as_raw_fd()), place, read.len as u32)
                .offset(read.offset)
                .build()
                .user_data((index * DEPTH + slot) as u64);
            // SAFETY: the system writes to the slot until the read has finished. The buffer is
            // freed once none is in flight (`drop`), and a slot is used again once its read has
            // finished. Nobody has a reference to the slot meanwhile: `read_part` makes one for a
            // finished read only, which ends before the slot is free. The descriptor is open: the
            // file is borrowed until the system has looked it up, at least. From then on the system
            // keeps the file open for the read.
            if unsafe { queue.push(&entry) }.is_err() {
                self.free.push(slot);
                break;
            }
            waiting.start += 1;
            self.count += 1;
        }
    }

    /// Has the system begin the reads, and waits until some have finished.
    fn wait(&mut self) -> Waited {
        // Not for a single read, since each wake-up of the thread costs.
        let wanted = (self.count / 4).max(1);
        let mut tries = 0;
        loop {
            let Err(error) = self.submit(wanted) else { return Waited::Done };
            match error.raw_os_error() {
                // A signal has come.
                Some(libc::EINTR) => {}
                // It has no memory for more reads, or wants finished ones to be taken first.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    if !self.ring.completion().is_empty() {
                        return Waited::Done;
                    }
                    if self.begun() > 0 {
                        match self.wait_for(1) {
                            Ok(_) => return Waited::Done,
                            Err(_) => return Waited::Refusal,
                        }
                    }
                    if tries == TRIES {
                        return Waited::Shortage;
                    }
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                _ => return Waited::Refusal,
            }
        }
    }

    /// Has the system begin what was handed to the ring, and waits for `wanted` reads. If it begins
    /// only a part, it does not wait.
    fn submit(&mut self, wanted: usize) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(code) = tests::next_failure() {
            return Err(io::Error::from_raw_os_error(code));
        }
        self.ring.submit_and_wait(wanted)
    }

    /// How many reads the system has begun, of which it may still write the bytes.
    fn begun(&mut self) -> usize {
        self.count - self.ring.submission().len()
    }

    /// Waits for `wanted` of the reads that were begun, and begins no more.
    fn wait_for(&mut self, wanted: usize) -> io::Result<usize> {
        let flags = EnterFlags::GETEVENTS.bits();
        loop {
            // SAFETY: nothing is submitted, and there is no argument that would have to live.
            let entered = unsafe {
                self.ring.submitter().enter::<libc::sigset_t>(0, wanted as u32, flags, None)
            };
            match entered {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Takes the reads that have finished. Their slots are not free yet.
    fn take_finished(&mut self, finished: &mut Vec<Finished>) {
        for entry in self.ring.completion() {
            let (number, outcome) = (entry.user_data() as usize, entry.result());
            finished.push(Finished { slot: number % DEPTH, index: number / DEPTH, outcome });
            self.count -= 1;
        }
    }

    /// The bytes of a finished read. What the ring has not read, a call reads: the rest of a short
    /// read, or all of one that the system could not do at that moment.
    fn read_part(&mut self, slot: usize, outcome: i32, read: &FileRead<'_>) -> io::Result<&[u8]> {
        let done = match usize::try_from(outcome) {
            Ok(bytes) => bytes.min(read.len),
            Err(_) if is_passing(outcome) || is_refusal(outcome) => 0,
            Err(_) => return Err(io::Error::from_raw_os_error(-outcome)),
        };
        // SAFETY: the slot lies in the buffer, whose bytes have all been written to before, and its
        // read has finished: the system writes there no more. The slot becomes free after the
        // reference has ended.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.start.add(slot * self.len), read.len) };
        if done < read.len {
            read.file.read_exact_at(&mut bytes[done..], read.offset + done as u64)?;
        }
        Ok(bytes)
    }
}

/// Whether a read may succeed if it is made by a call now.
fn is_passing(outcome: i32) -> bool {
    [-libc::EAGAIN, -libc::EINTR, -libc::ECANCELED, -libc::ENOMEM].contains(&outcome)
}

/// Whether the system does not know such reads: before Linux 5.6, or for this file.
fn is_refusal(outcome: i32) -> bool {
    [-libc::EINVAL, -libc::EOPNOTSUPP].contains(&outcome)
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        loop {
            let begun = self.begun();
            if begun == 0 {
                break;
            }
            if self.wait_for(begun).is_err() {
                // The system may still write to the buffer, so it is never freed.
                return;
            }
            self.count -= self.ring.completion().count();
        }
        // SAFETY: no read is begun that has not finished, and nobody uses the buffer again. Reads
        // that the system has not begun stay in the ring's queue: it is not submitted again.
        unsafe { ManuallyDrop::drop(&mut self.buffer) };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::fs::File;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::error::Error;

    thread_local! {
        /// The errors of the next submits on this thread; 0 for one that is made.
        static FAILURES: RefCell<VecDeque<i32>> = RefCell::default();
    }

    pub(super) fn next_failure() -> Option<i32> {
        FAILURES.with(|failures| failures.borrow_mut().pop_front()).filter(|code| *code != 0)
    }

    fn fail(codes: impl IntoIterator<Item = i32>) {
        FAILURES.with(|failures| *failures.borrow_mut() = codes.into_iter().collect());
    }

    /// A ring, unless this system refuses it.
    fn ring() -> Option<Ring> {
        Ring::new().inspect_err(|error| println!("SKIPPED: no ring here: {error}")).ok()
    }

    fn file(len: usize) -> (File, Vec<u8>) {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..len).map(|at| (at * 31 / 7) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        (file, bytes)
    }

    fn reads(file: &File, count: usize, len: usize) -> Vec<FileRead<'_>> {
        (0..count).map(|index| FileRead { file, offset: (index * 97) as u64, len }).collect()
    }

    #[test]
    fn all_are_read_once_however_many() {
        let Some(mut ring) = ring() else { return };
        let (file, bytes) = file(300_000);
        for (count, len) in [(0, 1), (1, 1), (5, 2000), (1000, 2000), (1000, 1), (20, 290_000)] {
            let mut seen = vec![0; count];
            let reads = reads(&file, count, len);
            let served = ring.read(&reads, |index, read| {
                assert_eq!(read.unwrap(), &bytes[index * 97..index * 97 + len]);
                seen[index] += 1;
                Ok(())
            });
            assert!(seen.iter().all(|seen| *seen == 1), "{count} of {len}");
            let Left::Ring(left) = served.unwrap() else { panic!("the ring is of no use") };
            ring = left;
        }
    }

    /// Reads 1000 parts while submits fail so, and returns what is left of the ring.
    fn read_beside(codes: impl IntoIterator<Item = i32>) -> Option<Left> {
        let ring = ring()?;
        let (file, bytes) = file(300_000);
        let mut seen = vec![0; 1000];
        fail(codes);
        let left = ring.read(&reads(&file, 1000, 2000), |index, read| {
            assert_eq!(read.unwrap(), &bytes[index * 97..index * 97 + 2000]);
            seen[index] += 1;
            Ok(())
        });
        fail([]);
        assert!(seen.iter().all(|seen| *seen == 1));
        Some(left.unwrap())
    }

    #[test]
    fn a_shortage_that_passes_is_waited_for() {
        let (again, busy, signal) = (libc::EAGAIN, libc::EBUSY, libc::EINTR);
        for codes in [vec![again], vec![signal; 200], vec![busy, 0, again, signal, again, 0, busy]]
        {
            let Some(left) = read_beside(codes) else { return };
            assert!(matches!(left, Left::Ring(_)));
        }
    }

    #[test]
    fn a_shortage_that_lasts_leaves_the_rest_to_calls() {
        for before in [0, 1, 5] {
            let lasting = std::iter::repeat_n(libc::EAGAIN, 10_000);
            let Some(left) = read_beside(std::iter::repeat_n(0, before).chain(lasting)) else {
                return;
            };
            assert!(matches!(left, Left::Nothing), "another ring may be made");
            let Some(left) = read_beside(std::iter::repeat_n(0, before).chain([libc::EPERM]))
            else {
                return;
            };
            assert!(matches!(left, Left::Refusal));
        }
    }

    #[test]
    fn failures_are_those_of_their_reads_only() {
        let Some(ring) = ring() else { return };
        let (file, bytes) = file(30_000);
        let folder = File::open(std::env::temp_dir()).unwrap();
        let mut reads = reads(&file, 200, 2000);
        reads[3].file = &folder;
        // Beyond the end, and over it.
        reads[5].offset = 1 << 40;
        reads[7].offset = 29_000;
        let mut seen = 0;
        let served = ring.read(&reads, |index, read| {
            match index {
                3 => assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EISDIR)),
                5 | 7 => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                _ => assert_eq!(read.unwrap(), &bytes[index * 97..index * 97 + 2000]),
            }
            seen += 1;
            Ok(())
        });
        assert!(served.is_ok());
        assert_eq!(seen, 200);
    }

    #[test]
    fn what_ends_early_waits_for_reads_in_flight() {
        let (file, _) = file(300_000);
        let reads = reads(&file, 500, 2000);
        for end in [0, 1, 100, 400] {
            let Some(failing) = ring() else { return };
            let mut count = 0;
            let outcome = failing.read(&reads, |_, _| {
                count += 1;
                if count > end { Err(Error::bug("a test wants an error")) } else { Ok(()) }
            });
            assert!(outcome.is_err());
            let Some(panicking) = ring() else { return };
            let mut count = 0;
            let panic = catch_unwind(AssertUnwindSafe(|| {
                panicking.read(&reads, |_, _| {
                    count += 1;
                    assert!(count <= end, "a test wants a panic");
                    Ok(())
                })
            }));
            assert!(panic.is_err());
        }
    }

    #[test]
    fn a_flight_ends_when_all_have_finished() {
        let Some(mut ring) = ring() else { return };
        let (file, _) = file(300_000);
        let reads = reads(&file, 50, 2000);
        let mut flight = Flight::new(&mut ring.0, 50, 2000).unwrap();
        flight.begin(&mut (0..40), &reads);
        flight.submit(0).unwrap();
        flight.begin(&mut (40..50), &reads);
        assert_eq!((flight.count, flight.free.len(), flight.begun()), (50, 0, 40));
        drop(flight);
        // The others were not begun.
        assert_eq!(ring.0.submission().len(), 10);
        assert!(ring.0.completion().is_empty());
    }
}

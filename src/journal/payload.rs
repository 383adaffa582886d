//! What a call has in the journal. The threads of a large call share the work on it.

use std::io::IoSlice;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use crc32fast::Hasher;

use super::entry::{Head, checksum};

/// The bytes that one thread works on at a time.
const RUN: u64 = 128 << 10;

/// Threads that help a caller.
pub(crate) trait Helpers: Sync {
    /// Does `work` for each number below `count`, and returns once all is done.
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync));

    /// As [`Helpers::each`], for work that other calls wait for.
    fn each_awaited(&self, count: usize, work: &(dyn Fn(usize) + Sync));
}

/// What a call has in the journal, with its checksum. Making one takes no lock.
pub(crate) struct Payload<'a> {
    /// What comes before the pieces.
    front: &'a [u8],
    pieces: &'a [IoSlice<'a>],
    /// The configurations that the call was made with; none if its head has the only one.
    configs: &'a [u32],
    /// The checksum and the length.
    pub(super) sum: (u32, u64),
    helpers: Option<&'a dyn Helpers>,
}

impl<'a> Payload<'a> {
    pub(crate) fn new(pieces: &'a [IoSlice<'a>]) -> Payload<'a> {
        Payload { front: &[], pieces, configs: &[], sum: checksum(pieces), helpers: None }
    }

    /// As [`Payload::new`]. If it is long, `helpers` help with the checksum, and with copying.
    pub(crate) fn shared(pieces: &'a [IoSlice<'a>], helpers: &'a dyn Helpers) -> Payload<'a> {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let (front, configs, helpers) = (&[][..], &[][..], Some(helpers));
        let mut payload = Payload { front, pieces, configs, sum: (0, len), helpers };
        payload.sum.0 = payload.checksum();
        payload
    }

    /// This payload, without configurations of its own, behind `front`.
    pub(crate) fn behind<'b>(&'b self, front: &'b [u8], configs: &'b [u32]) -> Payload<'b> {
        let mut sum = Hasher::new();
        sum.update(front);
        sum.combine(&Hasher::new_with_initial_len(self.sum.0, self.sum.1));
        let sum = (sum.finalize(), self.sum.1 + front.len() as u64);
        Payload { front, pieces: self.pieces, configs, sum, helpers: self.helpers }
    }

    /// The configurations that a call with this head was made with.
    pub(super) fn configs_with<'h>(&'h self, head: &'h Head) -> &'h [u32] {
        match self.configs {
            [] => slice::from_ref(&head.config),
            configs => configs,
        }
    }

    /// Its bytes, in pieces of which none is empty.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let front = Some(self.front).filter(|front| !front.is_empty());
        front.into_iter().chain(self.pieces.iter().map(|piece| &**piece))
    }

    /// How many pieces there are, or one less.
    pub(super) fn count(&self) -> usize {
        self.pieces.len()
    }

    /// How many runs there are: parts of [`RUN`] bytes that threads work on.
    fn runs(&self) -> usize {
        self.sum.1.div_ceil(RUN) as usize
    }

    /// Calls `work` with every part of the payload and the part's offset, in any order. For a call
    /// that has begun: others wait for it.
    pub(super) fn each_run(&self, work: impl Fn(u64, &[u8]) + Sync) {
        let work = |run| self.of_run(run, &work);
        match self.helpers.filter(|_| self.runs() > 1) {
            Some(helpers) => helpers.each_awaited(self.runs(), &work),
            None => (0..self.runs()).for_each(work),
        }
    }

    /// Calls `work` with the parts of a run and their offsets, in their order.
    fn of_run(&self, run: usize, mut work: impl FnMut(u64, &[u8])) {
        let (begin, end) = (run as u64 * RUN, (run as u64 + 1) * RUN);
        let mut at = 0;
        for piece in self.pieces() {
            let next = at + piece.len() as u64;
            let (from, to) = (begin.max(at), end.min(next));
            if from < to {
                work(from, &piece[(from - at) as usize..(to - at) as usize]);
            }
            at = next;
            if at >= end {
                return;
            }
        }
    }

    fn checksum(&self) -> u32 {
        let Some(helpers) = self.helpers.filter(|_| self.runs() > 1) else {
            return checksum(self.pieces).0;
        };
        let sums: Vec<AtomicU32> = (0..self.runs()).map(|_| AtomicU32::new(0)).collect();
        helpers.each(self.runs(), &|run| {
            let mut hasher = Hasher::new();
            self.of_run(run, |_, bytes| hasher.update(bytes));
            sums[run].store(hasher.finalize(), Ordering::Relaxed);
        });
        let mut whole = Hasher::new();
        for (run, sum) in sums.into_iter().enumerate() {
            let len = RUN.min(self.sum.1 - run as u64 * RUN);
            whole.combine(&Hasher::new_with_initial_len(sum.into_inner(), len));
        }
        whole.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Helpers that begin with the last.
    struct Backwards;

    impl Helpers for Backwards {
        fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
            (0..count).rev().for_each(work);
        }

        fn each_awaited(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
            self.each(count, work);
        }
    }

    #[test]
    fn shared_work_has_the_same_checksum_and_hands_each_byte_over_once() {
        let run = RUN as usize;
        let lens = [0, 1, run - 1, run, run + 1, 3 * run, 7 * run + 5, 20 * run];
        for (at, len) in lens.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|byte| ((byte * 31) >> at) as u8).collect();
            for parts in [1, 3, 64] {
                let pieces: Vec<_> = bytes.chunks((len / parts).max(1)).map(IoSlice::new).collect();
                let payload = Payload::shared(&pieces, &Backwards);
                assert_eq!(payload.sum, (crc32fast::hash(&bytes), len as u64), "{len} bytes");
                assert_eq!(payload.sum, Payload::new(&pieces).sum);
                let seen = Mutex::new(vec![(0u8, 0u8); len]);
                payload.each_run(|from, bytes| {
                    let seen = &mut seen.lock().unwrap()[from as usize..][..bytes.len()];
                    seen.iter_mut().zip(bytes).for_each(|((times, seen), byte)| {
                        (*times, *seen) = (*times + 1, *byte);
                    });
                });
                let seen = seen.into_inner().unwrap();
                assert!(seen.iter().zip(&bytes).all(|(seen, byte)| *seen == (1, *byte)));
            }
        }
    }
}

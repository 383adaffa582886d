//! Several threads read many ranges of keys; the pages come out in the order of keys.
//!
//! One thread reads a few million rows a second, less than a disk can deliver. Each thread reads a
//! whole range at a time. How far the threads may be ahead of what was taken bounds the memory.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::thread;

use super::page::Page;
use super::reader::Reader;
use crate::error::Result;
use crate::limits::MAX_WORK_THREADS;
use crate::locks::{Condvar, Mutex};
use crate::process::Call;
use crate::rocks::KeyRange;
use crate::threads;

/// About so many bytes on disk are a range. It is many times the bytes that are read ahead, of
/// which a part goes beyond the range's end.
pub(super) const RANGE_BYTES: u64 = 16 << 20;

/// What the threads share.
#[derive(Default)]
struct Order {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next range to read.
    next: usize,
    /// The range whose pages the caller takes now.
    taking: usize,
    done: BTreeMap<usize, Result<Vec<Page>>>,
    spare: Vec<Page>,
    stopped: bool,
}

/// Hands the pages of all ranges, in order, to `take`, until it returns false. `empty` gives back
/// pages to fill again.
///
/// # Errors
/// `IO`, `CORRUPTION`, `EXITING`.
pub(super) fn read(
    reader: &Reader<'_>,
    ranges: &[KeyRange],
    threads: usize,
    empty: &Receiver<Page>,
    mut take: impl FnMut(Page) -> bool,
) -> Result<()> {
    let threads = threads.min(MAX_WORK_THREADS).min(ranges.len());
    let order = Order::default();
    thread::scope(|scope| {
        let mut started = 0;
        for number in 0..if threads > 1 { threads } else { 0 } {
            let builder = thread::Builder::new().name(format!("damo-scan-{number}"));
            started += usize::from(
                builder.spawn_scoped(scope, || order.work(reader, ranges, threads)).is_ok(),
            );
        }
        let outcome = (0..ranges.len()).try_for_each(|index| {
            if started == 0 {
                // With one range, or without threads, the range is read here.
                let pages = read_range(reader, &ranges[index], || emptied(empty.try_recv().ok()))?;
                return if pages.into_iter().all(&mut take) { Ok(()) } else { Err(None) };
            }
            let pages = order.wait_for(index)?;
            let goes_on = pages.into_iter().all(&mut take);
            order.state.lock().spare.extend(empty.try_iter());
            if goes_on { Ok(()) } else { Err(None) }
        });
        order.state.lock().stopped = true;
        order.changed.notify_all();
        match outcome {
            Err(Some(error)) => Err(error),
            // `take` wants no more.
            Ok(()) | Err(None) => Ok(()),
        }
    })
}

impl Order {
    fn work(&self, reader: &Reader<'_>, ranges: &[KeyRange], threads: usize) {
        let mut state = self.state.lock();
        loop {
            if state.stopped || state.next == ranges.len() {
                return;
            }
            if state.next > state.taking + threads {
                self.changed.wait(&mut state);
                continue;
            }
            let index = state.next;
            state.next += 1;
            drop(state);
            let read =
                || read_range(reader, &ranges[index], || emptied(self.state.lock().spare.pop()));
            let pages = threads::catch("a thread that reads rows", read);
            state = self.state.lock();
            state.done.insert(index, pages);
            self.changed.notify_all();
        }
    }

    fn wait_for(&self, index: usize) -> Result<Vec<Page>> {
        let mut state = self.state.lock();
        state.taking = index;
        self.changed.notify_all();
        loop {
            if let Some(pages) = state.done.remove(&index) {
                return pages;
            }
            self.changed.wait(&mut state);
        }
    }
}

fn read_range(
    reader: &Reader<'_>,
    range: &KeyRange,
    next: impl FnMut() -> Page,
) -> Result<Vec<Page>> {
    // A range is short, so the end of the process does not wait long for this call.
    let _call = Call::begin()?;
    let mut pages = Vec::new();
    reader.read(range, next, |page| {
        pages.push(page);
        true
    })?;
    Ok(pages)
}

fn emptied(page: Option<Page>) -> Page {
    let mut page = page.unwrap_or_default();
    page.keys.clear();
    page.removed.clear();
    page.headers.clear();
    page.floats.clear();
    page
}

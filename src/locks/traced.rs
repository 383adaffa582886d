//! Locks that record in which order they are taken.
//!
//! Each lock is a node in a graph of the process. A thread that takes B while it holds A adds the
//! edge from A to B. An edge that closes a cycle is a deadlock when threads meet at the wrong
//! moment. Taking a lock that the same thread already holds is a cycle, too, even for reading: a
//! waiting writer keeps new readers out.
//!
//! Not traced: locks of RocksDB and of files, channels, and waits on a `Condvar`.

use std::backtrace::Backtrace;
use std::collections::HashSet;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Once;
use std::time::Duration;

use parking_lot::WaitTimeoutResult;
pub(crate) use tracing_mutex::parkinglot::tracing::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// The path of the reports: a process that finds a cycle writes to this path, a dot and its process
/// ID. Without the variable the thread that closes a cycle panics.
const REPORTS: &str = "DAMO_LOCK_REPORTS";
/// The largest number of reports. A cycle is found each time its last lock is taken; each is
/// written once.
const MAX_REPORTS: usize = 100;

/// As parking_lot's `Condvar`, which can only release parking_lot's own mutex.
#[derive(Default)]
pub(crate) struct Condvar {
    /// Held from before the caller's mutex is released until the wait has begun, and while
    /// notifying: so no notification falls between the two.
    gate: parking_lot::Mutex<()>,
    inner: parking_lot::Condvar,
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let mut gate = self.gate.lock();
        // The gate is released before the caller's mutex is taken again: others take that first.
        MutexGuard::unlocked(guard, move || self.inner.wait(&mut gate));
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        let mut gate = self.gate.lock();
        MutexGuard::unlocked(guard, move || self.inner.wait_for(&mut gate, timeout))
    }

    pub(crate) fn notify_one(&self) {
        drop(self.gate.lock());
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        drop(self.gate.lock());
        self.inner.notify_all();
    }
}

/// Writes cycles to files from now on, if the environment says where.
pub(crate) fn report_cycles() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let Some(mut path) = std::env::var_os(REPORTS) else { return };
        path.push(format!(".{}", std::process::id()));
        let mut seen = HashSet::new();
        tracing_mutex::util::set_cycle_handler(move |earlier| {
            let report = describe(&Backtrace::force_capture().to_string(), earlier);
            if seen.len() == MAX_REPORTS || !seen.insert(report.clone()) {
                return;
            }
            let file = OpenOptions::new().create(true).append(true).open(&path);
            if let Err(error) = file.and_then(|mut file| file.write_all(report.as_bytes())) {
                eprintln!("{}: {error}\n{report}", path.display());
            }
        });
    });
}

/// Describes a cycle: the stack of the lock that closes it, and those of the locks before it. Of
/// each stack only the functions of damo and of its tests.
fn describe(here: &str, earlier: &str) -> String {
    let mut text = "Locks are taken in a cycle. This lock closes it:\n".to_owned();
    add_stack(&mut text, here.lines());
    let mut lines = earlier.lines().peekable();
    let mut is_first = true;
    while let Some(line) = lines.next() {
        // Each stack begins with its frame 0.
        if !line.trim_start().starts_with("0: ") {
            continue;
        }
        let stack =
            std::iter::from_fn(|| lines.next_if(|line| !line.trim_start().starts_with("0: ")));
        text.push_str("  These were taken before, each while the one before it was held:\n");
        add_stack(&mut text, stack);
        is_first = false;
    }
    if is_first {
        text.push_str("  It is a lock that this thread holds already.\n");
    }
    text.push('\n');
    text
}

fn add_stack<'a>(text: &mut String, lines: impl Iterator<Item = &'a str>) {
    let mut function = "";
    for line in lines {
        // A frame is one line with its number and function, and one line with its place.
        let Some(place) = line.trim_start().strip_prefix("at ") else {
            function = line.split_once(": ").map_or(line, |(_, function)| function);
            continue;
        };
        let place = place.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(place);
        let place = place.trim_start_matches("./").trim_start_matches('/');
        let is_ours = place.starts_with("src/") || place.starts_with("tests/");
        if is_ours && !place.contains(file!()) {
            let _ = writeln!(text, "    {function} at {place}");
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

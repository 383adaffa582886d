//! Tests of traced locks. A test that closes a cycle runs in a process of its own: the graph
//! belongs to the process.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const RUNS_HERE: &str = "DAMO_LOCKS_TEST";

/// Runs a test of this file again in another process; returns what that reported.
fn reports_of(test: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("locks::traced::tests::{test}")])
        .env(RUNS_HERE, "yes")
        .env(REPORTS, folder.path().join("report"))
        .env("RUST_LIB_BACKTRACE", "1")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let files = fs::read_dir(folder.path()).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

fn runs_here() -> bool {
    std::env::var_os(RUNS_HERE).is_some()
}

#[inline(never)]
fn take(first: &Mutex<()>, second: &Mutex<()>) {
    let _first = first.lock();
    let _second = second.lock();
}

#[inline(never)]
fn take_turned(first: &Mutex<()>, second: &Mutex<()>) {
    let _second = second.lock();
    let _first = first.lock();
}

#[test]
fn an_order_turned_round_is_reported_once_with_both_stacks() {
    if !runs_here() {
        let reports = reports_of("an_order_turned_round_is_reported_once_with_both_stacks");
        assert_eq!(reports.matches("Locks are taken in a cycle").count(), 1, "{reports}");
        let (turned, before) = (reports.find("take_turned at "), reports.find("take at "));
        assert!(turned.is_some() && turned < before, "{reports}");
        return;
    }
    report_cycles();
    let (first, second) = (Mutex::new(()), Mutex::new(()));
    take(&first, &second);
    for _ in 0..3 {
        take_turned(&first, &second);
    }
}

#[test]
fn a_lock_that_is_read_twice_is_reported() {
    if !runs_here() {
        let reports = reports_of("a_lock_that_is_read_twice_is_reported");
        assert!(reports.contains("that this thread holds already"), "{reports}");
        return;
    }
    report_cycles();
    let lock = RwLock::new(());
    let _outer = lock.read();
    let _inner = lock.read();
}

#[test]
fn one_order_is_not_reported() {
    if !runs_here() {
        assert_eq!(reports_of("one_order_is_not_reported"), "");
        return;
    }
    report_cycles();
    let locks = [(); 3].map(|()| Mutex::new(()));
    take(&locks[0], &locks[1]);
    take(&locks[1], &locks[2]);
    take(&locks[0], &locks[2]);
}

#[test]
fn a_condvar_wakes_who_waits_and_gives_the_mutex_back() {
    let shared = Arc::new((Mutex::new(0u32), Condvar::new()));
    let waiting = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            for turn in 1..=1000 {
                let mut value = shared.0.lock();
                while *value < 2 * turn - 1 {
                    shared.1.wait(&mut value);
                }
                *value += 1;
                shared.1.notify_all();
            }
        })
    };
    for turn in 0..1000 {
        let mut value = shared.0.lock();
        while *value < 2 * turn {
            shared.1.wait(&mut value);
        }
        *value += 1;
        shared.1.notify_one();
    }
    waiting.join().unwrap();
    assert_eq!(*shared.0.lock(), 2000);
}

#[test]
fn a_wait_with_a_timeout_ends_and_releases_the_mutex_meanwhile() {
    let (mutex, condvar, was_free) = (Mutex::new(()), Condvar::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut guard = mutex.lock();
        scope.spawn(|| {
            let _guard = mutex.lock();
            was_free.store(true, Ordering::SeqCst);
        });
        let started = Instant::now();
        assert!(condvar.wait_for(&mut guard, Duration::from_millis(300)).timed_out());
        assert!(started.elapsed() >= Duration::from_millis(300));
        assert!(was_free.load(Ordering::SeqCst));
    });
}

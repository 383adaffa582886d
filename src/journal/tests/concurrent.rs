//! Threads that append at the same time, and readers of a journal that is being written.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;

use super::*;

/// The calls of one thread: sequence numbers and keys, as they were returned and given.
type Made = Vec<(u64, Vec<i64>)>;

/// Keys that tell the thread, the call, and how many there are: short calls, which are copied at
/// once, longer ones, and ones that are written.
fn keys(thread: i64, call: i64) -> Vec<i64> {
    let count = match (thread + call) % 8 {
        0 => 20_000,
        1 | 2 => 1_500,
        _ => 1 + call % 50,
    };
    (0..count).map(|at| thread << 40 | call << 20 | at).collect()
}

/// Has 8 threads make calls, and returns what they were told. Calls that fail are left out.
fn make(journal: &Journal, calls: i64) -> Made {
    let ready = Barrier::new(8);
    let work = |thread| {
        ready.wait();
        let mut made = Made::new();
        for call in 0..calls {
            let keys = keys(thread, call);
            if let Ok(seqno) = append(journal, &keys) {
                assert!(journal.last().get() >= seqno);
                made.push((seqno, keys));
            }
        }
        made
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..8).map(|at| scope.spawn(move || work(at))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// As [`make`], with something that is done again and again meanwhile.
fn make_beside(journal: &Journal, calls: i64, again: impl Fn() + Sync) -> Made {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            loop {
                again();
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
                thread::yield_now();
            }
        });
        let made = make(journal, calls);
        is_done.store(true, Ordering::SeqCst);
        beside.join().unwrap();
        made
    })
}

fn check(dir: &Path, mut made: Made, machine_stopped: bool) {
    made.sort();
    let mut calls = Calls::default();
    read_all(dir, Seqno::NONE, machine_stopped, &mut calls).unwrap();
    assert_eq!(calls.0.len(), made.len());
    assert!(made.iter().zip(1..).all(|((seqno, _), expected)| *seqno == expected), "gapless");
    assert!(calls.0 == made, "each call is whole, and under the number that it was told");
}

#[test]
fn calls_of_many_threads_are_gapless_and_whole() {
    for start in [start, |dir: &Path| Journal::start_written(dir, Seqno::NONE)] {
        let dir = tempfile::tempdir().unwrap();
        let journal = start(dir.path()).unwrap();
        let made = make_beside(&journal, 60, || assert!(journal.rotate().is_ok()));
        assert_eq!(made.len(), 480);
        assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
        check(dir.path(), made.clone(), false);
        check(dir.path(), made, true);
    }
}

/// Calls behind one that cannot be written fail, too, and others get their numbers.
#[test]
fn failures_leave_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let faults = &journal.shared.faults;
    let made = make_beside(&journal, 200, || {
        faults.unwritable.store(journal.last().get() + 2, Ordering::SeqCst);
    });
    if is_mapped(&paths(dir.path())[0]) {
        assert!(made.len() < 1600, "no call failed");
    }
    check(dir.path(), made.clone(), false);
    check(dir.path(), made, true);
}

#[test]
fn calls_go_on_while_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let deleted = AtomicU64::new(0);
    let mut made = make_beside(&journal, 100, || {
        let last = journal.rotate().unwrap();
        journal.drop_through(last).unwrap();
        deleted.store(last.get(), Ordering::SeqCst);
    });
    assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
    let deleted = deleted.into_inner();
    made.retain(|(seqno, _)| *seqno > deleted);
    made.sort();
    let mut left = Calls::default();
    read_all(dir.path(), Seqno::new(deleted), false, &mut left).unwrap();
    assert!(left.0 == made, "{} calls of {}", left.0.len(), made.len());
}

/// Whoever looks at a journal while it is written finds every call that had returned.
#[test]
fn a_reader_finds_each_call_that_has_returned() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    append(&journal, &keys(0, 1)).unwrap();
    let path = &paths(dir.path())[0];
    make_beside(&journal, 100, || {
        let (before, listed) = (journal.last(), content_len(path).unwrap());
        let mut calls = Calls::default();
        let last = read_links(dir.path(), Seqno::NONE, false, listed, &mut calls).unwrap();
        assert!(last >= before, "{last} of {before}");
        let is_whole =
            |(_, found): &(u64, Vec<i64>)| *found == keys(found[0] >> 40, found[0] >> 20 & 0xfffff);
        assert!(calls.0.iter().all(is_whole));
    });
}

/// The next segment begins by itself, behind a call that reaches beyond the mapping.
#[test]
fn a_segment_that_is_full_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let keys = vec![1i64; 1 << 20];
    let calls = SEGMENT_BYTES / (8 << 20) + 2;
    for call in 1..=calls {
        assert_eq!(append(&journal, &keys).unwrap(), call);
    }
    let mut found = Calls::default();
    read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap();
    assert!(found.0.len() as u64 == calls && found.0.iter().all(|(_, found)| *found == keys));
    assert_eq!(paths(dir.path()).len(), 2);
    assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
}

//! Spares: files of segments that are used again, and what keeps them from it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread;
use std::time::{Duration, Instant};

use super::super::entry::{END_AT, mapped_header};
use super::super::names::is_spare;
use super::super::spare::MAX_IDLE;
use super::*;

/// Keys of a call that is copied with the lock held; of one that is copied by several threads.
const FEW: usize = 100;
const MANY: usize = 40_000;

/// Threads that help: each takes some of the numbers.
struct Threads;

impl Helpers for Threads {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        thread::scope(|scope| {
            for helper in 0..3 {
                scope.spawn(move || (helper..count).step_by(3).for_each(work));
            }
        });
    }

    fn each_awaited(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.each(count, work);
    }
}

fn append_shared(journal: &Journal, keys: &[i64]) -> u64 {
    let config = journal.announce(3, b"{}".to_vec());
    let head = Head { kind: CallKind::Delete, group: 3, config, step: 1, time: 2, rate: 0.0 };
    let pieces: Vec<_> =
        keys.chunks(999).map(|keys| IoSlice::new(bytemuck::cast_slice(keys))).collect();
    let seqno = journal.append(&head, &Payload::shared(&pieces, &Threads)).unwrap();
    journal.prepare_if_low();
    seqno.get()
}

/// A journal whose only file is renewed, and what its calls were before; None where files are not
/// mapped. `meanwhile` has the file's path before it is renewed.
fn renewed(
    calls: u64,
    keys: usize,
    meanwhile: impl FnOnce(&Path),
) -> Option<(tempfile::TempDir, Journal, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let path = paths(dir.path()).remove(0);
    if !is_mapped(&path) {
        return None;
    }
    for call in 1..=calls {
        assert_eq!(append_shared(&journal, &vec![call as i64; keys]), call);
    }
    let through = journal.rotate().unwrap();
    let old = fs::read(&path).unwrap();
    meanwhile(&path);
    journal.drop_through(through).unwrap();
    // The one that takes the spare.
    assert_eq!(append_shared(&journal, &vec![calls as i64 + 1; keys]), calls + 1);
    let through = journal.rotate().unwrap();
    journal.drop_through(through).unwrap();
    Some((dir, journal, old))
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn spares(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().filter(|entry| is_spare(&entry.as_ref().unwrap().path())).count()
}

/// The calls after `through`, as a killed process and as a stopped machine leave them.
fn read_after(dir: &Path, through: u64) -> Vec<(u64, Vec<i64>)> {
    let [killed, stopped] = [false, true].map(|machine_stopped| {
        let mut calls = Calls::default();
        read_all(dir, Seqno::new(through), machine_stopped, &mut calls).unwrap();
        calls.0
    });
    assert_eq!(killed, stopped);
    killed
}

#[test]
fn a_file_is_used_again_and_its_old_calls_are_not_found() {
    for (calls, keys) in [(2000, FEW), (8, MANY)] {
        let mut old_inode = 0;
        let Some((dir, journal, old)) = renewed(calls, keys, |path| old_inode = inode(path)) else {
            return;
        };
        let path = paths(dir.path()).remove(0);
        assert_eq!(inode(&path), old_inode, "{keys} keys");
        assert!(fs::metadata(&path).unwrap().len() >= old.len() as u64);
        assert_eq!(read_after(dir.path(), calls + 1), []);
        // Old calls lie exactly where the next would.
        for call in calls + 2..calls + 5 {
            assert_eq!(append_shared(&journal, &vec![call as i64; keys]), call);
            let found = read_after(dir.path(), calls + 1);
            assert_eq!(found.len() as u64, call - calls - 1);
            assert!(found.iter().all(|(seqno, found)| *found == vec![*seqno as i64; keys]));
        }
        assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
        journal.end().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// The machine stopped before all pages of a renewed file had reached the disk.
#[test]
fn old_pages_between_new_ones_end_the_journal() {
    let Some((dir, journal, old)) = renewed(8, MANY, |_| {}) else { return };
    for call in 10..=14 {
        append_shared(&journal, &vec![call; MANY]);
    }
    let path = paths(dir.path()).remove(0);
    let new = fs::read(&path).unwrap();
    assert!(new.len() >= old.len());
    let content = content_len(&path).unwrap() as usize;
    for page in (0..content).step_by(4096) {
        let end = (page + 4096).min(content);
        let mut mixed = new.clone();
        mixed[page..end].copy_from_slice(&old[page..end]);
        fs::write(&path, &mixed).unwrap();
        let mut calls = Calls::default();
        read_all(dir.path(), Seqno::new(9), true, &mut calls).unwrap();
        let whole = calls.0.iter().zip(10..);
        assert!(
            whole
                .clone()
                .all(|((seqno, keys), call)| (*seqno, keys) == (call, &vec![call as i64; MANY]))
        );
        assert!(calls.0.len() <= page / (8 * MANY), "page at {page}: {} calls", calls.0.len());
    }
    // Only the header reached it, with any end.
    for end in [content, old.len()] {
        let mut mixed = old.clone();
        mixed[..MAPPED_HEADER_LEN].copy_from_slice(&mapped_header(Seqno::new(10)));
        let word = entry::end_word(end as u64, Seqno::new(10));
        mixed[END_AT..END_AT + 8].copy_from_slice(&word.to_le_bytes());
        fs::write(&path, &mixed).unwrap();
        let mut calls = Calls::default();
        read_all(dir.path(), Seqno::new(9), true, &mut calls).unwrap();
        assert!(calls.0.is_empty());
        let killed = read_all(dir.path(), Seqno::new(9), false, &mut calls).unwrap_err();
        assert_eq!(killed.status(), Status::Corruption);
    }
}

#[test]
fn a_file_that_somebody_has_is_not_used_again() {
    let mut held = None;
    let hold = |path: &Path| {
        let file = File::open(path).unwrap();
        assert!(hold(&file, path));
        held = Some((file, inode(path)));
    };
    let Some((dir, _journal, old)) = renewed(8, MANY, hold) else { return };
    let (file, held_inode) = held.unwrap();
    assert_ne!(inode(&paths(dir.path())[0]), held_inode);
    let mut bytes = vec![0; old.len()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == old, "what a reader holds stays as it is");

    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("link");
    let linked = |path: &Path| {
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::hard_link(path, &link).unwrap();
    };
    let (_dir, _journal, old) = renewed(8, MANY, linked).unwrap();
    assert!(fs::read(&link).unwrap() == old, "so does what has another name");
}

/// Between a reader's finding a file and holding it, the file may have become a spare, or another
/// segment.
#[test]
fn a_file_that_became_another_is_not_held() {
    let mut early = None;
    let open = |path: &Path| early = Some((File::open(path).unwrap(), path.to_owned()));
    let Some((dir, journal, _)) = renewed(8, MANY, open) else { return };
    let (file, path) = early.unwrap();
    assert!(!hold(&file, &path));
    let current = paths(dir.path()).remove(0);
    assert!(hold(&File::open(&current).unwrap(), &current));
    journal.end().unwrap();
}

#[test]
fn spares_are_deleted_when_space_is_wanted_and_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let closed = |journal: &Journal| {
        for _ in 0..8 {
            append_shared(journal, &[1; MANY]);
        }
        let through = journal.rotate().unwrap();
        journal.drop_through(through).unwrap();
        spares(dir.path())
    };
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    assert_eq!(closed(&journal), 1);
    journal.free_space();
    assert_eq!(spares(dir.path()), 0);
    assert_eq!(closed(&journal), 1);
    // As a killed process leaves it.
    std::mem::forget(journal);
    assert_eq!(paths(dir.path()).len(), 1, "no spare is listed");
    delete_all(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    for left in ["00000000000000000007.spare", "00000000000000000009.spare"] {
        fs::write(dir.path().join(left), "left").unwrap();
    }
    let journal = start(dir.path()).unwrap();
    assert_eq!(spares(dir.path()), 0);
    drop(journal);
    fs::write(dir.path().join("other.spare"), "").unwrap();
    assert!(segment::list(dir.path()).unwrap_err().message().contains("other.spare"));
}

#[test]
fn spares_are_deleted_when_a_call_finds_no_room() {
    let Some((dir, journal, _)) = renewed(8, MANY, |_| {}) else { return };
    let through = journal.rotate().unwrap();
    for _ in 0..8 {
        append_shared(&journal, &[1; MANY]);
    }
    let last = journal.rotate().unwrap();
    journal.drop_through(last).unwrap();
    assert!(last > through && spares(dir.path()) > 0);
    journal.shared.faults.disk.store(1 << 20, Ordering::SeqCst);
    assert_eq!(append(&journal, &[1; 2_000_000]).unwrap_err().status(), Status::Io);
    assert_eq!(spares(dir.path()), 0);
    journal.shared.faults.disk.store(u64::MAX, Ordering::SeqCst);
    append(&journal, &[1; 2_000_000]).unwrap();
}

/// The system may take the pages of room that nobody uses, and a store would wait for the disk.
#[test]
fn room_that_lasts_long_is_new_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let path = paths(dir.path()).remove(0);
    if !is_mapped(&path) {
        return;
    }
    for _ in 0..80 {
        append_shared(&journal, &[1; MANY]);
    }
    let through = journal.rotate().unwrap();
    journal.drop_through(through).unwrap();
    append_shared(&journal, &[1; MANY]);
    journal.rotate().unwrap();
    let call = append_shared(&journal, &[2; MANY]);
    let path = paths(dir.path()).pop().unwrap();
    let len = || fs::metadata(&path).unwrap().len();
    assert!(len() > 24 << 20, "it has the room of the first");
    {
        let mut state = journal.shared.state.lock();
        state.current.mapped.as_mut().unwrap().began -= MAX_IDLE;
    }
    journal.shared.work.notify_one();
    while len() > 20 << 20 {
        thread::yield_now();
    }
    for next in call + 1..call + 50 {
        assert_eq!(append_shared(&journal, &[next as i64; MANY]), next);
    }
    let found = read_after(dir.path(), call);
    assert_eq!(found.len(), 49);
    assert!(found.iter().all(|(seqno, found)| *found == [*seqno as i64; MANY]));
}

/// While there are no spares, the thread makes the next segment's file ahead.
#[test]
fn the_next_file_is_made_ahead() {
    for keys in [FEW * 30, MANY] {
        let dir = tempfile::tempdir().unwrap();
        let journal = start(dir.path()).unwrap();
        if !is_mapped(&paths(dir.path())[0]) {
            return;
        }
        let bytes = || fs::metadata(paths(dir.path()).pop().unwrap()).unwrap().len();
        let calls = SEGMENT_BYTES / (8 * keys as u64) + 2;
        for call in 1..=calls * 5 / 8 {
            // Keeps the segment young: a slow machine would else be taken for a slow journal.
            if let Some(mapped) = &mut journal.shared.state.lock().current.mapped {
                mapped.began = Instant::now();
            }
            assert_eq!(append_shared(&journal, &vec![call as i64; keys]), call);
        }
        let is_made = || journal.shared.state.lock().spares.has_whole();
        let began = Instant::now();
        while !is_made() && began.elapsed() < Duration::from_secs(60) {
            thread::yield_now();
        }
        if !is_made() {
            // The disk is nearly full.
            assert_eq!(spares(dir.path()), 0);
            continue;
        }
        assert!(bytes() < SEGMENT_BYTES);
        for call in calls * 5 / 8 + 1..=calls {
            assert_eq!(append_shared(&journal, &vec![call as i64; keys]), call);
        }
        assert_eq!((spares(dir.path()), paths(dir.path()).len()), (0, 2));
        assert!(bytes() > SEGMENT_BYTES, "it is the file that was made");
        let found = read_after(dir.path(), 0);
        let wanted = (1..=calls).map(|call| (call, vec![call as i64; keys]));
        assert!(found.into_iter().eq(wanted), "{keys} keys");
        journal.end().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// Rounds that fail close files and delete none. Their room must not fill the disk.
#[test]
fn room_is_cut_off_when_space_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    for call in 1..=3 {
        assert_eq!(append_shared(&journal, &[call; MANY]), call as u64);
        journal.rotate().unwrap();
    }
    let closed = paths(dir.path());
    let rooms = || {
        let room = |path| fs::metadata(path).unwrap().len() - content_len(path).unwrap();
        closed[..3].iter().map(|path| room(path)).collect::<Vec<u64>>()
    };
    assert!(rooms().iter().all(|room| *room > 0));
    journal.free_space();
    assert_eq!(rooms(), [0; 3]);
    assert_eq!(append_shared(&journal, &[4; MANY]), 4);
    let wanted: Vec<_> = (1..=4).map(|call| (call, vec![call as i64; MANY])).collect();
    assert!(read_after(dir.path(), 0) == wanted);
}

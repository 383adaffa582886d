//! Steps of several groups on a full disk, on one that cannot be written, and without an fsync: an
//! error, and no part of the step is read back; or, after a failed fsync, perhaps all of it.

use super::steps::{Found, STARTS, step, with_step};
use super::*;

/// Groups with a few keys, whose entry is copied at once; with many, which are copied or written.
const SMALL: [(u16, usize); 3] = [(1, 3), (4, 2), (9, 1)];
const LARGE: [(u16, usize); 4] = [(1, 20_000), (4, 30_000), (7, 1), (12, 9_000)];

/// All that is there is what was made, whether or not the machine stopped.
fn check(dir: &Path, expected: &Found) {
    for machine_stopped in [false, true] {
        let mut found = Found::default();
        read_all(dir, Seqno::NONE, machine_stopped, &mut found).unwrap();
        assert!(found.calls == expected.calls, "{} parts", found.calls.len());
    }
}

#[test]
fn a_full_disk_takes_no_part_of_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    let mut expected = Found::default();
    let faults = &journal.shared.faults;
    faults.disk.store(1 << 20, Ordering::SeqCst);
    let error = loop {
        if let Err(error) = step(&journal, &SMALL, &mut expected) {
            break error;
        }
    };
    assert_eq!(error.status(), Status::Io);
    assert!(expected.calls.len() > 1000);
    // One of groups that this file does not know yet.
    for groups in [&LARGE[..], &[(5, 1), (6, 1)]] {
        let (bytes, last) = (journal.bytes(), journal.last());
        assert!(step(&journal, groups, &mut Found::default()).is_err());
        assert_eq!((journal.bytes(), journal.last()), (bytes, last));
        check(dir.path(), &expected);
    }
    faults.disk.store(u64::MAX, Ordering::SeqCst);
    for groups in [&[(5, 1), (6, 1)][..], &LARGE, &SMALL] {
        step(&journal, groups, &mut expected).unwrap();
    }
    journal.rotate().unwrap();
    step(&journal, &SMALL, &mut expected).unwrap();
    check(dir.path(), &expected);
}

#[test]
fn a_step_that_cannot_be_written_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    let (mut expected, undone) = (Found::default(), Undone::default());
    for _ in 0..3 {
        let next = journal.last().get() + 1;
        journal.shared.faults.unwritable.store(next, Ordering::SeqCst);
        let (bytes, last) = (journal.bytes(), journal.last());
        let failed = with_step(&journal, &LARGE, &mut Found::default(), |head, payload| {
            let begun = journal.begin(head, payload, &undone)?;
            assert_eq!(begun.seqno().get(), next);
            let seqno = begun.seqno();
            journal.finish(begun, &undone).map(|()| seqno)
        });
        assert!(failed.unwrap_err().message().contains("no sector"));
        assert_eq!((journal.bytes(), journal.last()), (bytes, last));
        assert!(!journal.is_in_doubt());
        check(dir.path(), &expected);
        // The next step has the number and the place of the one that failed. It brings the
        // descriptions of the groups again.
        step(&journal, &SMALL, &mut expected).unwrap();
        assert_eq!(journal.last().get(), next);
        step(&journal, &LARGE, &mut expected).unwrap();
        check(dir.path(), &expected);
    }
    assert_eq!(undone.0.get(), 3);
}

/// A step and calls on single groups that begin together, and of which one fails: those behind it
/// fail, too, and each is undone once.
#[test]
fn steps_and_calls_that_begin_together_fail_together() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    let config = journal.announce(3, b"{\"group\":3}".to_vec());
    let (kind, group) = (CallKind::Gradients, 3);
    let single_head = Head { kind, group, config, step: 21, time: 2, rate: 1.0 };
    let (keys, floats) = ([7i64; 2_000], [0.5f32; 6_000]);
    let pieces =
        [IoSlice::new(bytemuck::cast_slice(&keys)), IoSlice::new(bytemuck::cast_slice(&floats))];
    let single = Payload::new(&pieces);
    let mut expected = Found::default();
    // Which of the three fails; None: all are made.
    for failing in [Some(0), Some(1), Some(2), None] {
        let first = journal.last().get() + 1;
        let failed = failing.map_or(u64::MAX, |failing| first + failing);
        journal.shared.faults.unwritable.store(failed, Ordering::SeqCst);
        let undone = [Undone::default(), Undone::default(), Undone::default()];
        let before = journal.begin(&single_head, &single, &undone[0]).unwrap();
        let mut made = Found::default();
        let outcome = with_step(&journal, &LARGE, &mut made, |head, payload| {
            let begun = journal.begin(head, payload, &undone[1])?;
            let behind = journal.begin(&single_head, &single, &undone[2])?;
            let seqno = begun.seqno();
            let outcomes = [
                journal.finish(before, &undone[0]),
                journal.finish(begun, &undone[1]),
                journal.finish(behind, &undone[2]),
            ];
            for (number, outcome) in outcomes.iter().enumerate() {
                let is_made = failing.is_none_or(|failing| (number as u64) < failing);
                assert_eq!(outcome.is_ok(), is_made, "call {number}, {failing:?} fails");
            }
            let [_, of_step, _] = outcomes;
            of_step.map(|()| seqno)
        });
        let call = |seqno| (seqno, 3, 21, 1.0, keys.to_vec(), floats.to_vec());
        let is_made = |number: u64| failing.is_none_or(|failing| number < failing);
        if is_made(0) {
            expected.calls.push(call(first));
        }
        assert_eq!(outcome.is_ok(), is_made(1));
        expected.calls.append(&mut made.calls);
        if is_made(2) {
            expected.calls.push(call(first + 2));
        }
        for (number, undone) in undone.iter().enumerate() {
            assert_eq!(undone.0.get() == 0, is_made(number as u64), "{failing:?}");
        }
        check(dir.path(), &expected);
    }
}

/// The entry of a step whose fsync fails may be on disk, and then it is whole. Nothing is appended
/// until all rows are on disk as rows.
#[test]
fn a_step_whose_fsync_fails_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let journal = STARTS[2](dir.path()).unwrap();
    assert!(journal.syncs());
    let mut expected = Found::default();
    step(&journal, &SMALL, &mut expected).unwrap();
    let faults = &journal.shared.faults;
    faults.unsyncable.store(true, Ordering::SeqCst);
    let (undone, mut failed) = (Undone::default(), Found::default());
    let outcome = with_step(&journal, &LARGE, &mut failed, |head, payload| {
        let begun = journal.begin(head, payload, &undone)?;
        let seqno = begun.seqno();
        let finished = journal.finish(begun, &undone);
        assert!(finished.unwrap_err().message().contains("no disk"));
        Ok(seqno)
    });
    outcome.unwrap();
    assert_eq!(undone.0.get(), 1);
    assert!(journal.is_in_doubt());
    assert!(step(&journal, &SMALL, &mut Found::default()).is_err());
    assert_eq!(undone.0.get(), 1);
    // What a kill would leave, and what a loss of power may leave: any beginning of the file.
    let path = paths(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let mut whole = Found::default();
    whole.calls = [&expected.calls[..], &failed.calls].concat();
    check(dir.path(), &whole);
    for len in (0..bytes.len()).step_by(997).filter(|len| *len > 2_000) {
        fs::write(&path, &bytes[..len]).unwrap();
        check(dir.path(), &expected);
    }
    fs::write(&path, &bytes).unwrap();
    // As a round does it once the rows are on disk.
    faults.unsyncable.store(false, Ordering::SeqCst);
    let last = journal.rotate().unwrap();
    journal.drop_through(last).unwrap();
    assert!(!journal.is_in_doubt());
    let mut later = Found::default();
    step(&journal, &LARGE, &mut later).unwrap();
    assert_eq!(journal.last(), Seqno::new(3));
    let mut found = Found::default();
    read_all(dir.path(), last, false, &mut found).unwrap();
    assert!(found.calls == later.calls);
}

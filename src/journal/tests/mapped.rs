//! Mapped segments: damage is told from room, and a call that had not returned from one that had.

use super::super::entry::{END_AT, end_word};
use super::*;

/// The segments of five calls; None where the temporary folder's file system maps no files.
fn mapped() -> Option<(tempfile::TempDir, Vec<PathBuf>)> {
    let (dir, paths) = five_calls(start);
    is_mapped(&paths[1]).then_some((dir, paths))
}

const FIRST_CALL: usize = MAPPED_HEADER_LEN + CONFIG_LEN;
/// The end of the second segment's content.
const END: usize = FIRST_CALL + 2 * CALL_LEN;

/// A segment that says that its content ends at `end`.
fn ending(bytes: &[u8], end: usize, first: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let word = end_word(end as u64, Seqno::new(first));
    bytes[END_AT..END_AT + 8].copy_from_slice(&word.to_le_bytes());
    bytes
}

#[test]
fn what_was_appended_is_read_back_and_room_is_no_content() {
    let Some((dir, paths)) = mapped() else { return };
    assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4, 5]);
    let closed = FIRST_CALL + 3 * CALL_LEN + ENTRY_HEADER_LEN;
    for (path, end) in paths.iter().zip([closed, END]) {
        let (content, file) = (content_len(path).unwrap(), fs::metadata(path).unwrap().len());
        assert!(content == end as u64 && file > content, "{content} of {file}");
    }
    assert_eq!(bytes_in(dir.path()).unwrap(), (closed + END) as u64);
    // Without its end, the closed file is as one that a killed process had not closed.
    let bytes = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], ending(&bytes, closed - ENTRY_HEADER_LEN, 1)).unwrap();
    assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_file_that_is_cut_off_within_its_content_is_damaged() {
    let Some((dir, paths)) = mapped() else { return };
    for (path, end, calls) in [(&paths[1], END, 2), (&paths[0], FIRST_CALL + 3 * CALL_LEN, 3)] {
        let bytes = fs::read(path).unwrap();
        let content = content_len(path).unwrap() as usize;
        for len in (0..content).rev().chain([content, bytes.len()]).step_by(7) {
            fs::write(path, &bytes[..len]).unwrap();
            let whole = (len.saturating_sub(FIRST_CALL) / CALL_LEN).min(calls);
            let stopped = read(dir.path(), true).unwrap();
            match len < content {
                true => refused(dir.path(), path),
                false => assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4, 5]),
            }
            // The second file follows if all calls of the first are there.
            let before = if path == &paths[1] { 3 } else { 0 };
            let after = if path == &paths[0] && len >= end { 2 } else { 0 };
            assert_eq!(stopped.len(), before + whole + after, "{len} bytes");
        }
        fs::write(path, &bytes).unwrap();
    }
}

/// A process that was killed while it created a file leaves it without its header, and the file
/// before it without its end.
#[test]
fn a_file_shorter_than_its_header_is_the_beginning_of_one_or_damage() {
    let Some((dir, paths)) = mapped() else { return };
    let bytes = fs::read(&paths[1]).unwrap();
    let empty = ending(&bytes[..MAPPED_HEADER_LEN], MAPPED_HEADER_LEN, 4);
    let before = fs::read(&paths[0]).unwrap();
    for len in 0..MAPPED_HEADER_LEN {
        fs::write(&paths[0], &before).unwrap();
        fs::write(&paths[1], &empty[..len]).unwrap();
        refused(dir.path(), &paths[1]);
        assert_eq!(read(dir.path(), true).unwrap(), [1, 2, 3], "{len} bytes");
        fs::write(&paths[0], ending(&before, FIRST_CALL + 3 * CALL_LEN, 1)).unwrap();
        assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3], "{len} bytes");
    }
}

#[test]
fn each_flipped_bit_of_the_content_is_damage_and_room_is_not_looked_at() {
    let Some((dir, paths)) = mapped() else { return };
    for (path, others) in [(&paths[1], 3), (&paths[0], 0)] {
        let bytes = fs::read(path).unwrap();
        let content = content_len(path).unwrap() as usize;
        for at in 0..content + 64.min(bytes.len() - content) {
            let bits = if at < MAPPED_HEADER_LEN { 0..8 } else { at % 8..at % 8 + 1 };
            for bit in bits {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                fs::write(path, &flipped).unwrap();
                match at < content {
                    true => refused(dir.path(), path),
                    false => assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4, 5]),
                }
                // The calls before are whole, and in order.
                let stopped = read(dir.path(), true).unwrap();
                let is_prefix = stopped.iter().eq([1, 2, 3, 4, 5][..stopped.len()].iter());
                assert!(
                    is_prefix && stopped.len() >= others,
                    "bit {bit} of byte {at}: {stopped:?}"
                );
            }
        }
        fs::write(path, &bytes).unwrap();
    }
}

#[test]
fn zeros_are_damage_unless_the_machine_stopped() {
    let Some((_dir, paths)) = mapped() else { return };
    let bytes = fs::read(&paths[1]).unwrap();
    let second = FIRST_CALL + CALL_LEN;
    let zeroed = [
        (0, bytes.len(), 3),
        (0, MAPPED_HEADER_LEN, 3),
        (END_AT, END_AT + 8, 5),
        (second, second + 64, 4),
        (second, bytes.len(), 4),
        (END - 512, END, 4),
        (second - 800, second, 3),
    ];
    refused_with_zeros(&paths[1], &zeroed);
}

/// A kill between the copy and the end word, and pages that a stopped machine wrote in any order.
#[test]
fn the_end_word_decides_after_a_kill_and_whole_entries_after_a_stop() {
    let Some((dir, paths)) = mapped() else { return };
    let bytes = fs::read(&paths[1]).unwrap();
    let second = FIRST_CALL + CALL_LEN;
    for (end, calls) in
        [(MAPPED_HEADER_LEN, 3), (FIRST_CALL, 3), (second, 4), (END, 5), (second + 8, 0), (80, 0)]
    {
        fs::write(&paths[1], ending(&bytes, end, 4)).unwrap();
        match calls {
            0 => refused(dir.path(), &paths[1]),
            calls => assert_eq!(read(dir.path(), false).unwrap().len(), calls, "end {end}"),
        }
        assert_eq!(read(dir.path(), true).unwrap(), [1, 2, 3, 4, 5], "end {end}");
    }
    // The end word of another file, one within the header, and one beyond the file.
    for other in [
        ending(&bytes, END, 5),
        ending(&bytes, MAPPED_HEADER_LEN - 1, 4),
        ending(&bytes, bytes.len() + 1, 4),
    ] {
        fs::write(&paths[1], other).unwrap();
        refused(dir.path(), &paths[1]);
        assert_eq!(read(dir.path(), true).unwrap(), [1, 2, 3, 4, 5]);
    }
    // What lies in the room follows no call.
    for left in [FIRST_CALL, FIRST_CALL - CONFIG_LEN] {
        let mut bytes = bytes.clone();
        bytes.copy_within(left..left + CALL_LEN, END);
        fs::write(&paths[1], bytes).unwrap();
        for machine_stopped in [false, true] {
            assert_eq!(read(dir.path(), machine_stopped).unwrap(), [1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn a_file_that_has_ended_since_its_link_was_made_may_be_the_last() {
    let Some((dir, paths)) = mapped() else { return };
    let bytes = content_len(&paths[0]).unwrap();
    fs::remove_file(&paths[1]).unwrap();
    let last = |listed| read_links(dir.path(), Seqno::NONE, false, listed, &mut Calls::default());
    assert_eq!(last(bytes - ENTRY_HEADER_LEN as u64).unwrap(), Seqno::new(3));
    let error = last(bytes).unwrap_err();
    assert!(error.message().contains("is missing"), "{error}");
}

#[test]
fn each_missing_file_is_noticed() {
    for missing in 0..2 {
        let Some((dir, paths)) = mapped() else { return };
        fs::remove_file(&paths[missing]).unwrap();
        refused(dir.path(), &paths[1]);
    }
}

#[test]
fn a_full_disk_is_an_error_of_the_calls_that_find_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let path = &paths(dir.path())[0];
    if !is_mapped(path) {
        return;
    }
    let faults = &journal.shared.faults;
    faults.disk.store(1 << 20, Ordering::SeqCst);
    let mut calls = 0;
    let error = loop {
        match append(&journal, &[calls + 1; 100]) {
            Ok(seqno) => calls = seqno as i64,
            Err(error) => break error,
        }
    };
    assert_eq!(error.status(), Status::Io);
    assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    // It was not given up before the room was used.
    let content = journal.bytes();
    assert!(content + CALL_LEN as u64 + 64 > 1 << 20, "{content} bytes");
    // A call that needs less room finds it, a larger one does not.
    assert!(append(&journal, &[0; 1_000_000]).is_err());
    assert_eq!(journal.last().get(), calls as u64);
    assert_eq!(read(dir.path(), false).unwrap().len(), calls as usize);
    faults.disk.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(append(&journal, &[calls + 1; 100]).unwrap(), calls as u64 + 1);
    assert_eq!(journal.rotate().unwrap().get(), calls as u64 + 1);
    assert_eq!(append(&journal, &[calls + 2; 100]).unwrap(), calls as u64 + 2);
    assert_eq!(read(dir.path(), false).unwrap().len(), calls as usize + 2);
}

/// A long call that cannot be written takes its bytes and its sequence number back.
#[test]
fn a_call_that_cannot_be_written_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    for failing in [1, 2] {
        journal.shared.faults.unwritable.store(failing, Ordering::SeqCst);
        let (bytes, last) = (journal.bytes(), journal.last());
        let error = append(&journal, &[7; 100_000]).unwrap_err();
        assert!(error.message().contains("no sector"), "{error}");
        assert_eq!((journal.bytes(), journal.last()), (bytes, last));
        assert!(!journal.is_in_doubt());
        // It is tried again, by another call.
        assert_eq!(append(&journal, &[failing as i64; 100]).unwrap(), failing);
    }
    for machine_stopped in [false, true] {
        assert_eq!(read(dir.path(), machine_stopped).unwrap(), [1, 2]);
    }
}

#[test]
fn a_failed_rotation_can_be_tried_again() {
    fails_to_rotate_and_tries_again(start);
}

#[test]
fn a_journal_starts_over_and_ends_without_files() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    append(&journal, &[1; 100]).unwrap();
    delete_all(dir.path()).unwrap();
    journal.restart(Seqno::new(9)).unwrap();
    assert_eq!(append(&journal, &[10; 100]).unwrap(), 10);
    let mut calls = Calls::default();
    assert_eq!(read_all(dir.path(), Seqno::new(9), false, &mut calls).unwrap(), Seqno::new(10));
    assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
    journal.end().unwrap();
    assert!(is_empty(dir.path()).unwrap() && paths(dir.path()).is_empty());
}

/// Calls that begin together and of which the first fails: each undoes what it did before anybody
/// gets its number. A call whose caller panics fails, too.
#[test]
fn calls_behind_one_that_fails_undo_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    if !is_mapped(&paths(dir.path())[0]) {
        return;
    }
    let config = journal.announce(3, b"{}".to_vec());
    let head = Head { kind: CallKind::Delete, group: 3, config, step: 1, time: 2, rate: 0.0 };
    let keys = [7i64; 10_000];
    let pieces = [IoSlice::new(bytemuck::cast_slice(&keys))];
    let payload = Payload::new(&pieces);
    let begin = || journal.begin(&head, &payload, &Complete).unwrap();
    for first_fails in [true, false] {
        journal.shared.faults.unwritable.store(u64::from(first_fails), Ordering::SeqCst);
        let (first, second) = (begin(), begin());
        assert_eq!((first.seqno().get(), second.seqno().get()), (1, 2));
        let undone = Undone::default();
        let finish = |call| journal.finish(call, &undone);
        match first_fails {
            true => assert!(finish(first).unwrap_err().message().contains("no sector")),
            false => drop(first),
        }
        // Until all have undone it, nothing else begins.
        assert_eq!(append(&journal, &[1; 100]).unwrap_err().status(), Status::Io);
        assert_eq!(finish(second).unwrap_err().status(), Status::Io);
        assert_eq!(undone.0.get(), if first_fails { 2 } else { 1 });
    }
    journal.shared.faults.unwritable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(append(&journal, &[1; 100]).unwrap(), 1);
    assert_eq!(read(dir.path(), false).unwrap(), [1]);
}

//! Segments whose entries are written: those with durability "power", of file systems that map no
//! files, and of earlier releases.

use super::*;

fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    five_calls(|dir| Journal::start_written(dir, Seqno::NONE))
}

#[test]
fn a_file_that_has_ended_since_its_link_was_made_may_be_the_last() {
    let (dir, paths) = written();
    let bytes = fs::metadata(&paths[0]).unwrap().len();
    fs::remove_file(&paths[1]).unwrap();
    let last = |listed| read_links(dir.path(), Seqno::NONE, false, listed, &mut Calls::default());
    // When the links were made the file had not been closed yet.
    assert_eq!(last(bytes - ENTRY_HEADER_LEN as u64).unwrap(), Seqno::new(3));
    let error = last(bytes).unwrap_err();
    assert!(error.message().contains("is missing"), "{error}");
}

#[test]
fn what_was_appended_is_read_back() {
    let (dir, paths) = written();
    assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4, 5]);
    let len = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    assert_eq!(len(&paths[0]), SEGMENT_HEADER_LEN + CONFIG_LEN + 3 * CALL_LEN + ENTRY_HEADER_LEN);
    assert_eq!(len(&paths[1]), SEGMENT_HEADER_LEN + CONFIG_LEN + 2 * CALL_LEN);
}

#[test]
fn the_last_file_may_end_anywhere_behind_its_header_and_no_other() {
    let (dir, paths) = written();
    let bytes = fs::read(&paths[1]).unwrap();
    for len in (SEGMENT_HEADER_LEN..bytes.len()).rev().step_by(37) {
        fs::write(&paths[1], &bytes[..len]).unwrap();
        let calls = len.saturating_sub(SEGMENT_HEADER_LEN + CONFIG_LEN) / CALL_LEN;
        assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3, 4][..3 + calls], "{len} bytes");
    }
    fs::write(&paths[1], &bytes).unwrap();
    let first = fs::read(&paths[0]).unwrap();
    for len in (0..first.len()).rev().step_by(41) {
        fs::write(&paths[0], &first[..len]).unwrap();
        assert!(read(dir.path(), false).is_err(), "{len} bytes");
        let calls = len.saturating_sub(SEGMENT_HEADER_LEN + CONFIG_LEN) / CALL_LEN;
        let expected: Vec<u64> = (1..=if calls == 3 { 5 } else { calls as u64 }).collect();
        assert_eq!(
            read(dir.path(), true).unwrap(),
            expected,
            "{len} bytes, and the machine stopped"
        );
    }
}

/// A process that was killed while it created a file leaves part of the file's header. The file
/// before it then does not say yet that another one follows.
#[test]
fn a_file_shorter_than_its_header_is_the_beginning_of_one_or_damage() {
    let (dir, paths) = written();
    let bytes = fs::read(&paths[1]).unwrap();
    let before = fs::read(&paths[0]).unwrap();
    let without_end = &before[..before.len() - ENTRY_HEADER_LEN];
    for len in 0..SEGMENT_HEADER_LEN {
        fs::write(&paths[0], &before).unwrap();
        fs::write(&paths[1], &bytes[..len]).unwrap();
        refused(dir.path(), &paths[1]);
        assert_eq!(
            read(dir.path(), true).unwrap(),
            [1, 2, 3],
            "{len} bytes, and the machine stopped"
        );
        fs::write(&paths[0], without_end).unwrap();
        assert_eq!(read(dir.path(), false).unwrap(), [1, 2, 3], "{len} bytes");
        fs::write(&paths[1], &b"MANIFEST-000017\n________"[..len]).unwrap();
        assert_eq!(read(dir.path(), false).is_err(), len > 0, "{len} bytes of another file");
        assert_eq!(
            read(dir.path(), true).unwrap(),
            [1, 2, 3],
            "{len} bytes, and the machine stopped"
        );
    }
}

#[test]
fn the_only_file_has_its_header() {
    let (dir, paths) = written();
    fs::remove_file(&paths[1]).unwrap();
    for len in 0..SEGMENT_HEADER_LEN {
        fs::File::options().write(true).open(&paths[0]).unwrap().set_len(len as u64).unwrap();
        refused(dir.path(), &paths[0]);
        assert_eq!(read(dir.path(), true).unwrap(), [0; 0], "{len} bytes, and the machine stopped");
    }
}

#[test]
fn zeros_are_damage_unless_the_machine_stopped() {
    let (_dir, paths) = written();
    let bytes = fs::read(&paths[1]).unwrap();
    let second = SEGMENT_HEADER_LEN + CONFIG_LEN + CALL_LEN;
    let zeroed = [
        (0, bytes.len(), 3),
        (0, 24, 3),
        (second, second + 64, 4),
        (second, bytes.len(), 4),
        (bytes.len() - 512, bytes.len(), 4),
        (second - 800, second, 3),
    ];
    refused_with_zeros(&paths[1], &zeroed);
}

#[test]
fn each_missing_file_is_noticed() {
    for missing in 0..2 {
        let (dir, paths) = written();
        fs::remove_file(&paths[missing]).unwrap();
        let named = if missing == 0 { &paths[1] } else { &paths[missing] };
        refused(dir.path(), named);
    }
}

#[test]
fn a_torn_entry_may_be_followed_by_a_file_without_calls() {
    let (dir, paths) = written();
    fs::remove_file(&paths[1]).unwrap();
    let bytes = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], &bytes[..SEGMENT_HEADER_LEN + CONFIG_LEN + 2 * CALL_LEN + 100]).unwrap();
    Segment::create(dir.path(), Seqno::new(3), false).unwrap();
    assert_eq!(read(dir.path(), false).unwrap(), [1, 2]);
}

#[test]
fn a_failed_rotation_can_be_tried_again() {
    fails_to_rotate_and_tries_again(|dir| Journal::start(dir, Seqno::NONE, true));
}

//! Calls of clients, and clients that are forgotten: whole or not there, in order.

use super::steps::{Found, STARTS, check_damage, once, step};
use super::*;

#[test]
fn a_call_of_a_client_that_is_cut_off_is_not_there_at_all() {
    check_damage(|journal, groups| {
        let token = Token { client: 7, sequence: u64::MAX };
        once(journal, token, groups, &mut Found::default()).unwrap();
    });
}

#[test]
fn tokens_and_forgotten_clients_come_back_in_order() {
    for start in STARTS {
        let dir = tempfile::tempdir().unwrap();
        let journal = start(dir.path()).unwrap();
        let token = |client, sequence| Token { client, sequence };
        let mut expected = Found::default();
        once(&journal, token(7, 0), &[(1, 2), (3, 0)], &mut expected).unwrap();
        once(&journal, token(u64::MAX, 5), &[(2, 30_000), (5, 1)], &mut expected).unwrap();
        step(&journal, &[(1, 1)], &mut expected).unwrap();
        forget(&journal, 7, &[1, 3], &mut expected);
        journal.rotate().unwrap();
        forget(&journal, 8, &[65535], &mut expected);
        once(&journal, token(7, 1), &[(3, 1)], &mut expected).unwrap();
        let mut found = Found::default();
        let last = read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap();
        assert_eq!(last, Seqno::new(6));
        assert!(found.calls == expected.calls);
        assert_eq!(found.clients, expected.clients);
        // What is on disk is not handed over.
        let mut found = Found::default();
        read_all(dir.path(), Seqno::new(4), false, &mut found).unwrap();
        assert_eq!(found.clients, [(65535, 8, None), (3, 7, Some(1))]);
    }
}

fn forget(journal: &Journal, client: u64, groups: &[u16], found: &mut Found) {
    let group = groups[0];
    let config = journal.announce(group, format!("{{\"group\":{group}}}").into_bytes());
    let head = Head { kind: CallKind::Forget, group, config, step: 0, time: 2, rate: 0.0 };
    let payload = encode_forget(client, groups).unwrap();
    journal.append(&head, &Payload::new(&[IoSlice::new(&payload)])).unwrap();
    found.clients.extend(groups.iter().map(|group| (*group, client, None)));
}

/// The bytes of such entries, as docs/formats.md has them.
#[test]
fn entries_of_clients_are_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::start_written(dir.path(), Seqno::NONE).unwrap();
    let token = Token { client: 0x0102, sequence: 0x0304 };
    once(&journal, token, &[(1, 1)], &mut Found::default()).unwrap();
    forget(&journal, 0x0102, &[1, 0x0506], &mut Found::default());
    let bytes = fs::read(&paths(dir.path())[0]).unwrap();
    let first = SEGMENT_HEADER_LEN + ENTRY_HEADER_LEN + b"{\"group\":1}".len();
    let entry = &bytes[first..];
    let u64_at = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    assert_eq!((entry[24], u64_at(8)), (10, 16 + 8 + 40 + 8 + 4));
    assert_eq!((u64_at(64), u64_at(72), u64_at(80)), (0x0102, 0x0304, 1));
    let entry = &entry[64 + 76..];
    let u64_at = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    assert_eq!((entry[24], u64_at(8), entry.len()), (11, 24, 64 + 24));
    assert_eq!([64, 72, 80].map(u64_at), [0x0102, 1, 0x0506]);
}

/// Payloads that do not fit, under right checksums.
#[test]
fn a_client_of_another_shape_is_refused() {
    for (kind, len, words) in [
        (CallKind::Once, 15, "a step of the wrong length"),
        (CallKind::Once, 23, "a step of the wrong length"),
        (CallKind::Forget, 7, "a forgotten client of the wrong length"),
        (CallKind::Forget, 12, "a forgotten client of the wrong length"),
        (CallKind::Forget, 16, "a forgotten client of the wrong length"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let journal = start(dir.path()).unwrap();
        let config = journal.announce(3, b"{\"group\":3}".to_vec());
        let head = Head { kind, group: 3, config, step: 0, time: 2, rate: 0.0 };
        let payload = vec![0xff; len];
        journal.append(&head, &Payload::new(&[IoSlice::new(&payload)])).unwrap();
        let error = read_all(dir.path(), Seqno::NONE, false, &mut Found::default()).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
}

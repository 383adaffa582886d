//! Steps of several groups: whole or not there, with the configurations of all their groups.

use super::*;

/// What is read back: each call's number, group, step and rate, its keys and floats.
#[derive(Default, Debug, PartialEq)]
pub(super) struct Found {
    configs: Vec<(u16, u32)>,
    pub(super) calls: Vec<Call>,
    /// The group, the client and its sequence; none where it was forgotten.
    pub(super) clients: Vec<(u16, u64, Option<u64>)>,
}

pub(super) type Call = (u64, u16, i64, f64, Vec<i64>, Vec<f32>);

impl Replay for Found {
    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        assert_eq!(description, format!("{{\"group\":{group}}}").as_bytes());
        self.configs.push((group, config));
        Ok(())
    }

    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        assert_eq!((head.kind, head.time), (CallKind::Gradients, 2));
        let Head { group, step, rate, .. } = *head;
        self.calls.push((seqno.get(), group, step, rate, keys.to_vec(), floats.to_vec()));
        Ok(())
    }

    /// Group g has g floats a key.
    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        assert!(self.configs.contains(&(head.group, head.config)));
        Ok(head.group.into())
    }

    fn segment(&mut self) {
        self.configs.clear();
    }

    fn once(&mut self, seqno: Seqno, group: u16, token: Token, time: u64) {
        let Token { client, sequence } = token;
        let call = self.calls.last().unwrap();
        assert_eq!((call.0, call.1, time), (seqno.get(), group, 2));
        self.clients.push((group, client, Some(sequence)));
    }

    fn forget(&mut self, _: Seqno, group: u16, client: u64) {
        self.clients.push((group, client, None));
    }
}

/// Appends a step of groups with so many keys each, and tells what is to be read back.
pub(super) fn step(journal: &Journal, groups: &[(u16, usize)], found: &mut Found) -> Result<()> {
    with_step(journal, groups, found, |head, payload| journal.append(head, payload))
}

/// As [`step`], of a client.
pub(super) fn once(
    journal: &Journal,
    token: Token,
    groups: &[(u16, usize)],
    found: &mut Found,
) -> Result<()> {
    let append = |head: &Head, payload: &Payload<'_>| journal.append(head, payload);
    with_token(journal, Some(token), groups, found, append)?;
    let groups = groups.iter().map(|(group, _)| (*group, token.client, Some(token.sequence)));
    found.clients.extend(groups);
    Ok(())
}

/// As [`step`], where `append` makes the call.
pub(super) fn with_step(
    journal: &Journal,
    groups: &[(u16, usize)],
    found: &mut Found,
    append: impl FnOnce(&Head, &Payload<'_>) -> Result<Seqno>,
) -> Result<()> {
    with_token(journal, None, groups, found, append)
}

fn with_token(
    journal: &Journal,
    token: Option<Token>,
    groups: &[(u16, usize)],
    found: &mut Found,
    append: impl FnOnce(&Head, &Payload<'_>) -> Result<Seqno>,
) -> Result<()> {
    let (mut sections, mut calls) = (Vec::new(), Vec::new());
    for &(group, count) in groups {
        let config = journal.announce(group, format!("{{\"group\":{group}}}").into_bytes());
        let keys: Vec<i64> = (0..count as i64).map(|at| i64::from(group) << 32 | at).collect();
        let floats: Vec<f32> =
            (0..count * usize::from(group)).map(|at| at as f32 + f32::from(group)).collect();
        let (step, rate) = (7 * i64::from(group), f64::from(group) / 3.0);
        let (of_keys, of_floats) = (keys.len() as u64, floats.len() as u64);
        sections.push(Section { group, config, step, rate, keys: of_keys, floats: of_floats });
        calls.push((group, step, rate, keys, floats));
    }
    let keys = calls.iter().map(|call| IoSlice::new(bytemuck::cast_slice(&call.3)));
    let floats = calls.iter().map(|call| IoSlice::new(bytemuck::cast_slice(&call.4)));
    let pieces: Vec<_> = keys.chain(floats).filter(|piece| !piece.is_empty()).collect();
    let (table, configs) = (
        encode_sections(token, &sections)?,
        sections.iter().map(|section| section.config).collect::<Vec<_>>(),
    );
    let payload = Payload::new(&pieces);
    let payload = payload.behind(&table, &configs);
    let kind = if token.is_some() { CallKind::Once } else { CallKind::Step };
    let head = Head { kind, group: 0, config: 0, step: 0, time: 2, rate: 0.0 };
    let seqno = append(&head, &payload)?.get();
    found.calls.extend(
        calls
            .into_iter()
            .map(|(group, step, rate, keys, floats)| (seqno, group, step, rate, keys, floats)),
    );
    Ok(())
}

pub(super) const STARTS: [fn(&Path) -> Result<Journal>; 3] = [
    start,
    |dir| Journal::start_written(dir, Seqno::NONE),
    |dir| Journal::start(dir, Seqno::NONE, true),
];

#[test]
fn steps_come_back_group_by_group_in_every_segment() {
    for start in STARTS {
        let dir = tempfile::tempdir().unwrap();
        let journal = start(dir.path()).unwrap();
        let mut expected = Found::default();
        step(&journal, &[(1, 2), (3, 1)], &mut expected).unwrap();
        // One without keys, one without any group, and ones of many pages.
        step(&journal, &[(2, 0), (3, 5)], &mut expected).unwrap();
        step(&journal, &[], &mut expected).unwrap();
        step(&journal, &[(1, 40_000), (5, 30_000), (65535, 1)], &mut expected).unwrap();
        journal.rotate().unwrap();
        step(&journal, &[(3, 1), (5, 700)], &mut expected).unwrap();
        let mut found = Found::default();
        let last = read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap();
        assert_eq!(last, Seqno::new(5));
        assert_eq!(found.configs.len(), 2, "those of the last segment");
        assert!(found.calls == expected.calls);
        assert_eq!(journal.bytes(), bytes_in(dir.path()).unwrap());
        // What is on disk is not handed over.
        let mut found = Found::default();
        read_all(dir.path(), Seqno::new(4), false, &mut found).unwrap();
        assert!(found.calls == expected.calls[expected.calls.len() - 2..]);
    }
}

#[test]
fn a_step_that_is_cut_off_is_not_there_at_all() {
    check_damage(|journal, groups| step(journal, groups, &mut Found::default()).unwrap());
}

/// Of the step that this appends, every byte is cut off and flipped in turn.
pub(super) fn check_damage(append: fn(&Journal, &[(u16, usize)])) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::start_written(dir.path(), Seqno::NONE).unwrap();
    let mut expected = Found::default();
    step(&journal, &[(1, 2), (3, 1)], &mut expected).unwrap();
    let path = paths(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap().len();
    append(&journal, &[(1, 1), (2, 2), (3, 3)]);
    let bytes = fs::read(&path).unwrap();
    for len in whole..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let mut found = Found::default();
        assert_eq!(read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap(), Seqno::new(1));
        assert!(found.calls == expected.calls, "{len} of {}", bytes.len());
        assert_eq!(found.clients, []);
    }
    // Every flipped byte is found, and nothing of the step is handed over.
    for at in whole..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        let mut found = Found::default();
        let error = read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap_err();
        assert_eq!(error.status(), Status::Corruption, "{error}");
        assert!(found.calls == expected.calls, "byte {at}");
        assert_eq!(found.clients, []);
    }
}

/// Sections that do not fit their groups, under right checksums.
#[test]
fn a_step_of_another_shape_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = start(dir.path()).unwrap();
    let config = journal.announce(3, b"{\"group\":3}".to_vec());
    let of = |keys, floats| Section { group: 3, config, step: 1, rate: 0.5, keys, floats };
    for (sections, floats) in [(vec![of(1, 3), of(1, 2)], 5), (vec![of(2, 5)], 5)] {
        let (keys, floats) = ([1i64, 2], vec![1f32; floats]);
        let pieces = [
            IoSlice::new(bytemuck::cast_slice(&keys)),
            IoSlice::new(bytemuck::cast_slice(&floats)),
        ];
        let (table, payload) = (encode_sections(None, &sections).unwrap(), Payload::new(&pieces));
        let configs = [config];
        let payload = payload.behind(&table, &configs);
        let head = Head { kind: CallKind::Step, group: 0, config: 0, step: 0, time: 2, rate: 0.0 };
        journal.append(&head, &payload).unwrap();
        let mut found = Found::default();
        let error = read_all(dir.path(), Seqno::NONE, false, &mut found).unwrap_err();
        assert!(error.message().contains("a step of the wrong length"), "{error}");
        assert_eq!(found.calls, []);
    }
}

//! The journal: reads a folder of files with any bytes, and reads calls that were written back.

use std::collections::HashMap;
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use crate::engine::group::GroupConfig;
use crate::error::{Error, Result};
use crate::journal::{
    CallKind, Head, Journal, MAPPED_HEADER_LEN, Payload, Replay, SEGMENT_HEADER_LEN, Section,
    Token, content_len, encode_sections, make_dir, read_all,
};
use crate::seqno::Seqno;

/// A call as bits, so that NaN equals itself.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    seqno: u64,
    kind: CallKind,
    group: u16,
    config: u32,
    step: i64,
    time: u64,
    rate: u64,
    keys: Vec<i64>,
    floats: Vec<u32>,
    /// The client that it is of.
    token: Option<Token>,
}

impl Call {
    fn new(seqno: u64, head: &Head, keys: &[i64], floats: &[f32]) -> Call {
        let Head { kind, group, config, step, time, rate } = *head;
        let floats = floats.iter().map(|float| float.to_bits()).collect();
        Call {
            seqno,
            kind,
            group,
            config,
            step,
            time,
            rate: rate.to_bits(),
            keys: keys.to_vec(),
            floats,
            token: None,
        }
    }

    fn payload_bytes(&self) -> usize {
        8 * self.keys.len() + 4 * self.floats.len()
    }
}

/// Collects the calls that are read; configurations are read as opening a storage reads them.
#[derive(Default)]
struct Collect {
    dims: HashMap<u32, usize>,
    calls: Vec<Call>,
}

impl Replay for Collect {
    fn segment(&mut self) {
        self.dims.clear();
    }

    fn config(&mut self, _: u16, config: u32, description: &[u8]) -> Result<()> {
        let description: GroupConfig = serde_json::from_slice(description)
            .map_err(|error| Error::corruption(error.to_string()))?;
        // No group is wider (limits::MAX_DIM); a replay takes the dim of a registered group.
        self.dims.insert(config, description.dim.min(1 << 18));
        Ok(())
    }

    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        self.dims.get(&head.config).copied().ok_or_else(|| Error::corruption("no configuration"))
    }

    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        self.calls.push(Call::new(seqno.get(), head, keys, floats));
        Ok(())
    }

    fn once(&mut self, seqno: Seqno, group: u16, token: Token, time: u64) {
        let call = self.calls.last_mut().unwrap();
        let found = (call.seqno, call.group, call.time, call.token);
        assert_eq!(found, (seqno.get(), group, time, None));
        call.token = Some(token);
    }
}

fn read(folder: &Path, through: u64, machine_stopped: bool) -> Result<(u64, Vec<Call>)> {
    let mut collect = Collect::default();
    let last = read_all(folder, Seqno::new(through), machine_stopped, &mut collect)?.get();
    let seqnos = || collect.calls.iter().map(|call| call.seqno);
    assert!(seqnos().all(|seqno| seqno > through), "a call is on disk already");
    // A training step is handed out as a call for each of its groups, which may be none.
    assert!(seqnos().is_sorted(), "calls have rising numbers");
    assert!(last >= through, "the last call is {last}, and {through} are on disk");
    assert!(seqnos().all(|seqno| seqno <= last), "the last call is {last}");
    Ok((last, collect.calls))
}

/// Reads a journal of any files: as after a kill and as after a loss of power, with no call's rows
/// on disk and with some calls' rows there.
pub fn read_journal(folder: &Path) {
    let bytes: u64 =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    for through in [0, 1, 300] {
        let killed = read(folder, through, false);
        let stopped = read(folder, through, true);
        if let Ok((_, calls)) = &killed {
            let payload: usize = calls.iter().map(Call::payload_bytes).sum();
            assert!(payload as u64 <= bytes, "{payload} bytes of calls came from {bytes}");
            // Whole calls read the same, whatever happened to the machine. Mapped segments may have
            // more of them behind their end.
            match stopped {
                Ok((_, more)) if has_mapped(folder) => assert!(more.starts_with(calls)),
                Err(_) if has_mapped(folder) => {}
                stopped => assert_eq!(killed, stopped, "through {through}"),
            }
        }
    }
}

/// Whether a file has room behind its content.
fn is_mapped(path: &Path) -> bool {
    fs::read(path).unwrap().get(8) == Some(&2)
}

fn has_mapped(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|file| is_mapped(&file.unwrap().path()))
}

const GROUPS: [(u16, usize); 2] = [(0, 1), (65535, 3)];

fn description(dim: usize) -> Vec<u8> {
    let named = r#"{"name":"zeros","params":{}}"#;
    let optimizer = r#"{"name":"sgd","params":{"gamma":0.5}}"#;
    format!(r#"{{"dim":{dim},"optimizer":{optimizer},"scheduler":null,"initializer":{named}}}"#)
        .into_bytes()
}

/// Writes the calls of a program, into mapped segments or others, and reads them back. Then cuts
/// the last file off at some byte and reads the whole calls before it.
pub fn write_journal(folder: &Path, program: &[u8]) {
    make_dir(folder).unwrap();
    let (cut, program) = program
        .split_first_chunk::<2>()
        .map_or((0, program), |(cut, rest)| (u16::from_le_bytes(*cut) as u64, rest));
    let written = Written::write(folder, program, cut & 1 == 1);
    written.check_whole(folder);
    written.check_cut(folder, cut);
}

/// The calls that were written to a journal.
#[derive(Default)]
struct Written {
    calls: Vec<Call>,
    /// For each call: its file, and the byte in it at which the call ends.
    ends: Vec<(usize, u64)>,
    /// The last file.
    file: usize,
    /// The bytes of all files before it.
    closed_bytes: u64,
    /// The bytes of a file's header.
    header: u64,
    is_mapped: bool,
}

impl Written {
    fn write(folder: &Path, program: &[u8], maps: bool) -> Written {
        let journal = match maps {
            true => Journal::start(folder, Seqno::NONE, false).unwrap(),
            false => Journal::start_written(folder, Seqno::NONE).unwrap(),
        };
        let is_mapped = has_mapped(folder);
        let header = if is_mapped { MAPPED_HEADER_LEN } else { SEGMENT_HEADER_LEN } as u64;
        let mut written = Written { is_mapped, header, ..Written::default() };
        for chunk in program.chunks(8).take(64) {
            if chunk[0] & 7 == 7 {
                written.rotate(&journal);
            } else {
                written.append(&journal, chunk);
            }
        }
        written
    }

    fn rotate(&mut self, journal: &Journal) {
        let before = journal.bytes();
        journal.rotate().unwrap();
        if journal.bytes() > before {
            // The closed file has got its last entry, and the next file begins.
            self.file += 1;
            self.closed_bytes = journal.bytes() - self.header;
        }
    }

    fn append(&mut self, journal: &Journal, chunk: &[u8]) {
        let op = chunk[0];
        let (group, dim) = GROUPS[usize::from(op >> 3 & 1)];
        let kind = [CallKind::Gradients, CallKind::Insert, CallKind::Delete, CallKind::SetStep]
            [usize::from(op >> 1 & 3)];
        let keys: Vec<i64> = if kind == CallKind::SetStep { Vec::new() } else { keys(chunk) };
        let count = if matches!(kind, CallKind::Gradients | CallKind::Insert) {
            keys.len() * dim
        } else {
            0
        };
        let floats: Vec<f32> =
            (0..count).map(|index| f32::from_bits(u32::from(op) << 23 ^ index as u32)).collect();
        let seqno = self.calls.len() as u64 + 1;
        let rate = f64::from(op) / 7.0;
        let config = journal.announce(group, description(dim));
        let head = Head { kind, group, config, step: -i64::from(op), time: seqno << 40, rate };
        let payload = [
            IoSlice::new(bytemuck::cast_slice(&keys)),
            IoSlice::new(bytemuck::cast_slice(&floats)),
        ];
        // Some gradients are those of a training step, and some of these of a client.
        let payload = Payload::new(&payload);
        let byte = chunk.get(1).copied().unwrap_or_default();
        let token = Token { client: u64::MAX - u64::from(byte), sequence: seqno };
        let token = (byte & 1 == 1).then_some(token);
        let is_step = kind == CallKind::Gradients && op & 1 == 1;
        let appended = match is_step {
            false => journal.append(&head, &payload),
            true => {
                let Head { group, config, step, rate, time, .. } = head;
                let (keys, floats) = (keys.len() as u64, floats.len() as u64);
                let section = Section { group, config, step, rate, keys, floats };
                let (table, configs) = (encode_sections(token, &[section]).unwrap(), [config]);
                let kind = if token.is_some() { CallKind::Once } else { CallKind::Step };
                let (group, config, step, rate) = (0, 0, 0, 0.0);
                let head = Head { kind, group, config, step, time, rate };
                journal.append(&head, &payload.behind(&table, &configs))
            }
        };
        assert_eq!(appended.unwrap().get(), seqno);
        journal.prepare_if_low();
        let call = Call::new(seqno, &head, &keys, &floats);
        self.calls.push(Call { token: token.filter(|_| is_step), ..call });
        self.ends.push((self.file, journal.bytes() - self.closed_bytes));
    }

    fn check_whole(&self, folder: &Path) {
        let last = self.calls.len() as u64;
        assert_eq!(read(folder, 0, false).unwrap(), (last, self.calls.clone()));
        let through = last / 2;
        assert_eq!(read(folder, through, false).unwrap().1, self.calls[through as usize..]);
    }

    fn check_cut(&self, folder: &Path, cut: u64) {
        let path = last_file(folder);
        let len = content_len(&path).unwrap();
        let cut = cut % (len + 1);
        fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let whole = self.ends.iter().filter(|(of, end)| *of < self.file || *end <= cut).count();
        // The first file, and a file that the one before leads to, have their header even after a
        // kill. A mapped file has all of its content.
        let is_killed = cut >= if self.is_mapped { len } else { self.header };
        if !is_killed {
            let refused = read(folder, 0, false).unwrap_err();
            assert!(refused.message().contains(&*path.to_string_lossy()), "{}", refused.message());
        }
        for machine_stopped in [false, true].into_iter().skip(usize::from(!is_killed)) {
            let (last, found) = read(folder, 0, machine_stopped).unwrap();
            let expected = (whole as u64, &self.calls[..whole]);
            assert_eq!((last, &found[..]), expected, "cut at {cut} of {len}");
        }
    }
}

fn keys(chunk: &[u8]) -> Vec<i64> {
    chunk
        .iter()
        .skip(1)
        .map(|byte| i64::from(*byte as i8).wrapping_mul(0x0123_4567_89ab_cdef))
        .collect()
}

fn last_file(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).max().unwrap()
}

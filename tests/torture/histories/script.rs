//! The acts of a history, drawn at random.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::groups::{FILTERED, WIDE, WIDE_KEYS, of, specs};
use crate::call::Call;

/// What a worker does with an open storage.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Reads or changes rows, or the step, of one group.
    Call(Call),
    Peek {
        group: u16,
        keys: Vec<i64>,
    },
    Prefetch {
        group: u16,
        keys: Vec<i64>,
    },
    InsertRecords {
        group: u16,
        keys: Vec<i64>,
        rows: Vec<f32>,
        counts: Vec<u64>,
    },
    /// The machine's clock says this from now on, milliseconds since 1970.
    Clock(u64),
    Flush,
    Compact,
    /// Into `out/checkpoint.N`.
    Checkpoint(u64),
    Load(u64),
    /// A copy of a checkpoint is opened as a storage.
    OpenCheckpoint(u64),
    DumpCounted,
    /// Into `out/table.N`.
    DumpTable(u64),
    /// Since `out/table.N`, with which it is merged.
    DumpIncrement(u64),
    /// Begins to iterate.
    Hold,
    /// Iterates to the end, wherever `Hold` began.
    Drain,
    /// The filter is attached to a group.
    Attach(u16),
    Detach(u16),
    Reopen,
    /// Everything is compared.
    Look,
    /// As another one sees it that opens the storage with `read_only`.
    LookReadOnly,
}

/// Later than any machine's clock, so that nothing happens by that before a test's is set.
pub const START_MS: u64 = 4_000_000_000_000;
/// By how much time moves where rows live for ever.
const NO_TTL_MS: u64 = 60_000;

/// What the acts of a session may refer to.
#[derive(Clone, Debug)]
pub struct Known {
    pub checkpoints: Vec<u64>,
    pub tables: Vec<u64>,
    /// The storage's time, about.
    pub now: u64,
    /// The first number for a new file.
    pub next: u64,
}

/// What the clock says next, forward, back, or the same.
pub fn clock(random: &mut ChaCha8Rng, now: u64, ttl_ms: u64) -> u64 {
    let ttl_ms = if ttl_ms == 0 { NO_TTL_MS } else { ttl_ms };
    match random.random_range(0..100) {
        0..35 => now + random.random_range(0..=ttl_ms / 4),
        35..50 => now + ttl_ms - 1 + random.random_range(0..3),
        50..65 => now + ttl_ms * random.random_range(1..4) + random.random_range(0..1000),
        65..90 => now - random.random_range(0..=2 * ttl_ms),
        90..95 => now,
        // Far back, and before every time that a row has.
        _ => [1, START_MS - random.random_range(1..1 << 40)][random.random_range(0..2)],
    }
}

pub fn session(random: &mut ChaCha8Rng, ttl_ms: u64, mut known: Known) -> Vec<Act> {
    let count = random.random_range(8..40);
    if random.random() {
        return (0..2 * count).map(|_| quiet(random, ttl_ms, &mut known)).collect();
    }
    (0..count).map(|_| act(random, ttl_ms, &mut known)).collect()
}

/// One that brings nothing to disk by itself, so that the journal grows.
fn quiet(random: &mut ChaCha8Rng, ttl_ms: u64, known: &mut Known) -> Act {
    match random.random_range(0..8) {
        0 => {
            let clock = clock(random, known.now, ttl_ms);
            known.now = known.now.max(clock);
            Act::Clock(clock)
        }
        _ => call(random),
    }
}

/// Rows expire and are merged away under an iterator, most of whose rows are not read yet.
pub fn held_open(random: &mut ChaCha8Rng, ttl_ms: u64, known: &mut Known) -> Vec<Act> {
    let keys: Vec<i64> = WIDE_KEYS.collect();
    let insert = |keys: &[i64]| {
        let weights = keys.iter().flat_map(|key| vec![*key as f32; of(WIDE).dim]).collect();
        Act::Call(Call::Insert { group: WIDE, keys: keys.to_vec(), weights })
    };
    let mut acts: Vec<Act> = keys.chunks(8).map(insert).collect();
    known.now += ttl_ms + random.random_range(0..1000);
    // Merging goes by the time of the latest call that is on disk, so there is one.
    let call = Act::Call(Call::Delete { group: 0, keys: vec![0] });
    acts.extend([Act::Compact, Act::Hold, Act::Clock(known.now), call]);
    acts.extend([Act::Compact, Act::Drain, Act::Look]);
    acts.push(Act::Call(Call::Delete { group: WIDE, keys }));
    acts
}

fn act(random: &mut ChaCha8Rng, ttl_ms: u64, known: &mut Known) -> Act {
    let call = call(random);
    match random.random_range(0..100) {
        0..15 => {
            let clock = clock(random, known.now, ttl_ms);
            known.now = known.now.max(clock);
            Act::Clock(clock)
        }
        15..20 => Act::Flush,
        20..23 => Act::Compact,
        23..25 => {
            known.next += 1;
            known.checkpoints.push(known.next);
            Act::Checkpoint(known.next)
        }
        25..28 => match known.checkpoints.choose(random) {
            Some(number) => {
                // Which dumps an increment may follow is stored with the rows.
                known.tables.clear();
                Act::Load(*number)
            }
            None => call,
        },
        28 => known.checkpoints.choose(random).map_or(call, |number| Act::OpenCheckpoint(*number)),
        29..31 => {
            known.next += 1;
            known.tables.push(known.next);
            Act::DumpTable(known.next)
        }
        31..34 => known.tables.choose(random).map_or(call, |number| Act::DumpIncrement(*number)),
        34 => Act::DumpCounted,
        35..37 => Act::Hold,
        37 => Act::Drain,
        38..40 => Act::Attach(FILTERED[random.random_range(0..2)]),
        40 => Act::Detach(FILTERED[random.random_range(0..2)]),
        41 => Act::Reopen,
        42..45 => Act::Look,
        45 => Act::LookReadOnly,
        _ => call,
    }
}

/// One that reads or changes rows, or the step, of one group.
fn call(random: &mut ChaCha8Rng) -> Act {
    let spec = &specs()[random.random_range(0..specs().len() - 1)];
    let group = spec.group;
    let count = if random.random_range(0..6) == 0 { 120 } else { random.random_range(1..16) };
    let keys: Vec<i64> = (0..count).map(|_| key(random)).collect();
    let mut floats = |width: usize| -> Vec<f32> {
        (0..count * width).map(|_| random.random_range(-64..=64) as f32 / 64.0).collect()
    };
    let (short, long) = (floats(spec.dim), floats(spec.row_len()));
    match random.random_range(0..41) {
        0..14 => Act::Call(Call::Apply { group, keys, gradients: short }),
        14..22 => Act::Call(Call::Lookup { group, keys }),
        22..25 => Act::Peek { group, keys },
        25 => Act::Prefetch { group, keys },
        26..29 => Act::Call(Call::Insert { group, keys, weights: short }),
        29..33 => {
            // Sums of squares are not negative.
            let rows = long.iter().map(|float| float.abs()).collect();
            let counts = (0..count).map(|_| random.random_range(0..1000)).collect();
            Act::InsertRecords { group, keys, rows, counts }
        }
        33..39 => Act::Call(Call::Delete { group, keys }),
        39 => Act::Call(Call::SetStep { group, step: random.random_range(0..1000) }),
        _ => Act::Call(Call::Clear { group }),
    }
}

/// Most keys are few, so that calls meet the same rows; the ends of the range are among them.
fn key(random: &mut ChaCha8Rng) -> i64 {
    match random.random_range(0..50) {
        0 => [i64::MIN, i64::MAX][random.random_range(0..2)],
        1..25 => random.random_range(-10..10),
        _ => random.random_range(-10..160),
    }
}

impl Act {
    pub fn name(&self) -> &'static str {
        match self {
            Act::Call(call) => call.name(),
            Act::Peek { .. } => "peek",
            Act::Prefetch { .. } => "prefetch",
            Act::InsertRecords { .. } => "insert_records",
            Act::Clock(_) => "a change of the clock",
            Act::Flush => "flush",
            Act::Compact => "compact",
            Act::Checkpoint(_) => "checkpoint",
            Act::Load(_) => "load_from_checkpoint",
            Act::OpenCheckpoint(_) => "opening a checkpoint",
            Act::DumpCounted => "dump counted",
            Act::DumpTable(_) => "dump table",
            Act::DumpIncrement(_) => "dump since",
            Act::Hold => "iterate",
            Act::Drain => "the rest of iterate",
            Act::Attach(_) => "set_filter",
            Act::Detach(_) => "set_filter to none",
            Act::Reopen => "reopen",
            Act::Look => "look",
            Act::LookReadOnly => "look with read_only",
        }
    }
}

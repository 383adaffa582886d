//! Operations, and the script of a seed: its n-th operation does not depend on those before it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::call::Call;
use crate::groups::{USUAL, specs};

/// What a worker can be told to do with an open storage.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Reads or changes rows, or the step, of one group.
    Call(Call),
    /// A training step: in each group one gradient for each of its keys.
    Step(Vec<Part>),
    /// Pins rows of a group, adds this to each of their floats, and commits them.
    Commit {
        group: u16,
        keys: Vec<i64>,
        change: f32,
    },
    NewGroup,
    Flush,
    Compact,
    /// Into `out/checkpoint.N`.
    Checkpoint(u64),
    /// From `out/checkpoint.N`.
    Load(u64),
    /// As the two above, with the filter in use by a group.
    CheckpointWithFilter(u64),
    LoadWithFilter(u64),
    /// Into `out/classic.N`.
    DumpClassic(u64),
    /// Into `out/table.N`.
    DumpTable(u64),
    /// Into `out/increment.N`, since the table of the second number.
    DumpIncrement(u64, u64),
    /// A file whose rows are a function of the number.
    Import(u64),
    FilterAdd(Vec<i64>),
    FilterSync,
    Close,
    Reopen,
}

/// What a training step has of one group. Its keys are distinct.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub group: u16,
    pub keys: Vec<i64>,
    pub gradients: Vec<f32>,
}

/// Keys of a group: few, so that calls meet the same rows.
pub const KEYS: std::ops::Range<i64> = -20..100;

pub fn random(seed: u64, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xbf58_476d_1ce4_e5b9),
    )
}

impl Op {
    /// One that changes rows, or the step, of one group.
    pub fn call(random: &mut ChaCha8Rng) -> Op {
        let spec = &specs()[random.random_range(0..USUAL)];
        let group = spec.group;
        let count = random.random_range(1..24);
        let keys: Vec<i64> = (0..count).map(|_| random.random_range(KEYS)).collect();
        let floats =
            (0..count * spec.dim).map(|_| random.random_range(-64..=64) as f32 / 64.0).collect();
        Op::Call(match random.random_range(0..20) {
            0..12 => Call::Apply { group, keys, gradients: floats },
            12..15 => Call::Lookup { group, keys },
            15..17 => Call::Insert { group, keys, weights: floats },
            17..19 => Call::Delete { group, keys },
            _ => Call::SetStep { group, step: random.random_range(0..1000) },
        })
    }

    /// A training step of all usual groups, or some of them.
    pub fn step(random: &mut ChaCha8Rng) -> Op {
        let mut parts = Vec::new();
        for spec in &specs()[..USUAL] {
            if random.random_range(0..4) == 0 {
                continue;
            }
            let mut keys: Vec<i64> =
                (0..random.random_range(0..24)).map(|_| random.random_range(KEYS)).collect();
            keys.sort_unstable();
            keys.dedup();
            let float = |_| random.random_range(-64..=64) as f32 / 64.0;
            let gradients = (0..keys.len() * spec.dim).map(float).collect();
            parts.push(Part { group: spec.group, keys, gradients });
        }
        Op::Step(parts)
    }

    /// A commit of pinned rows.
    pub fn commit(random: &mut ChaCha8Rng) -> Op {
        let group = specs()[random.random_range(0..USUAL)].group;
        let keys = (0..random.random_range(1..24)).map(|_| random.random_range(KEYS)).collect();
        Op::Commit { group, keys, change: random.random_range(1..64) as f32 / 64.0 }
    }

    /// Any operation. `checkpoint` and `table` are the numbers of the latest ones.
    pub fn any(
        random: &mut ChaCha8Rng,
        index: u64,
        checkpoint: Option<u64>,
        table: Option<u64>,
    ) -> Op {
        let call = Op::call(random);
        let cleared = specs()[random.random_range(0..USUAL)].group;
        let keys = (0..random.random_range(1..9)).map(|_| random.random_range(KEYS)).collect();
        match random.random_range(0..100) {
            0..8 => Op::Flush,
            8..10 => Op::Compact,
            10..13 => Op::Checkpoint(index),
            13..16 => checkpoint.map_or(call, Op::Load),
            16..18 => Op::DumpClassic(index),
            18..20 => Op::DumpTable(index),
            20..22 => table.map_or(call, |table| Op::DumpIncrement(index, table)),
            22..24 => Op::Import(index),
            24..28 => Op::FilterAdd(keys),
            28 => Op::FilterSync,
            29 => Op::NewGroup,
            30..32 => Op::Reopen,
            32 => Op::Call(Call::Clear { group: cleared }),
            33..41 => Op::step(random),
            41..45 => Op::commit(random),
            _ => call,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Op::Call(call) => call.name(),
            Op::Step(_) => "step",
            Op::Commit { .. } => "commit",
            Op::NewGroup => "embedding_new",
            Op::Flush => "flush",
            Op::Compact => "compact",
            Op::Checkpoint(_) => "checkpoint",
            Op::Load(_) => "load_from_checkpoint",
            Op::CheckpointWithFilter(_) => "checkpoint with a filter",
            Op::LoadWithFilter(_) => "load_from_checkpoint with a filter",
            Op::DumpClassic(_) => "dump_classic",
            Op::DumpTable(_) => "dump_table",
            Op::DumpIncrement(..) => "dump_increment",
            Op::Import(_) => "import",
            Op::FilterAdd(_) => "filter_add",
            Op::FilterSync => "filter_sync",
            Op::Close => "close",
            Op::Reopen => "reopen",
        }
    }
}

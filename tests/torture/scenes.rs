//! Scenes: a storage to start from, calls to warm up, and the operation that is attacked.

use crate::call::Call;
use crate::control::Board;
use crate::engine::{Engine, Opening, Places};
use crate::groups::{Spec, USUAL, specs};
use crate::script::{Op, Part, random};
use crate::stage::Start;
use crate::timeline::Timeline;

/// What is attacked.
#[derive(Clone, Debug)]
pub enum Target {
    /// Opening the storage and its usual groups.
    Open,
    Op(Op),
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub start: Start,
    /// Calls between opening and the target.
    pub before: Vec<Op>,
    pub target: Target,
}

/// The number of what a scene writes beside the storage.
pub const NEW: u64 = 9;

pub fn scenes() -> Vec<Scene> {
    let mut random = random(7, 7);
    let calls: Vec<Op> = (0..6).map(|_| Op::call(&mut random)).collect();
    let keys: Vec<i64> = vec![-19, 3, 90, 91, 3];
    // A clear that the disk does not have yet, and rows that came after it.
    let clear = Op::Call(Call::Clear { group: 7 });
    let later = Call::Apply { group: 7, gradients: vec![0.25; keys.len() * 3], keys: keys.clone() };
    let cleared = [&calls[..], &[clear, Op::Call(later)]].concat();
    let op = |name, op| Scene {
        name,
        start: Start::Closed,
        before: calls.clone(),
        target: Target::Op(op),
    };
    let after_clear = |name, target| Scene { before: cleared.clone(), ..op(name, target) };
    let call = |name, call| op(name, Op::Call(call));
    let open = |name, start| Scene { name, start, before: Vec::new(), target: Target::Open };
    vec![
        open("first_open", Start::Nothing),
        open("open", Start::Closed),
        open("open_killed", Start::Killed),
        op("embedding_new", Op::NewGroup),
        call("lookup", Call::Lookup { group: 7, keys: keys.clone() }),
        call(
            "apply",
            Call::Apply { group: 7, gradients: vec![0.5; keys.len() * 3], keys: keys.clone() },
        ),
        call(
            "insert",
            Call::Insert { group: 0, weights: vec![0.25; keys.len() * 4], keys: keys.clone() },
        ),
        call("delete", Call::Delete { group: 0, keys: keys.clone() }),
        call("clear", Call::Clear { group: 7 }),
        call("set_step", Call::SetStep { group: 300, step: 77 }),
        op("step", step()),
        op("commit", Op::Commit { group: 7, keys, change: 0.5 }),
        op("flush", Op::Flush),
        op("compact", Op::Compact),
        op("checkpoint", Op::Checkpoint(NEW)),
        op("load", Op::Load(1)),
        op("checkpoint_filter", Op::CheckpointWithFilter(NEW)),
        op("load_filter", Op::LoadWithFilter(2)),
        op("dump_classic", Op::DumpClassic(NEW)),
        op("dump_table", Op::DumpTable(NEW)),
        op("dump_increment", Op::DumpIncrement(NEW, 1)),
        op("import", Op::Import(NEW)),
        op("filter_add", Op::FilterAdd(vec![1, 50, 51, 50, 51, 50])),
        op("filter_sync", Op::FilterSync),
        op("close", Op::Close),
        op("reopen", Op::Reopen),
        after_clear("flush_cleared", Op::Flush),
        after_clear("compact_cleared", Op::Compact),
        after_clear("checkpoint_cleared", Op::Checkpoint(NEW)),
        after_clear("load_cleared", Op::Load(1)),
        after_clear("close_cleared", Op::Close),
        after_clear("reopen_cleared", Op::Reopen),
    ]
}

/// A training step of all usual groups, of rows that exist and new ones.
fn step() -> Op {
    let part = |spec: &Spec| {
        let keys = vec![-19, 3, 90, 91];
        Part { group: spec.group, gradients: vec![0.5; keys.len() * spec.dim], keys }
    };
    Op::Step(specs()[..USUAL].iter().map(part).collect())
}

/// The scene of this name.
pub fn find(name: &str) -> Scene {
    scenes()
        .into_iter()
        .find(|known| known.name == name)
        .unwrap_or_else(|| panic!("no scene '{name}'"))
}

impl Scene {
    /// The worker's operations, the attacked one last. Opening comes before them and is not among
    /// them.
    pub fn ops(&self) -> Vec<Op> {
        let mut ops = self.before.clone();
        if let Target::Op(op) = &self.target {
            ops.push(op.clone());
        }
        ops
    }

    /// In the worker: makes everything up to the target. The target is made between `begin` and
    /// `end`, and only there are faults. The board's step 0 is opening, the others are those of
    /// `ops`. Returns what the target did.
    pub fn play(
        &self,
        places: &Places,
        opening: Opening,
        board: &Board,
        begin: &dyn Fn(),
        end: &dyn Fn(),
    ) -> (Option<Engine>, damo::error::Result<()>) {
        let ops = self.ops();
        board.start(0);
        if let Target::Open = self.target {
            begin();
            let opened = Engine::open(places, opening);
            end();
            return match opened {
                Ok(engine) => {
                    board.acknowledge(0);
                    (Some(engine), Ok(()))
                }
                Err(error) => (None, Err(error)),
            };
        }
        let mut engine =
            Engine::open(places, opening).unwrap_or_else(|error| panic!("opening: {error:?}"));
        board.acknowledge(0);
        for (index, op) in ops.iter().enumerate() {
            let is_target = index + 1 == ops.len();
            board.start(index + 1);
            if is_target {
                begin();
            }
            let outcome = engine.make(op);
            if is_target {
                end();
                if outcome.is_ok() {
                    board.acknowledge(index + 1);
                }
                return (Some(engine), outcome);
            }
            outcome.unwrap_or_else(|error| panic!("{}: {error:?}", op.name()));
            board.acknowledge(index + 1);
        }
        unreachable!("the last operation is the target")
    }

    /// Brings the timeline to where the board says that the worker was. Returns the operation that
    /// was under way.
    pub fn account(&self, timeline: &mut Timeline, board: &Board, places: &Places) -> Option<Op> {
        account(&self.ops(), timeline, board, places)
    }
}

/// As [`Scene::account`], for any list of operations.
pub fn account(ops: &[Op], timeline: &mut Timeline, board: &Board, places: &Places) -> Option<Op> {
    ops[..board.acknowledged().saturating_sub(1)].iter().for_each(|op| timeline.acknowledge(op));
    let under_way = board.under_way().filter(|step| *step > 0).map(|step| ops[step - 1].clone());
    note_files(timeline, under_way.as_ref(), places);
    under_way
}

/// Adds the file that the operation under way was writing to the timeline, if it is there: then it
/// is whole.
pub fn note_files(timeline: &mut Timeline, under_way: Option<&Op>, places: &Places) {
    let now = timeline.now().clone();
    match under_way {
        Some(Op::Checkpoint(number) | Op::CheckpointWithFilter(number))
            if places.out("checkpoint", *number).exists() =>
        {
            timeline.checkpoints.insert(*number, now);
        }
        Some(Op::DumpClassic(number)) if places.out("classic", *number).exists() => {
            timeline.classics.insert(*number, now);
        }
        Some(Op::DumpTable(number)) if places.out("table", *number).exists() => {
            timeline.tables.insert(*number, now);
        }
        Some(Op::DumpIncrement(number, base)) if places.out("increment", *number).exists() => {
            timeline.increments.insert(*number, (*base, now));
        }
        _ => {}
    }
}

//! Sessions of random operations, which something stops.

use crate::call::Call;
use crate::control::Board;
use crate::engine::{Engine, Opening, Places};
use crate::script::{Op, random};
use crate::timeline::Timeline;

/// The operations of a session whose first has this number.
pub fn session_ops(seed: u64, first: u64, timeline: &Timeline) -> Vec<Op> {
    let (mut checkpoint, mut table) = (timeline.checkpoint(), timeline.table());
    let mut ops = Vec::new();
    for index in first..first + 80 {
        let op = Op::any(&mut random(seed, index), index, checkpoint, table);
        match op {
            Op::Checkpoint(number) => checkpoint = Some(number),
            Op::DumpTable(number) => table = Some(number),
            // Which dumps an increment may follow is stored with the rows. None may follow one from
            // before a clear.
            Op::Load(_) | Op::Call(Call::Clear { .. }) => table = None,
            _ => {}
        }
        ops.push(op);
    }
    ops
}

/// In a worker: opens the storage and makes all operations, telling the board.
pub fn work(ops: &[Op], places: &Places, opening: Opening, board: &Board) -> Engine {
    board.start(0);
    let mut engine =
        Engine::open(places, opening).unwrap_or_else(|error| panic!("opening: {error:?}"));
    board.acknowledge(0);
    for (index, op) in ops.iter().enumerate() {
        board.start(index + 1);
        engine.make(op).unwrap_or_else(|error| panic!("{}: {error:?}", op.name()));
        board.acknowledge(index + 1);
    }
    engine
}

/// Between sessions: removes the filter, and forgets what is beside the storage and is not needed
/// any more, since looking at it takes time.
pub fn forget_old(timeline: &mut Timeline, places: &Places) {
    let _ = std::fs::remove_file(places.filter());
    timeline.counts.clear();
    timeline.synced.clear();
    timeline.classics.clear();
    timeline.increments.clear();
    timeline.tables.clear();
    while timeline.checkpoints.len() > 2 {
        timeline.checkpoints.pop_first();
    }
}

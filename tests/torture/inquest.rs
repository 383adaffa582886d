//! After a fault that did not end the process: what the worker does once the fault is over, and
//! whether that, and what is stored afterwards, is right.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::engine::{Engine, Opening, Places};
use crate::examine::Refusal;
use crate::judge::{judge, judge_files};
use crate::model::Model;
use crate::scenes::{Scene, Target, note_files};
use crate::script::Op;
use crate::stage::after_kill;
use crate::tally::{LOST, STUCK, Verdict, WRONG};
use crate::timeline::{Promise, Timeline, World, find_world};

/// The effects of a fault may last this long after it is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a worker saw.
#[derive(Serialize, Deserialize)]
pub struct Report {
    /// What the operation said.
    pub outcome: Result<(), Refusal>,
    /// All rows right after it; None after closing.
    seen: Option<Result<Model, Refusal>>,
    /// A call, and then a flush, once the fault was over.
    call: Result<(), Refusal>,
    flush: Result<(), Refusal>,
}

/// In the worker, once the fault is over.
pub fn go_on(
    scene: &Scene,
    places: &Places,
    opening: Opening,
    engine: Option<Engine>,
    outcome: Result<(), Refusal>,
) -> Report {
    if matches!(scene.target, Target::Op(Op::Close)) {
        return Report { outcome, seen: None, call: Ok(()), flush: Ok(()) };
    }
    // What could not be opened is opened again, in the same process.
    let engine = match engine.filter(|engine| engine.storage().is_ok()) {
        Some(engine) => Ok(engine),
        None => {
            Engine::open(places, opening).map_err(|error| Refusal::new("opening again", &error))
        }
    };
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(refusal) => {
            return Report {
                outcome,
                seen: Some(Err(refusal.clone())),
                call: Err(refusal.clone()),
                flush: Err(refusal),
            };
        }
    };
    let seen = match engine.look() {
        // Then the database had to be closed; in all other cases what was stored stays readable.
        Err(error) if error.message().contains("this is tried every second") => {
            patiently(|| engine.look(), "record after it")
        }
        seen => seen.map_err(|error| Refusal::new("record after it", &error)),
    };
    let seen = Some(seen);
    let call = patiently(|| engine.make(&next_call()), "a call after it");
    let flush = patiently(|| engine.make(&Op::Flush), "flush after it");
    Report { outcome, seen, call, flush }
}

fn next_call() -> Op {
    Op::Call(Call::Apply { group: 0, keys: vec![5, 6, 95], gradients: vec![0.25; 12] })
}

fn patiently<T>(
    mut make: impl FnMut() -> damo::error::Result<T>,
    step: &str,
) -> Result<T, Refusal> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match make() {
            Ok(made) => return Ok(made),
            Err(error) if Instant::now() > deadline || says_open_again(error.message()) => {
                return Err(Refusal::new(step, &error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The message of a failed fsync of the journal. With durability "power" the storage then refuses
/// writes until everything is on disk as rows, which it does unasked.
fn leaves_in_doubt(message: &str) -> bool {
    message.contains("cannot be synced")
}

fn says_open_again(message: &str) -> bool {
    ["opening it again", "open it again"].iter().any(|words| message.contains(words))
}

/// Compares what a worker saw, and what it left, with what it should have.
pub struct Inquest<'a> {
    scene: &'a Scene,
    places: &'a Places,
    opening: Opening,
    /// What is promised of that which was there before the target.
    promise: Promise,
    /// A failed fsync of the journal: the call may be there, whole.
    is_in_doubt: bool,
}

impl<'a> Inquest<'a> {
    pub fn new(
        scene: &'a Scene,
        places: &'a Places,
        opening: Opening,
        promise: Promise,
        report: &Report,
    ) -> Inquest<'a> {
        let is_in_doubt = opening.durability == "power"
            && matches!(&report.outcome, Err(refusal) if leaves_in_doubt(&refusal.message));
        Inquest { scene, places, opening, promise, is_in_doubt }
    }

    pub fn hold(&self, mut timeline: Timeline, report: &Report) -> Result<(), Verdict> {
        let mut ops = self.scene.ops();
        let target = if let Target::Op(_) = self.scene.target { ops.pop() } else { None };
        ops.iter().for_each(|op| timeline.acknowledge(op));
        let (worlds, under_way) = self.expect(&mut timeline, target.as_ref(), &report.outcome)?;
        let Some(seen) = &report.seen else {
            let promise = after_kill(self.opening.durability);
            judge(self.places, self.opening, &timeline, promise, None)?;
            return judge_files(self.places, self.opening, &timeline, None);
        };
        let needs_opening =
            matches!(&report.outcome, Err(refusal) if says_open_again(&refusal.message));
        let doubt = under_way.as_ref().filter(|_| self.is_in_doubt || needs_opening);
        match seen {
            Ok(seen) => {
                find_world(&worlds, seen).map_err(|why| {
                    Verdict::Broken(LOST, self.with_outcome(&format!("in memory: {why}"), report))
                })?;
                if doubt.is_none() {
                    timeline.go_on_from(seen.clone());
                }
            }
            Err(refusal) if says_open_again(&refusal.message) => {}
            Err(refusal) => {
                return Err(Verdict::Broken(
                    STUCK,
                    self.with_outcome(&refusal.to_string(), report),
                ));
            }
        }
        for (op, done) in [(next_call(), &report.call), (Op::Flush, &report.flush)] {
            match done {
                Ok(()) => timeline.acknowledge(&op),
                Err(refusal) if doubt.is_some() && says_open_again(&refusal.message) => {}
                Err(refusal) => {
                    return Err(Verdict::Broken(
                        STUCK,
                        self.with_outcome(&refusal.to_string(), report),
                    ));
                }
            }
        }
        let promise =
            if doubt.is_some() { after_kill(self.opening.durability) } else { Promise::All };
        judge(self.places, self.opening, &timeline, promise, doubt)
            .map_err(|verdict| self.verdict_with_outcome(verdict, report))?;
        judge_files(self.places, self.opening, &timeline, under_way.as_ref())
    }

    /// What may be in memory now, and the operation if it failed. If it did not, the timeline has
    /// it.
    fn expect(
        &self,
        timeline: &mut Timeline,
        target: Option<&Op>,
        outcome: &Result<(), Refusal>,
    ) -> Result<(Vec<World>, Option<Op>), Verdict> {
        let Some(op) = target else { return Ok((timeline.worlds(self.promise, None), None)) };
        if matches!(op, Op::Close | Op::Reopen) {
            // Closing reports no error; what the journal has is made again.
            return Ok((timeline.worlds(after_kill(self.opening.durability), None), None));
        }
        let Err(refusal) = outcome else {
            timeline.acknowledge(op);
            return Ok((timeline.worlds(Promise::All, None), None));
        };
        let left = self.left_behind(op);
        if left.is_some() && refusal.message.contains("in its place") {
            // The error says that the file is in its place; then it is whole.
            note_files(timeline, Some(op), self.places);
        } else if let Some(path) = left {
            return Err(Verdict::Broken(WRONG, format!("'{path}' is there, and {refusal}")));
        }
        let mut worlds = timeline.worlds(Promise::All, None);
        if self.is_in_doubt || says_open_again(&refusal.message) || matches!(op, Op::Import(_)) {
            worlds.extend(timeline.worlds(Promise::Calls, Some(op)).into_iter().skip(1));
        }
        Ok((worlds, Some(op.clone())))
    }

    /// What a failed operation has put into its place all the same.
    fn left_behind(&self, op: &Op) -> Option<String> {
        let path = match op {
            Op::Checkpoint(number) | Op::CheckpointWithFilter(number) => {
                self.places.out("checkpoint", *number)
            }
            Op::DumpClassic(number) => self.places.out("classic", *number),
            Op::DumpTable(number) => self.places.out("table", *number),
            Op::DumpIncrement(number, _) => self.places.out("increment", *number),
            _ => return None,
        };
        path.exists().then(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn with_outcome(&self, what: &str, report: &Report) -> String {
        match &report.outcome {
            Ok(()) => format!("{what} (the operation: OK)"),
            Err(outcome) => format!("{what} (the operation: {outcome})"),
        }
    }

    fn verdict_with_outcome(&self, verdict: Verdict, report: &Report) -> Verdict {
        match verdict {
            Verdict::Broken(kind, what) => Verdict::Broken(kind, self.with_outcome(&what, report)),
            other => other,
        }
    }
}

//! Errors: each system call of each operation fails, once or from there on until the operation has returned. Then the fault
//! is over: work must go on without opening again, and everything acknowledged is there afterwards.

use std::time::{Duration, Instant};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::control::{ALL, Fate, Plan, kind};
use crate::engine::{DURABILITIES, Engine, Opening, Places};
use crate::examine::Refusal;
use crate::judge::{TIMEOUT, answer, encode, judge, judge_files};
use crate::lanes::Lane;
use crate::model::Model;
use crate::scenes::{Scene, Target, scenes};
use crate::script::{Op, random};
use crate::stage::after_kill;
use crate::system::in_child;
use crate::tally::{LOST, STUCK, Verdict, WRONG};
use crate::timeline::{Promise, Timeline, World, find_world};

/// A fault may last this long after it is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Error numbers, each with the kinds of calls that return it; none for all kinds.
const ERRORS: [(&str, i32, &[&str]); 9] = [
    ("EIO", libc::EIO, &[]),
    ("ENOSPC", libc::ENOSPC, &[]),
    ("EDQUOT", libc::EDQUOT, &[]),
    ("ENOMEM", libc::ENOMEM, &[]),
    ("EACCES", libc::EACCES, &[]),
    ("EMFILE", libc::EMFILE, &["open", "create", "list", "map"]),
    ("EROFS", libc::EROFS, &["open", "create", "mkdir", "rename", "remove", "link", "truncate", "allocate"]),
    ("EINTR", libc::EINTR, &["write", "read", "open", "create", "allocate", "truncate", "sync"]),
    ("EAGAIN", libc::EAGAIN, &["thread"]),
];

/// How long a fault lasts, and whether the first write is made in part.
const LENGTHS: [(&str, i32, u32); 5] =
    [("once", 0, 0), ("on", -1, 0), ("short", 0, 100), ("short-once", 1, 100), ("short-on", -1, 100)];

/// What a worker saw.
#[derive(Serialize, Deserialize)]
struct Report {
    /// What the operation said.
    outcome: Result<(), Refusal>,
    /// All rows right after it; None after closing.
    seen: Option<Result<Model, Refusal>>,
    /// A call, then a flush, when the fault was over.
    call: Result<(), Refusal>,
    flush: Result<(), Refusal>,
}

fn plan(nth: i64, error: i32, (_, again, part): (&str, i32, u32)) -> Plan {
    // A signal interrupts some calls, not all there will ever be.
    let again = if error == libc::EINTR { again & 3 } else { again };
    Plan { fate: Fate::Fail(error), kinds: ALL, nth, again, part }
}

/// Those that a call of this kind returns. A thread is refused in one way only.
fn errors_of(kind_name: &str) -> Vec<(&'static str, i32)> {
    let fits = |kinds: &[&str]| (kinds.is_empty() && kind_name != "thread") || kinds.contains(&kind_name);
    ERRORS.into_iter().filter(|(_, _, kinds)| fits(kinds)).map(|(name, number, _)| (name, number)).collect()
}

/// Every call of every operation with every error, once and from there on.
pub fn exhaustive(lane: &mut Lane) {
    let scenes = scenes();
    let pairs = scenes.iter().flat_map(|scene| DURABILITIES.map(|durability| (scene, durability)));
    for (index, (scene, durability)) in pairs.enumerate() {
        let name = format!("{}:{durability}", scene.name);
        if !lane.is_mine(index as u64) || !lane.is_wanted(&name) {
            continue;
        }
        for nth in 1.. {
            // The first trial tells which kind of call it is.
            let first = fail(lane, scene, durability, plan(nth, libc::EAGAIN, LENGTHS[0]));
            lane.record(&first.verdict, &format!("--repeat {name}:{nth}:EAGAIN:once"));
            if !first.fired {
                break;
            }
            let kind_name = first.at.split(' ').next().unwrap_or_default().to_owned();
            for (error, number) in errors_of(&kind_name) {
                for length in LENGTHS {
                    if (length.2 > 0 && kind_name != "write") {
                        continue;
                    }
                    if lane.is_over() {
                        return;
                    }
                    let failed = fail(lane, scene, durability, plan(nth, number, length));
                    lane.record(&failed.verdict, &format!("--repeat {name}:{nth}:{error}:{}", length.0));
                }
            }
        }
    }
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Verdict {
    let mut random = random(lane.options.seed ^ 0x6572_726f_7273, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    let scenes = scenes();
    let wanted: Vec<&Scene> =
        scenes.iter().filter(|scene| lane.is_wanted(&format!("{}:{durability}", scene.name))).collect();
    if wanted.is_empty() {
        return Verdict::Survived;
    }
    let scene = wanted[random.random_range(0..wanted.len())];
    let calls = lane.count_calls(scene, durability, ALL);
    let (_, error, kinds) = ERRORS[random.random_range(0..ERRORS.len())];
    let kinds =
        if kinds.is_empty() { ALL & !kind("thread") } else { kinds.iter().map(|name| kind(name)).sum() };
    let length = LENGTHS[random.random_range(0..LENGTHS.len())];
    let plan = plan(random.random_range(1..=calls), error, length);
    fail(lane, scene, durability, Plan { kinds, ..plan }).verdict
}

/// `SCENE:DURABILITY:NTH:ERROR:LENGTH`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [scene, durability, nth, error, length] = parts[..] else {
        panic!("SCENE:DURABILITY:NTH:ERROR:LENGTH is needed");
    };
    let scenes = scenes();
    let scene =
        scenes.iter().find(|known| known.name == scene).unwrap_or_else(|| panic!("no scene '{scene}'"));
    let durability = DURABILITIES.into_iter().find(|known| *known == durability).expect("a durability");
    let number = ERRORS.iter().find(|known| known.0 == error).expect("an error's name").1;
    let length = LENGTHS.into_iter().find(|known| known.0 == length).expect("a length");
    fail(lane, scene, durability, plan(nth.parse().expect("a number"), number, length)).verdict
}

/// A trial in which calls failed.
struct Failed {
    verdict: Verdict,
    fired: bool,
    /// The call that failed last.
    at: String,
}

fn fail(lane: &mut Lane, scene: &Scene, durability: &'static str, plan: Plan) -> Failed {
    let opening = Opening { durability, threads: 1 + (plan.nth % 2) };
    let (places, timeline) = lane.stage.set_up(scene.start, opening);
    let (board, control) = (lane.board, lane.control);
    board.reset();
    control.watch(&places.root);
    let end = in_child(TIMEOUT, || {
        let (engine, outcome) = scene.play(&places, opening, board, control, plan);
        let outcome = outcome.map_err(|error| Refusal::new(scene.name, &error));
        encode(&go_on(scene, &places, opening, engine, outcome))
    });
    let (fired, at) = (control.fired() > 0, control.last());
    control.disarm();
    let judged = answer(end).and_then(|report: Report| {
        let ends_writing =
            |done: &Result<(), Refusal>| matches!(done, Err(refusal) if ends_writing(&refusal.message));
        let is_in_doubt =
            durability == "power" && (ends_writing(&report.outcome) || ends_writing(&report.call));
        let promise = match scene.target {
            Target::Open => lane.stage.base(scene.start, opening).promise(),
            Target::Op(_) => Promise::All,
        };
        Inquest { scene, places: &places, opening, promise, is_in_doubt }.hold(timeline, &report)
    });
    let verdict = match judged {
        Ok(()) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            let Fate::Fail(error) = plan.fate else { unreachable!("calls fail here") };
            let Plan { again, part, .. } = plan;
            let at = if fired { &at } else { "nothing" };
            let words =
                format!("{} {durability}, error {error} (again {again}, part {part}) in {at}", scene.name);
            Verdict::Broken(kind, format!("{words}: {what}"))
        }
        Err(other) => other,
    };
    lane.tally.note(if fired { "calls that failed" } else { "faults that nothing met" });
    Failed { verdict, fired, at }
}

/// In the worker, once the fault is over.
fn go_on(
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
        None => Engine::open(places, opening).map_err(|error| Refusal::new("opening again", &error)),
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
    let seen = Some(engine.look().map_err(|error| Refusal::new("record after it", &error)));
    let call = patiently(|| engine.make(&next_call()), "a call after it");
    let flush = patiently(|| engine.make(&Op::Flush), "flush after it");
    Report { outcome, seen, call, flush }
}

fn next_call() -> Op {
    Op::Apply { group: 0, keys: vec![5, 6, 95], gradients: vec![0.25; 12] }
}

fn patiently(mut make: impl FnMut() -> damo::error::Result<()>, step: &str) -> Result<(), Refusal> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match make() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline || is_final(error.message()) => {
                return Err(Refusal::new(step, &error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Documented for durability "power": what is on disk is in doubt after a failed fsync of the journal.
fn ends_writing(message: &str) -> bool {
    message.contains("cannot be synced") || message.contains("is opened again")
}

fn says_open_again(message: &str) -> bool {
    ["opening it again", "open it again"].iter().any(|words| message.contains(words))
}

fn is_final(message: &str) -> bool {
    ends_writing(message) || says_open_again(message)
}

/// Compares what a worker saw, and what it left, with what it should have.
struct Inquest<'a> {
    scene: &'a Scene,
    places: &'a Places,
    opening: Opening,
    /// About what was there before the target.
    promise: Promise,
    /// A failed fsync of the journal: the call may be there, whole.
    is_in_doubt: bool,
}

impl Inquest<'_> {
    fn hold(&self, mut timeline: Timeline, report: &Report) -> Result<(), Verdict> {
        let mut ops = self.scene.ops();
        let target = if let Target::Op(_) = self.scene.target { ops.pop() } else { None };
        ops.iter().for_each(|op| timeline.acknowledge(op));
        let (worlds, under_way) = self.expect(&mut timeline, target.as_ref(), &report.outcome)?;
        let Some(seen) = &report.seen else {
            let promise = after_kill(self.opening.durability);
            judge(self.places, self.opening, &timeline, promise, None)?;
            return judge_files(self.places, self.opening, &timeline, None);
        };
        let needs_opening = matches!(&report.outcome, Err(refusal) if says_open_again(&refusal.message));
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
                return Err(Verdict::Broken(STUCK, self.with_outcome(&refusal.to_string(), report)));
            }
        }
        for (op, done) in [(next_call(), &report.call), (Op::Flush, &report.flush)] {
            match done {
                Ok(()) => timeline.acknowledge(&op),
                Err(refusal) if (doubt.is_some() || self.is_in_doubt) && is_final(&refusal.message) => {}
                Err(refusal) => {
                    return Err(Verdict::Broken(STUCK, self.with_outcome(&refusal.to_string(), report)));
                }
            }
        }
        let promise = if doubt.is_some() { Promise::Calls } else { Promise::All };
        judge(self.places, self.opening, &timeline, promise, doubt)
            .map_err(|verdict| self.verdict_with_outcome(verdict, report))?;
        judge_files(self.places, self.opening, &timeline, under_way.as_ref())
    }

    /// What may be in memory now, and the operation that failed; the timeline has it if it did not.
    fn expect(
        &self,
        timeline: &mut Timeline,
        target: Option<&Op>,
        outcome: &Result<(), Refusal>,
    ) -> Result<(Vec<World>, Option<Op>), Verdict> {
        let Some(op) = target else { return Ok((timeline.worlds(self.promise, None), None)) };
        if matches!(op, Op::Close | Op::Reopen) {
            // Closing tells of no error; what the journal has is made again.
            return Ok((timeline.worlds(after_kill(self.opening.durability), None), None));
        }
        let Err(refusal) = outcome else {
            timeline.acknowledge(op);
            return Ok((timeline.worlds(Promise::All, None), None));
        };
        if let Some(path) = self.left_behind(op) {
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
            Op::Checkpoint(number) => self.places.out("checkpoint", *number),
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

//! Steps over 26 groups: kills at the n-th call that changes anything on disk, and at random
//! moments. Right is: all groups are at the same step, the last that returned or the one under way,
//! and every row has exactly these steps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;

use crate::control::{Board, CHANGES, Fate, Plan};
use crate::judge::{TIMEOUT, answer, encode};
use crate::lanes::Lane;
use crate::script::random;
use crate::step_history::{DURABILITIES, Engine, Found, Opening, Reference};
use crate::system::{Child, End, in_child, kill_self};
use crate::tally::{CRASH, HANG, LOST, Verdict};

/// The steps of a session that is killed at a call. A flush is among them.
const STEPS: u64 = 30;

/// The storage of a trial, made anew.
fn new_dir(lane: &Lane) -> PathBuf {
    let dir = lane.stage.scratch.join("steps");
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn plan(nth: i64, part: u32) -> Plan {
    Plan { fate: Fate::Kill, kinds: CHANGES, nth, again: 0, part }
}

/// The smallest cache: rows are written and read all the time.
fn smallest(durability: &'static str) -> Opening {
    Opening { durability, cache_bytes: 64 << 10, threads: 2 }
}

/// Every call of a session, once.
pub fn exhaustive(lane: &mut Lane) {
    for durability in DURABILITIES {
        if !lane.is_wanted(&format!("steps:{durability}")) {
            continue;
        }
        for nth in lane.share() {
            if lane.is_over() {
                return;
            }
            let (verdict, fired) = at_call(lane, durability, plan(nth, 0));
            lane.record(&verdict, &format!("--repeat {durability}:{nth}:0"));
            if !fired {
                break;
            }
        }
    }
}

/// One trial of a random campaign: a storage that is killed several times.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed, number);
    let durability = DURABILITIES[random.random_range(0..DURABILITIES.len())];
    if !lane.is_wanted(&format!("steps:{durability}")) {
        return None;
    }
    let (dir, seed) = (new_dir(lane), lane.options.seed ^ number);
    let (mut reference, mut first) = (Reference::new(), 0);
    for kill in 0..random.random_range(2..=5) {
        let opening = Opening::draw(&mut random, durability);
        let end = if random.random_range(0..3) == 0 {
            let part = if random.random() { random.random_range(1..256) } else { 0 };
            session_killed_at(
                lane,
                &dir,
                opening,
                seed,
                first,
                plan(random.random_range(1..60), part),
            )
        } else {
            let sleep = Duration::from_micros(random.random_range(0..120_000));
            session_killed_after(lane.board, &dir, opening, seed, first, sleep)
        };
        lane.tally.note("kills");
        let judged =
            judge(lane, &dir, Opening::draw(&mut random, durability), end, &mut reference, seed);
        match judged {
            Ok(steps) => first = steps,
            Err(Verdict::Broken(kind, what)) => {
                return Some(Verdict::Broken(kind, format!("{opening:?}, kill {kill}: {what}")));
            }
            Err(other) => return Some(other),
        }
    }
    Some(Verdict::Survived)
}

/// `DURABILITY:NTH:PART`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [durability, nth, part] = parts[..] else { panic!("DURABILITY:NTH:PART is needed") };
    let durability = DURABILITIES.into_iter().find(|known| *known == durability);
    let plan = plan(nth.parse().expect("a number"), part.parse().expect("a number"));
    at_call(lane, durability.expect("'process' or 'power'"), plan).0
}

/// A session that is killed at a call, and whether it came to that call.
fn at_call(lane: &mut Lane, durability: &'static str, plan: Plan) -> (Verdict, bool) {
    let (dir, opening, seed) = (new_dir(lane), smallest(durability), lane.options.seed);
    let end = session_killed_at(lane, &dir, opening, seed, 0, plan);
    let (fired, at) = (lane.control.fired() > 0, lane.control.first());
    let verdict = match judge(lane, &dir, opening, end, &mut Reference::new(), seed) {
        Ok(_) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            let at = if fired { &at } else { "its end" };
            Verdict::Broken(kind, format!("{durability}, killed at {at}: {what}"))
        }
        Err(other) => other,
    };
    (verdict, fired)
}

/// In a worker: opens the storage and makes steps, telling the board.
fn work(
    dir: &Path,
    opening: Opening,
    seed: u64,
    steps: std::ops::Range<u64>,
    board: &Board,
) -> Engine {
    let mut engine = Engine::open(dir, opening);
    for (count, index) in steps.enumerate() {
        board.start(count);
        engine.make(seed, index);
        board.acknowledge(count);
    }
    engine
}

fn session_killed_at(
    lane: &Lane,
    dir: &Path,
    opening: Opening,
    seed: u64,
    first: u64,
    plan: Plan,
) -> End {
    let (board, control) = (lane.board, lane.control);
    board.reset();
    control.watch(dir);
    let end = in_child(TIMEOUT, || {
        control.arm(plan);
        std::mem::forget(work(dir, opening, seed, first..first + STEPS, board));
        kill_self()
    });
    control.disarm();
    end
}

fn session_killed_after(
    board: &Board,
    dir: &Path,
    opening: Opening,
    seed: u64,
    first: u64,
    sleep: Duration,
) -> End {
    board.reset();
    let child = Child::start(|| {
        std::mem::forget(work(dir, opening, seed, first..first + 10_000, board));
        kill_self()
    });
    std::thread::sleep(sleep);
    child.kill();
    child.finish(TIMEOUT)
}

/// Looks at what is left. Returns how many steps it has, of which the reference has made all.
fn judge(
    lane: &mut Lane,
    dir: &Path,
    opening: Opening,
    end: End,
    reference: &mut Reference,
    seed: u64,
) -> Result<u64, Verdict> {
    match end {
        End::Signal(libc::SIGKILL) => {}
        End::Hung => return Err(Verdict::Broken(HANG, "before it was killed".to_owned())),
        end => return Err(Verdict::Broken(CRASH, format!("before it was killed: {end:?}"))),
    }
    let first = reference.steps();
    let next = first + lane.board.acknowledged() as u64;
    (first..next).for_each(|index| reference.make(seed, index));
    let found: Found = answer(in_child(TIMEOUT, || encode(&Engine::open(dir, opening).read())))?;
    let Err(why) = reference.compare(&found) else { return Ok(next) };
    reference.make(seed, next);
    reference.compare(&found).map_err(|why_not| {
        let acknowledged = format!("{next} steps acknowledged");
        Verdict::Broken(LOST, format!("{acknowledged}: {why}; with the one under way: {why_not}"))
    })?;
    lane.tally.note("steps under way that were whole");
    Ok(next + 1)
}

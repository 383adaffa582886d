//! Steps over 26 groups: kills at the n-th call that changes anything on disk, at the n-th point
//! that is compiled into the library (`damo::kill_points`), and at random moments. Right is: all
//! groups are at the same step, the last that returned or the one under way, and every row has
//! exactly these steps. `beside` has steps that other threads work beside.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use damo::kill_points;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::beside;
use crate::control::{Board, CHANGES, Fate, Plan};
use crate::judge::{answer, encode, patience};
use crate::lanes::Lane;
use crate::script::random;
use crate::step_history::{DURABILITIES, Engine, Found, Opening, Reference};
use crate::system::{Child, End, in_child, kill_self};
use crate::tally::{CRASH, HANG, LOST, Verdict};

/// The steps of a session that is killed at a call. A flush is among them.
const STEPS: u64 = 30;
/// Those of a session that is killed at a compiled-in point. The steps before are made without
/// kills, and a flush is among these.
const POINT_STEPS: Range<u64> = 23..26;

/// When a session is killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// At a call.
    Call(Plan),
    /// At the point with this number, from 1.
    Point(i64),
    /// After this time.
    After(Duration),
}

impl Kill {
    /// `calls` and `points` are the most that are drawn, and `micros` the longest time.
    pub fn draw(random: &mut ChaCha8Rng, (calls, points, micros): (i64, i64, u64)) -> Kill {
        match random.random_range(0..if kill_points::ARE_COMPILED_IN { 4 } else { 2 }) {
            0 => {
                let part = if random.random() { random.random_range(1..256) } else { 0 };
                Kill::Call(plan(random.random_range(1..calls), part))
            }
            1 => Kill::After(Duration::from_micros(random.random_range(0..micros))),
            // The numbers of points differ by orders of magnitude: a small one is near the start.
            _ => {
                let most = points >> random.random_range(0..6);
                Kill::Point(random.random_range(1..most))
            }
        }
    }
}

/// The storage of a trial, made anew.
pub fn new_dir(lane: &Lane) -> PathBuf {
    let dir = lane.stage.scratch.join("steps");
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

pub fn plan(nth: i64, part: u32) -> Plan {
    Plan { fate: Fate::Kill, kinds: CHANGES, nth, again: 0, part }
}

/// The smallest cache: rows are written and read all the time.
pub fn smallest(durability: &'static str) -> Opening {
    Opening { durability, cache_bytes: 64 << 10, threads: 2 }
}

/// Every call of a session, once, and then every compiled-in point of some steps.
pub fn exhaustive(lane: &mut Lane) {
    if !kill_points::ARE_COMPILED_IN {
        println!("steps: no points are compiled in (feature kill-points), so only calls are cut");
    }
    for durability in DURABILITIES {
        if !lane.is_wanted(&format!("steps:{durability}")) {
            continue;
        }
        let name = |nth| format!("{durability}:{nth}:0");
        at_each(lane, name, |lane, nth| at_call(lane, durability, plan(nth, 0)));
        if kill_points::ARE_COMPILED_IN {
            let name = |nth| format!("{durability}:point:{nth}");
            at_each(lane, name, |lane, nth| at_point(lane, durability, nth));
        }
    }
}

/// Runs a session for each number of this lane, until one ends before its number comes. `at` says
/// whether it came. `name` gives what `--repeat` takes.
pub fn at_each(
    lane: &mut Lane,
    name: impl Fn(i64) -> String,
    at: impl Fn(&mut Lane, i64) -> (Verdict, bool),
) {
    for nth in lane.share() {
        if lane.is_over() {
            return;
        }
        let (verdict, fired) = at(lane, nth);
        lane.record(&verdict, &format!("--repeat {}", name(nth)));
        if !fired {
            return;
        }
    }
}

/// One trial of a random campaign: a storage that is killed several times. In every other one calls
/// on single groups and pins are made beside the steps.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    if number % 2 == 1 {
        return beside::trial(lane, number);
    }
    let mut random = random(lane.options.seed, number);
    let durability = DURABILITIES[random.random_range(0..DURABILITIES.len())];
    if !lane.is_wanted(&format!("steps:{durability}")) {
        return None;
    }
    let (dir, seed) = (new_dir(lane), lane.options.seed ^ number);
    let (mut reference, mut first) = (Reference::new(), 0);
    for count in 0..random.random_range(2..=5) {
        let opening = Opening::draw(&mut random, durability);
        let kill = Kill::draw(&mut random, (60, 20_000, 120_000));
        let steps = match kill {
            Kill::After(_) => first..first + 10_000,
            _ => first..first + STEPS,
        };
        let end = session(lane, &dir, (opening, seed), (steps, None), kill);
        let next = first + lane.board.acknowledged() as u64;
        let opening_after = Opening::draw(&mut random, durability);
        let judged = was_killed(end)
            .and_then(|()| judge(lane, &dir, (opening_after, seed), &mut reference, next));
        match judged {
            Ok(steps) => first = steps,
            Err(Verdict::Broken(kind, what)) => {
                let what = format!("{opening:?}, kill {count}, {kill:?}: {what}");
                return Some(Verdict::Broken(kind, what));
            }
            Err(other) => return Some(other),
        }
    }
    Some(Verdict::Survived)
}

/// `DURABILITY:NTH:PART` or `DURABILITY:point:NTH`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let number = |text: &str| text.parse().expect("a number");
    let durability = |name: &str| {
        let found = DURABILITIES.into_iter().find(|known| *known == name);
        found.expect("'process' or 'power'")
    };
    match parts[..] {
        [name, "point", nth] => at_point(lane, durability(name), number(nth)).0,
        [name, nth, part] => {
            at_call(lane, durability(name), plan(number(nth), number(part) as u32)).0
        }
        _ => panic!("DURABILITY:NTH:PART or DURABILITY:point:NTH is needed"),
    }
}

/// A session that is killed at a call, and whether it came to that call.
fn at_call(lane: &mut Lane, durability: &'static str, plan: Plan) -> (Verdict, bool) {
    let verdict = once(lane, durability, (0..STEPS, None), Kill::Call(plan));
    (verdict, lane.control.fired() > 0)
}

/// As [`at_call`], at a compiled-in point.
fn at_point(lane: &mut Lane, durability: &'static str, nth: i64) -> (Verdict, bool) {
    let steps = (0..POINT_STEPS.end, Some(POINT_STEPS.start));
    let verdict = once(lane, durability, steps, Kill::Point(nth));
    (verdict, lane.points.at() > 0)
}

/// One session on a new storage.
fn once(
    lane: &mut Lane,
    durability: &'static str,
    steps: (Range<u64>, Option<u64>),
    kill: Kill,
) -> Verdict {
    let (dir, opening, seed) = (new_dir(lane), smallest(durability), lane.options.seed);
    let end = session(lane, &dir, (opening, seed), steps, kill);
    let at = match kill {
        Kill::Call(_) if lane.control.fired() > 0 => lane.control.first(),
        Kill::Point(_) if lane.points.at() > 0 => kill_points::name(lane.points.at()),
        _ => "its end".to_owned(),
    };
    let next = lane.board.acknowledged() as u64;
    let judged = was_killed(end)
        .and_then(|()| judge(lane, &dir, (opening, seed), &mut Reference::new(), next));
    match judged {
        Ok(_) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            Verdict::Broken(kind, format!("{durability}, killed at {at}: {what}"))
        }
        Err(other) => other,
    }
}

/// Opens a storage and makes steps in a child, which is killed. With `armed_at` calls and points
/// count from that step on.
fn session(
    lane: &mut Lane,
    dir: &Path,
    (opening, seed): (Opening, u64),
    (steps, armed_at): (Range<u64>, Option<u64>),
    kill: Kill,
) -> End {
    lane.board.reset();
    let (board, first) = (lane.board, steps.start);
    killed(lane, dir, kill, |arm| {
        if armed_at.is_none() {
            arm();
        }
        let mut engine = Engine::open(dir, opening);
        for index in steps {
            if armed_at == Some(index) {
                arm();
            }
            step(&mut engine, seed, (first, index), board);
        }
        std::mem::forget(engine);
        kill_self()
    })
}

/// Makes a step, telling the board.
fn step(engine: &mut Engine, seed: u64, (first, index): (u64, u64), board: &Board) {
    let count = (index - first) as usize;
    board.start(count);
    engine.make(seed, index);
    board.acknowledge(count);
}

/// Runs `work` in a child, and kills that. `work` is told how to begin to count calls and points.
pub fn killed(
    lane: &mut Lane,
    dir: &Path,
    kill: Kill,
    work: impl FnOnce(&dyn Fn()) -> Vec<u8>,
) -> End {
    let (control, points) = (lane.control, lane.points);
    control.disarm();
    control.watch(dir);
    points.reset();
    lane.tally.note("kills");
    let end = match kill {
        Kill::After(time) => {
            let child = Child::start(|| work(&|| ()));
            std::thread::sleep(time);
            child.kill();
            child.finish(patience())
        }
        Kill::Call(plan) => in_child(patience(), || work(&|| control.arm(plan))),
        Kill::Point(nth) => in_child(patience(), || work(&|| points.arm(nth))),
    };
    match kill {
        Kill::Call(_) if control.fired() > 0 => lane.tally.note("kills at a call"),
        Kill::Point(_) if points.at() > 0 => lane.tally.note("kills at a compiled-in point"),
        _ => {}
    }
    end
}

/// Fails unless the process was killed: then it hung, or it crashed.
pub fn was_killed(end: End) -> Result<(), Verdict> {
    match end {
        End::Signal(libc::SIGKILL) => Ok(()),
        End::Hung => Err(Verdict::Broken(HANG, "before it was killed".to_owned())),
        end => Err(Verdict::Broken(CRASH, format!("before it was killed: {end:?}"))),
    }
}

/// Compares what is left with the reference: `next` steps returned, and one more may have been
/// under way. Returns how many steps are left. The reference has made the same ones.
pub fn judge(
    lane: &mut Lane,
    dir: &Path,
    (opening, seed): (Opening, u64),
    reference: &mut Reference,
    next: u64,
) -> Result<u64, Verdict> {
    (reference.steps()..next).for_each(|index| reference.make(seed, index));
    let found: Found = answer(in_child(patience(), || encode(&Engine::open(dir, opening).read())))?;
    let Err(why) = reference.compare(&found) else { return Ok(next) };
    reference.make(seed, next);
    reference.compare(&found).map_err(|why_not| {
        let acknowledged = format!("{next} steps acknowledged");
        Verdict::Broken(LOST, format!("{acknowledged}: {why}; with the one under way: {why_not}"))
    })?;
    lane.tally.note("steps under way that were whole");
    Ok(next + 1)
}

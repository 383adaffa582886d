//! Steps over 26 groups that two clients send one to three times, and once more after a kill. Right
//! is what is right for steps that are sent once: see `steps`. At the end the latest steps are sent
//! again, and some more: each is there once.

use std::ops::Range;
use std::path::Path;

use rand::RngExt;

use crate::control::Plan;
use crate::judge::{answer, encode, patience};
use crate::lanes::Lane;
use crate::script::random;
use crate::step_history::{DURABILITIES, Engine, Found, Opening, Reference};
use crate::steps::{Kill, at_each, judge, killed, new_dir, plan, smallest, was_killed};
use crate::system::{in_child, kill_self};
use crate::tally::{LOST, Verdict};

/// The steps of a session that is killed at a call. A flush is among them.
const STEPS: u64 = 30;
/// So many steps are sent again by a process that follows a killed one.
const SENT_AGAIN: u64 = 3;
/// Room for all rows.
const LARGE_CACHE: i64 = 16 << 20;

/// Every call of a session, once.
pub fn exhaustive(lane: &mut Lane) {
    for durability in DURABILITIES {
        if !lane.is_wanted(&format!("retries:{durability}")) {
            continue;
        }
        let name = |nth| format!("{durability}:{nth}:0");
        at_each(lane, name, |lane, nth| at_call(lane, durability, plan(nth, 0)));
    }
}

/// One trial of a random campaign: a storage that is killed several times.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed, number);
    let durability = DURABILITIES[random.random_range(0..DURABILITIES.len())];
    if !lane.is_wanted(&format!("retries:{durability}")) {
        return None;
    }
    let kills = (0..random.random_range(2..=5)).map(|_| {
        let opening = Opening::draw(&mut random, durability);
        (opening, Kill::draw(&mut random, (60, 20_000, 120_000)))
    });
    let kills: Vec<_> = kills.collect();
    Some(run(lane, lane.options.seed ^ number, &kills))
}

/// `DURABILITY:NTH:PART`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [name, nth, part] = parts[..] else { panic!("DURABILITY:NTH:PART is needed") };
    let durability = DURABILITIES.into_iter().find(|known| *known == name);
    let plan = plan(nth.parse().expect("a number"), part.parse().expect("a number"));
    at_call(lane, durability.expect("'process' or 'power'"), plan).0
}

/// A session that is killed at a call, and whether it came to that call.
fn at_call(lane: &mut Lane, durability: &'static str, plan: Plan) -> (Verdict, bool) {
    let verdict = run(lane, lane.options.seed, &[(smallest(durability), Kill::Call(plan))]);
    (verdict, lane.control.fired() > 0)
}

/// Sessions that are killed, one after the other, and one that is not.
fn run(lane: &mut Lane, seed: u64, kills: &[(Opening, Kill)]) -> Verdict {
    let (dir, mut reference) = (new_dir(lane), Reference::new());
    for (opening, kill) in kills {
        let judged = session(lane, &dir, (*opening, seed), &mut reference, *kill);
        if let Err(verdict) = judged {
            return named(verdict, &format!("{opening:?}, {kill:?}"));
        }
    }
    lane.control.disarm();
    // With a small cache these steps would wait for hundreds of write-back rounds.
    let opening = Opening { cache_bytes: LARGE_CACHE, ..kills[0].0 };
    let steps = reference.steps().max(STEPS);
    let all = || {
        let mut engine = Engine::open(&dir, opening);
        (steps.saturating_sub(2 * STEPS)..steps).for_each(|index| engine.send(seed, index));
        encode(&engine.read())
    };
    let found: Found = match answer(in_child(patience(), all)) {
        Ok(found) => found,
        Err(verdict) => return named(verdict, "the latest steps were sent again"),
    };
    (reference.steps()..steps).for_each(|index| reference.make(seed, index));
    match reference.compare(&found) {
        Ok(()) => Verdict::Survived,
        Err(why) => Verdict::Broken(LOST, format!("the latest steps were sent again: {why}")),
    }
}

fn named(verdict: Verdict, when: &str) -> Verdict {
    match verdict {
        Verdict::Broken(kind, what) => Verdict::Broken(kind, format!("{when}: {what}")),
        other => other,
    }
}

/// A session that is killed. Looks at what is left; the reference has made all of that then.
fn session(
    lane: &mut Lane,
    dir: &Path,
    (opening, seed): (Opening, u64),
    reference: &mut Reference,
    kill: Kill,
) -> Result<(), Verdict> {
    let known = reference.steps();
    let first = known.saturating_sub(SENT_AGAIN);
    let steps: Range<u64> = match kill {
        Kill::After(_) => first..first + 10_000,
        _ => first..first + STEPS,
    };
    lane.board.reset();
    let board = lane.board;
    let end = killed(lane, dir, kill, |arm| {
        arm();
        let mut engine = Engine::open(dir, opening);
        for (count, index) in steps.enumerate() {
            board.start(count);
            engine.send(seed, index);
            board.acknowledge(count);
        }
        std::mem::forget(engine);
        kill_self()
    });
    was_killed(end)?;
    let next = known.max(first + board.acknowledged() as u64);
    judge(lane, dir, (opening, seed), reference, next).map(|_| ())
}

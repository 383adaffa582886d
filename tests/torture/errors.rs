//! Errors: each system call of each operation fails, once or from there on until the operation has
//! returned. Then the fault is over: work must go on without opening again, and everything
//! acknowledged is there afterwards.

use rand::RngExt;

use crate::control::{ALL, Fate, Plan, kind};
use crate::engine;
use crate::engine::{DURABILITIES, Opening};
use crate::examine::Refusal;
use crate::inquest::{Inquest, Report, go_on};
use crate::judge::{answer, encode, patience};
use crate::lanes::Lane;
use crate::scenes::{Scene, find, scenes};
use crate::script::random;
use crate::system::in_child;
use crate::tally::Verdict;

/// Error numbers, each with the kinds of calls that return it; none for all that concern files.
const ERRORS: [Error; 8] = [
    ("EIO", libc::EIO, &[]),
    ("ENOSPC", libc::ENOSPC, &[]),
    ("EDQUOT", libc::EDQUOT, &[]),
    ("ENOMEM", libc::ENOMEM, &[]),
    ("EACCES", libc::EACCES, &[]),
    ("EMFILE", libc::EMFILE, &["open", "create", "list", "map"]),
    (
        "EROFS",
        libc::EROFS,
        &["open", "create", "mkdir", "rename", "remove", "link", "truncate", "allocate"],
    ),
    ("EINTR", libc::EINTR, &["write", "read", "open", "create", "allocate", "truncate", "sync"]),
];

/// How long a fault lasts, and whether the first write is made in part.
const LENGTHS: [(&str, i32, u32); 5] = [
    ("once", 0, 0),
    ("on", -1, 0),
    ("short", 0, 100),
    ("short-once", 1, 100),
    ("short-on", -1, 100),
];

type Error = (&'static str, i32, &'static [&'static str]);
type Length = (&'static str, i32, u32);

/// The n-th call that concerns files fails.
fn plan(nth: i64, error: Error, (_, again, part): Length) -> Plan {
    // A signal interrupts some calls, not all there will ever be.
    let again = if error.1 == libc::EINTR { again & 3 } else { again };
    Plan { fate: Fate::Fail(error.1), kinds: files(), nth, again, part }
}

/// Kinds of calls that concern files. Threads and memory that cannot be had are a matter of
/// `limits`: damo makes sure of them before RocksDB takes them, and RocksDB ends the process if it
/// is wrong.
fn files() -> u32 {
    ALL & !kind("thread") & !kind("memory")
}

/// Those that a call of this kind returns.
fn errors_of(kind_name: &str) -> Vec<Error> {
    let fits = |kinds: &[&str]| kinds.is_empty() || kinds.contains(&kind_name);
    ERRORS.into_iter().filter(|(_, _, kinds)| fits(kinds)).collect()
}

/// Every call of every operation with every error, once and from there on.
pub fn exhaustive(lane: &mut Lane) {
    let scenes = scenes();
    let pairs = scenes.iter().flat_map(|scene| DURABILITIES.map(|durability| (scene, durability)));
    for (scene, durability) in pairs {
        let name = format!("{}:{durability}", scene.name);
        if !lane.is_wanted(&name) {
            continue;
        }
        exhaust(lane, scene, durability, &name);
    }
}

fn exhaust(lane: &mut Lane, scene: &Scene, durability: &'static str, name: &str) {
    for nth in lane.share() {
        // The first trial tells which kind of call it is.
        let first = fail(lane, scene, durability, plan(nth, ERRORS[0], LENGTHS[0]));
        lane.record(
            &first.verdict,
            &format!("--repeat {name}:{nth}:{}:{}", ERRORS[0].0, LENGTHS[0].0),
        );
        if !first.fired {
            break;
        }
        let kind_name = first.at.split(' ').next().unwrap_or_default();
        for error in errors_of(kind_name) {
            for length in LENGTHS {
                let is_first = (error.0, length.0) == (ERRORS[0].0, LENGTHS[0].0);
                let is_left_out = lane.options.is_once && length.0 != "once";
                if is_first || is_left_out || (length.2 > 0 && kind_name != "write") {
                    continue;
                }
                if lane.is_over() {
                    return;
                }
                let failed = fail(lane, scene, durability, plan(nth, error, length));
                lane.record(
                    &failed.verdict,
                    &format!("--repeat {name}:{nth}:{}:{}", error.0, length.0),
                );
            }
        }
    }
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x6572_726f_7273, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    let wanted = lane.wanted_scenes(durability);
    let scene = wanted.get(random.random_range(0..wanted.len().max(1)))?;
    let error = ERRORS[random.random_range(0..ERRORS.len())];
    let kinds =
        if error.2.is_empty() { files() } else { error.2.iter().map(|name| kind(name)).sum() };
    let calls = lane.count_calls(scene, durability, kinds);
    let length = LENGTHS[random.random_range(0..LENGTHS.len())];
    let plan = plan(random.random_range(1..=calls.max(1)), error, length);
    Some(fail(lane, scene, durability, Plan { kinds, ..plan }).verdict)
}

/// `SCENE:DURABILITY:NTH:ERROR:LENGTH`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [scene, durability, nth, error, length] = parts[..] else {
        panic!("SCENE:DURABILITY:NTH:ERROR:LENGTH is needed");
    };
    let (scene, durability) = (find(scene), engine::durability(durability));
    let error = ERRORS.into_iter().find(|known| known.0 == error).expect("an error's name");
    let length = LENGTHS.into_iter().find(|known| known.0 == length).expect("a length");
    fail(lane, &scene, durability, plan(nth.parse().expect("a number"), error, length)).verdict
}

/// A trial in which calls failed.
struct Failed {
    verdict: Verdict,
    fired: bool,
    /// The call that failed first.
    at: String,
}

fn fail(lane: &mut Lane, scene: &Scene, durability: &'static str, plan: Plan) -> Failed {
    let opening = Opening { durability, threads: 1 + (plan.nth % 2) };
    let (places, timeline) = lane.stage.set_up(scene.start, opening);
    let (board, control) = (lane.board, lane.control);
    board.reset();
    control.watch(&places.root);
    let end = in_child(patience(), || {
        let (engine, outcome) =
            scene.play(&places, opening, board, &|| control.arm(plan), &|| control.disarm());
        let outcome = outcome.map_err(|error| Refusal::new(scene.name, &error));
        encode(&go_on(scene, &places, opening, engine, outcome))
    });
    let (fired, at) = (control.fired() > 0, control.first());
    control.disarm();
    let judged = answer(end).and_then(|report: Report| {
        let promise = lane.stage.promise_of(scene, opening);
        Inquest::new(scene, &places, opening, promise, &report).hold(timeline, &report)
    });
    let verdict = match judged {
        Ok(()) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            let Fate::Fail(error) = plan.fate else { unreachable!("calls fail here") };
            let Plan { again, part, .. } = plan;
            let at = if fired { &at } else { "nothing" };
            let words = format!(
                "{} {durability}, error {error} (again {again}, part {part}) in {at}",
                scene.name
            );
            Verdict::Broken(kind, format!("{words}: {what}"))
        }
        Err(other) => other,
    };
    lane.tally.note(if fired { "calls that failed" } else { "faults that nothing met" });
    Failed { verdict, fired, at }
}

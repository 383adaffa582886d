//! Kills: at the n-th call that changes anything on disk, of every operation, and at random
//! moments.

use std::time::Duration;

use rand::RngExt;

use crate::control::{CHANGES, Control, Fate, Plan};
use crate::engine;
use crate::engine::{DURABILITIES, Engine, Opening, Places};
use crate::judge::{judge, judge_files, patience};
use crate::lanes::Lane;
use crate::scenes::{Scene, Target, account, find, scenes};
use crate::script::{Op, random};
use crate::sessions::{forget_old, session_ops, work};
use crate::stage::{Start, after_kill};
use crate::system::{Child, End, in_child, kill_self};
use crate::tally::{CLOSED, CRASH, HANG, Verdict};
use crate::timeline::{Promise, Timeline};

fn plan(nth: i64, part: u32) -> Plan {
    Plan { fate: Fate::Kill, kinds: CHANGES, nth, again: 0, part }
}

/// Every call of every operation, once, writes also in part.
pub fn exhaustive(lane: &mut Lane) {
    let scenes = scenes();
    let pairs = scenes.iter().flat_map(|scene| DURABILITIES.map(|durability| (scene, durability)));
    for (index, (scene, durability)) in pairs.enumerate() {
        let name = format!("{}:{durability}", scene.name);
        if !lane.is_wanted(&name) {
            continue;
        }
        for nth in lane.share() {
            let mut random = random(lane.options.seed, nth as u64 ^ (index as u64) << 32);
            let mut parts = vec![0];
            let mut fired = false;
            while let Some(part) = parts.pop() {
                if lane.is_over() {
                    return;
                }
                let killed = at_call(lane, scene, durability, plan(nth, part), random.random());
                lane.record(&killed.verdict, &format!("--repeat {name}:{nth}:{part}"));
                fired |= killed.fired;
                if part == 0 && killed.fired && killed.at.starts_with("write") {
                    parts.push(random.random_range(1..256));
                }
            }
            if !fired {
                break;
            }
        }
    }
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    let wanted = lane.wanted_scenes(durability);
    if lane.draws_moments(&wanted, durability, &mut random) {
        return Some(at_moments(lane, number, durability));
    }
    let scene = wanted.get(random.random_range(0..wanted.len().max(1)))?;
    let calls = lane.count_calls(scene, durability, CHANGES);
    let nth = random.random_range(1..=calls + 1);
    let part = if random.random() { random.random_range(1..256) } else { 0 };
    Some(at_call(lane, scene, durability, plan(nth, part), random.random()).verdict)
}

/// `SCENE:DURABILITY:NTH:PART`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [scene, durability, nth, part] = parts[..] else {
        panic!("SCENE:DURABILITY:NTH:PART is needed")
    };
    let (scene, durability) = (find(scene), engine::durability(durability));
    at_call(
        lane,
        &scene,
        durability,
        plan(nth.parse().expect("a number"), part.parse().expect("a number")),
        0,
    )
    .verdict
}

/// A trial that kills at a call.
struct Killed {
    verdict: Verdict,
    /// Whether it came to that call.
    fired: bool,
    /// The call.
    at: String,
}

/// Kills a worker at a call, sometimes also those that open what it left, and looks at the rest.
fn at_call(
    lane: &mut Lane,
    scene: &Scene,
    durability: &'static str,
    plan: Plan,
    luck: u64,
) -> Killed {
    let opening = Opening { durability, threads: 1 + (luck % 2) as i64 };
    let (places, mut timeline) = lane.stage.set_up(scene.start, opening);
    let (board, control) = (lane.board, lane.control);
    board.reset();
    control.watch(&places.root);
    let end = in_child(patience(), || {
        let (engine, outcome) =
            scene.play(&places, opening, board, &|| control.arm(plan), &|| control.disarm());
        outcome.unwrap_or_else(|error| panic!("{}: {error:?}", scene.name));
        // Neither closed nor destroyed.
        std::mem::forget(engine);
        kill_self()
    });
    control.disarm();
    let (fired, at) = (control.fired() > 0, control.first());
    let judged = match end {
        End::Signal(libc::SIGKILL) => after(lane, scene, &places, opening, &mut timeline, luck),
        End::Hung => Err(Verdict::Broken(HANG, "before it was killed".to_owned())),
        end => Err(Verdict::Broken(CRASH, format!("before it was killed: {end:?}"))),
    };
    let verdict = match judged {
        Ok(()) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            let at = if fired { &at } else { "its end" };
            Verdict::Broken(kind, format!("{} {durability}, killed at {at}: {what}", scene.name))
        }
        Err(other) => other,
    };
    Killed { verdict, fired, at }
}

/// Sometimes kills those that open what is left, then looks at it.
fn after(
    lane: &mut Lane,
    scene: &Scene,
    places: &Places,
    opening: Opening,
    timeline: &mut Timeline,
    luck: u64,
) -> Result<(), Verdict> {
    let under_way = scene.account(timeline, lane.board, places);
    let promise = match (&scene.target, &under_way) {
        (Target::Open, _) => lane.stage.promise_of(scene, opening),
        // What was closed is all there.
        (Target::Op(Op::Close), None) => Promise::All,
        _ => after_kill(opening.durability),
    };
    let again = if luck.is_multiple_of(3) { 1 + luck / 3 % 2 } else { 0 };
    for round in 0..again {
        let nth = 1 + ((luck >> (8 * (round + 1))) % 64) as i64;
        let control = lane.control;
        let end =
            in_child(patience(), || open_to_be_killed(places, opening, control, plan(nth, 0)));
        control.disarm();
        if !matches!(end, End::Signal(libc::SIGKILL)) {
            return Err(Verdict::Broken(CLOSED, format!("opening, to be killed again: {end:?}")));
        }
        lane.tally.note("killed again while opening");
    }
    judge(places, opening, timeline, promise, under_way.as_ref())?;
    judge_files(places, opening, timeline, under_way.as_ref())
}

fn open_to_be_killed(places: &Places, opening: Opening, control: &Control, plan: Plan) -> Vec<u8> {
    control.arm(plan);
    let opened = Engine::open(places, opening).unwrap_or_else(|error| panic!("{error:?}"));
    control.disarm();
    std::mem::forget(opened);
    kill_self()
}
/// A storage that is killed again and again at random moments, with any operations.
fn at_moments(lane: &mut Lane, number: u64, durability: &'static str) -> Verdict {
    const SESSIONS: u64 = 6;
    let mut random = random(lane.options.seed ^ 0x6d6f_6d65_6e74, number);
    let opening = Opening { durability, threads: random.random_range(1..=2) };
    let (places, mut timeline) = lane.stage.set_up(Start::Closed, opening);
    let board = lane.board;
    let mut next = 100;
    for session in 0..SESSIONS {
        let ops = session_ops(lane.options.seed ^ number, next, &timeline);
        next += ops.len() as u64;
        board.reset();
        let child = Child::start(|| {
            std::mem::forget(work(&ops, &places, opening, board));
            kill_self()
        });
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        child.kill();
        match child.finish(patience()) {
            End::Signal(libc::SIGKILL) => {}
            end => {
                return Verdict::Broken(CRASH, format!("{durability}, session {session}: {end:?}"));
            }
        }
        lane.tally.note("killed at a random moment");
        let under_way = account(&ops, &mut timeline, board, &places);
        let judged = judge(&places, opening, &timeline, after_kill(durability), under_way.as_ref())
            .and_then(|found| {
                judge_files(&places, opening, &timeline, under_way.as_ref())?;
                Ok(found)
            });
        match judged {
            Ok(found) => timeline.go_on_from(found),
            Err(Verdict::Broken(kind, what)) => {
                let name = under_way.map_or("nothing", |op| op.name());
                return Verdict::Broken(
                    kind,
                    format!("{durability}, session {session}, {name} under way: {what}"),
                );
            }
            Err(other) => return other,
        }
        // A killed operation may have counted some of its keys in the filter, so that is made anew;
        // and files that are not needed any more take time.
        forget_old(&mut timeline, &places);
    }
    Verdict::Survived
}

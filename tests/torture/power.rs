//! Power cuts: the machine stops at the n-th call that changes anything on disk, or at a random
//! moment, and starts again with another boot id.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::control::{CHANGES, Fate, Plan};
use crate::disk::Disk;
use crate::engine;
use crate::engine::{DURABILITIES, Engine, Opening, Places};
use crate::judge::{judge, judge_files_after_power, patience};
use crate::lanes::Lane;
use crate::scenes::{Scene, Target, account, find, scenes};
use crate::script::{Op, random};
use crate::sessions::{forget_old, session_ops, work};
use crate::stage::Start;
use crate::system::{Child, End, kill_self, stop_self};
use crate::tally::{CRASH, HANG, Verdict};
use crate::timeline::{Promise, Timeline};

/// How many of a million writes reach the disk before anybody asks for it.
const LOTTERIES: [u32; 3] = [0, 100_000, 500_000];

/// What a durability promises about a machine that stops.
fn after_cut(durability: &str) -> Promise {
    if durability == "power" { Promise::Calls } else { Promise::Rows }
}

/// At every call of every operation.
pub fn exhaustive(lane: &mut Lane) {
    let scenes = scenes();
    let pairs = scenes.iter().flat_map(|scene| DURABILITIES.map(|durability| (scene, durability)));
    for (scene, durability) in pairs {
        let name = format!("{}:{durability}", scene.name);
        if !lane.is_wanted(&name) {
            continue;
        }
        for nth in lane.share() {
            let mut fired = false;
            for lottery in LOTTERIES {
                if lane.is_over() {
                    return;
                }
                let mut random = random(lane.options.seed, nth as u64);
                let cut = at_call(lane, scene, durability, nth, lottery, &mut random);
                lane.record(&cut.0, &format!("--repeat {name}:{nth}:{lottery}"));
                fired |= cut.1;
            }
            if !fired {
                break;
            }
        }
    }
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x70_6f77_6572, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    let lottery = LOTTERIES[random.random_range(0..3)];
    let wanted = lane.wanted_scenes(durability);
    if lane.draws_moments(&wanted, durability, &mut random) {
        return Some(at_moments(lane, number, durability, lottery, &mut random));
    }
    let scene = wanted.get(random.random_range(0..wanted.len().max(1)))?;
    let calls = lane.count_calls(scene, durability, CHANGES);
    let nth = random.random_range(1..=calls + 1);
    Some(at_call(lane, scene, durability, nth, lottery, &mut random).0)
}

/// `SCENE:DURABILITY:NTH:LOTTERY`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [scene, durability, nth, lottery] = parts[..] else {
        panic!("SCENE:DURABILITY:NTH:LOTTERY is needed")
    };
    let (scene, durability) = (find(scene), engine::durability(durability));
    let (nth, lottery) = (nth.parse().expect("a number"), lottery.parse().expect("a number"));
    at_call(lane, &scene, durability, nth, lottery, &mut random(lane.options.seed, nth as u64)).0
}

/// A disk with a fresh copy of a base on it.
fn set_up(lane: &mut Lane, start: Start, opening: Opening) -> (Places, Timeline) {
    let places = lane.disk().places();
    let mut timeline = lane.stage.set_up_at(&places, start, opening);
    // The copy is synced, its filter too.
    timeline.synced = timeline.counts.clone();
    boot(lane, &places);
    let control = lane.control;
    lane.disk().settle(control);
    let disk = lane.disk().name();
    lane.tally.note(disk);
    (places, timeline)
}

/// The machine starts, again: the file that its boot id is read from has another one.
fn boot(lane: &mut Lane, places: &Places) {
    let file: PathBuf = places.root.with_file_name("boot_id");
    let before =
        fs::read_to_string(&file).ok().and_then(|id| id.trim().parse::<u64>().ok()).unwrap_or(0);
    fs::write(&file, format!("{}\n", before + 1)).expect("the scratch directory has room");
    lane.control.set_boot_id(Some(&file));
}

fn cut_plan(disk: &Disk, nth: i64, random: &mut ChaCha8Rng) -> Plan {
    let part = if random.random() { random.random_range(1..256) } else { 0 };
    // A directory is cut back afterwards, so the worker only has to stop.
    let fate = if matches!(disk, Disk::Ext4 { .. }) { Fate::Stop } else { Fate::Kill };
    Plan { fate, kinds: CHANGES, nth, again: 0, part }
}

fn at_call(
    lane: &mut Lane,
    scene: &Scene,
    durability: &'static str,
    nth: i64,
    lottery: u32,
    random: &mut ChaCha8Rng,
) -> (Verdict, bool) {
    let opening = Opening { durability, threads: 1 };
    let (places, mut timeline) = set_up(lane, scene.start, opening);
    let plan = cut_plan(lane.disk(), nth, random);
    let (board, control) = (lane.board, lane.control);
    board.reset();
    control.watch(&places.root);
    let recording = lane.disk().begin(control);
    control.set_lottery(lottery);
    let child = Child::start(|| {
        let (engine, outcome) =
            scene.play(&places, opening, board, &|| control.arm(plan), &|| control.disarm());
        outcome.unwrap_or_else(|error| panic!("{}: {error:?}", scene.name));
        std::mem::forget(engine);
        stop_self()
    });
    let is_in_time = child.wait_for_stop(patience());
    lane.disk().cut(&child);
    let end = if is_in_time { child.finish(patience()) } else { End::Hung };
    control.disarm();
    control.set_lottery(0);
    let (fired, at) = (control.fired() > 0, control.first());
    lane.disk().come_back(control, recording, random);
    boot(lane, &places);
    let broken = |kind, what: String| {
        let at = if fired { &at } else { "its end" };
        Verdict::Broken(kind, format!("{} {durability}, power cut at {at}: {what}", scene.name))
    };
    let judged = match end {
        End::Signal(libc::SIGKILL) => {
            let under_way = scene.account(&mut timeline, board, &places);
            let is_open = matches!(scene.target, Target::Open) && scene.start == Start::Closed;
            let is_closed = under_way.is_none() && matches!(scene.target, Target::Op(Op::Close));
            let promise = if is_open || is_closed { Promise::All } else { after_cut(durability) };
            look(lane, &places, opening, &mut timeline, promise, under_way.as_ref())
        }
        End::Hung => Err(Verdict::Broken(HANG, "before the cut".to_owned())),
        end => Err(Verdict::Broken(CRASH, format!("before the cut: {end:?}"))),
    };
    control.set_boot_id(None);
    match judged {
        Ok(()) => (Verdict::Survived, fired),
        Err(Verdict::Broken(kind, what)) => (broken(kind, what), fired),
        Err(other) => (other, fired),
    }
}

fn look(
    lane: &Lane,
    places: &Places,
    opening: Opening,
    timeline: &mut Timeline,
    promise: Promise,
    under_way: Option<&Op>,
) -> Result<(), Verdict> {
    lane.control.watch(Path::new("nothing is watched"));
    let found = judge(places, opening, timeline, promise, under_way)?;
    judge_files_after_power(places, opening, timeline, under_way)?;
    timeline.go_on_from(found);
    Ok(())
}

/// A machine that stops again and again at random moments, with any operations.
fn at_moments(
    lane: &mut Lane,
    number: u64,
    durability: &'static str,
    lottery: u32,
    random: &mut ChaCha8Rng,
) -> Verdict {
    const SESSIONS: u64 = 4;
    let opening = Opening { durability, threads: random.random_range(1..=2) };
    let (places, mut timeline) = set_up(lane, Start::Closed, opening);
    let mut next = 100;
    for session in 0..SESSIONS {
        let ops = session_ops(lane.options.seed ^ number, next, &timeline);
        next += ops.len() as u64;
        let (board, control) = (lane.board, lane.control);
        board.reset();
        lane.disk().settle(control);
        control.watch(&places.root);
        let recording = lane.disk().begin(control);
        control.set_lottery(lottery);
        let child = Child::start(|| {
            let engine: Engine = work(&ops, &places, opening, board);
            std::mem::forget(engine);
            kill_self()
        });
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        lane.disk().cut(&child);
        let end = child.finish(patience());
        control.set_lottery(0);
        lane.disk().come_back(control, recording, random);
        boot(lane, &places);
        // Between the cut and the kill calls may have failed, and the worker with them.
        if !matches!(end, End::Signal(libc::SIGKILL) | End::Panicked(_)) {
            return Verdict::Broken(CRASH, format!("{durability}, session {session}: {end:?}"));
        }
        let under_way = account(&ops, &mut timeline, board, &places);
        let judged =
            look(lane, &places, opening, &mut timeline, after_cut(durability), under_way.as_ref());
        lane.control.set_boot_id(None);
        if let Err(Verdict::Broken(kind, what)) = judged {
            let name = under_way.map_or("nothing", |op| op.name());
            return Verdict::Broken(
                kind,
                format!("{durability}, session {session}, {name} under way: {what}"),
            );
        }
        forget_old(&mut timeline, &places);
        boot(lane, &places);
    }
    lane.control.set_boot_id(None);
    Verdict::Survived
}

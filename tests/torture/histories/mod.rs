//! Histories: random acts on a storage with a time to live, while the machine's clock jumps both
//! ways, over kills and power cuts. After each, and at random moments, memory, disk and a plain
//! reference agree: no row is lost, and none is back that was gone.

mod dumps;
mod engine;
mod filters;
mod groups;
mod look;
mod past;
mod script;
mod state;
mod travel;
mod worker;
mod worlds;

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::control::{CHANGES, Fate, Plan};
use crate::disk::Disk;
use crate::engine::{DURABILITIES, Places};
use crate::lanes::Lane;
use crate::script::random;
use crate::system::{Child, End, kill_self, stop_self};
use crate::tally::{CLOSED, CRASH, HANG, LOST, Verdict, WRONG};
use past::{Ended, Opening, Past};
use script::{Act, START_MS, clock, session};
use travel::read_state;
use worker::Session;

/// Seconds that rows live; 0 for ever.
const TTLS: [u64; 6] = [0, 1, 60, 3600, 2 * 86_400, 40 * 86_400];
/// A session that takes longer hangs: it takes a second, a few with wide rows.
const PATIENCE: Duration = Duration::from_secs(120);
/// Trials of a campaign that nobody has given a number of.
const TRIALS: u64 = 1000;
/// One in so many trials is on a disk that loses its power, which takes ten times as long.
const CUTS: u32 = 30;
/// One in so many has wide rows, which take ten times as long, too.
const WIDE_ROWS: u32 = 60;

/// There is no end of histories: the first so many of the seed.
pub fn exhaustive(lane: &mut Lane) {
    for number in 0..TRIALS {
        if lane.is_over() {
            return;
        }
        if !lane.is_mine(number) {
            continue;
        }
        if let Some(verdict) = trial(lane, number) {
            lane.record(&verdict, &format!("--seed {} --repeat {number}", lane.options.seed));
        }
    }
}

pub fn repeat(_: &mut Lane, name: &str) -> Verdict {
    panic!("'{name}' is not the number of a history")
}

/// How the sessions of a trial end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Close,
    /// After the last act.
    Kill,
    /// At the n-th call that changes anything on disk, counted from the beginning or once the
    /// storage is open; writes also in part.
    AtCall {
        nth: i64,
        part: u32,
        is_opening: bool,
    },
    AtMoment(u64),
}

/// One history, a function of the seed and its number.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x6869_7374, number);
    let is_cut = random.random_range(0..CUTS) == 0;
    if !lane.is_wanted(if is_cut { "power cuts" } else { "kills" }) {
        return None;
    }
    lane.control.set_boot_id(None);
    let mut history = History::new(lane, is_cut, random);
    let sessions = history.random.random_range(2..5);
    for number in 0..sessions {
        if let Err(verdict) = history.session(number, number + 1 == sessions) {
            return Some(verdict);
        }
    }
    Some(Verdict::Survived)
}

struct History<'a> {
    lane: &'a mut Lane,
    random: ChaCha8Rng,
    is_cut: bool,
    is_wide: bool,
    places: Places,
    past: Past,
    ttl_s: u64,
    /// Each session has a time to live of its own.
    is_ttl_changed: bool,
}

impl History<'_> {
    fn new(lane: &mut Lane, is_cut: bool, mut random: ChaCha8Rng) -> History<'_> {
        let places = if is_cut { lane.disk().places() } else { lane.stage.trial() };
        let _ = std::fs::remove_dir_all(&places.root);
        std::fs::create_dir_all(places.root.join("out")).expect("the scratch directory has room");
        let ttl_s = TTLS[random.random_range(0..TTLS.len())];
        let is_wide = ttl_s != 0 && random.random_range(0..WIDE_ROWS) == 0;
        let is_ttl_changed = !is_wide && random.random_range(0..6) == 0;
        History {
            lane,
            random,
            is_cut,
            is_wide,
            places,
            past: Past::new(START_MS),
            ttl_s,
            is_ttl_changed,
        }
    }

    fn opening(&mut self) -> Opening {
        if self.is_ttl_changed {
            self.ttl_s = TTLS[self.random.random_range(0..TTLS.len())];
        }
        let (ttl_ms, latest) = (1000 * self.ttl_s, self.past.latest);
        let clock =
            if self.random.random() { latest } else { clock(&mut self.random, latest, ttl_ms) };
        let durability = DURABILITIES[self.random.random_range(0..3)];
        let (threads, is_wide) = (self.random.random_range(1..=2), self.is_wide);
        Opening { durability, threads, ttl_ms, clock, is_wide }
    }

    fn stop(&mut self) -> Stop {
        let random = &mut self.random;
        let nth = 1i64 << random.random_range(0..9);
        let nth = nth + random.random_range(0..nth);
        let part = if random.random() { random.random_range(1..256) } else { 0 };
        match random.random_range(0..20) {
            0..4 => Stop::Close,
            4..7 => Stop::Kill,
            7..10 => Stop::AtMoment(random.random_range(0..30_000)),
            10..14 => Stop::AtCall { nth, part, is_opening: true },
            _ => Stop::AtCall { nth, part, is_opening: false },
        }
    }

    /// One session, and what becomes of it.
    fn session(&mut self, number: u64, is_last: bool) -> Result<(), Verdict> {
        let opening = self.opening();
        let stop = if is_last { Stop::Close } else { self.stop() };
        let mut known = self.past.known();
        let mut acts = Vec::new();
        if self.is_wide && number == 0 {
            known.now = known.now.max(opening.clock);
            acts = script::held_open(&mut self.random, opening.ttl_ms, &mut known);
        }
        acts.extend(session(&mut self.random, opening.ttl_ms, known));
        if is_last {
            acts.push(Act::Look);
            acts.extend(
                self.past.known().checkpoints.into_iter().rev().take(2).map(Act::OpenCheckpoint),
            );
        }
        let looks_first = self.random.random_range(0..4) == 0;
        let (end, is_resolved) = self.play(opening, stop, &acts, looks_first);
        let broken = |kind, what: &str| {
            let how = format!("session {number}, {opening:?}, ended by {stop:?}: {what}");
            Err(Verdict::Broken(kind, how))
        };
        let ended = match &end {
            End::Returned(_) => Ended::Closed,
            End::Signal(libc::SIGKILL) if self.is_cut => Ended::Cut,
            End::Signal(libc::SIGKILL) => Ended::Killed,
            End::Hung => return broken(HANG, "no end in time"),
            End::Panicked(what) => return broken(kind_of(what), what),
            end => return broken(CRASH, &format!("{end:?}")),
        };
        let board = self.lane.board;
        let done = if is_resolved { board.acknowledged() - 1 } else { 0 };
        if is_resolved {
            self.past.resolve(read_state(&self.resolved()));
        }
        acts[..done].iter().for_each(|act| self.past.acknowledge(act, opening));
        let under_way =
            board.under_way().filter(|step| *step > 0).map(|step| acts[step - 1].clone());
        self.past.stop(ended, is_resolved, under_way, opening, &self.places);
        self.note(ended, is_resolved);
        Ok(())
    }

    fn note(&mut self, ended: Ended, is_resolved: bool) {
        let what = match (ended, is_resolved) {
            (Ended::Closed, _) => "sessions closed",
            (Ended::Killed, true) => "killed",
            (Ended::Killed, false) => "killed while opening",
            (Ended::Cut, true) => "power cut",
            (Ended::Cut, false) => "power cut while opening",
        };
        self.lane.tally.note(what);
    }

    fn resolved(&self) -> std::path::PathBuf {
        self.lane.stage.scratch.join("resolved")
    }

    /// Runs the session in a process of its own; how that ended, and whether it had found out what
    /// there was.
    fn play(
        &mut self,
        opening: Opening,
        stop: Stop,
        acts: &[Act],
        looks_first: bool,
    ) -> (End, bool) {
        let (board, control, resolved) = (self.lane.board, self.lane.control, self.resolved());
        let is_mounted = self.is_cut && matches!(self.lane.disk(), Disk::Ext4 { .. });
        let fate = if is_mounted { Fate::Stop } else { Fate::Kill };
        board.reset();
        control.disarm();
        if self.is_cut {
            self.boot();
            self.lane.disk().settle(control);
        }
        control.watch(&self.places.root);
        let is_cut = self.is_cut && stop != Stop::Close;
        let recording = if is_cut { self.lane.disk().begin(control) } else { None };
        let session = Session {
            places: &self.places,
            past: self.past.clone(),
            opening,
            acts,
            looks_first,
            resolved: &resolved,
            is_told: self.lane.options.repeat.is_some(),
        };
        let arm = |wanted: bool| {
            if let Stop::AtCall { nth, part, is_opening } = stop
                && is_opening == wanted
            {
                control.arm(Plan { fate, kinds: CHANGES, nth, again: 0, part });
            }
        };
        let child = Child::start(|| {
            let mut engine = session
                .run(board, || arm(true), || arm(false))
                .unwrap_or_else(|why| panic!("{why}"));
            if stop == Stop::Close {
                control.disarm();
                engine.close().unwrap_or_else(|why| panic!("closing: {why}"));
                return Vec::new();
            }
            // Neither closed nor destroyed.
            std::mem::forget(engine);
            if is_mounted { stop_self() } else { kill_self() }
        });
        let end = self.end(child, stop, is_cut);
        control.disarm();
        if is_cut {
            let (disk, random) = (self.lane.disk.as_ref().expect("it is there"), &mut self.random);
            disk.come_back(control, recording, random);
        }
        (end, board.acknowledged() > 0)
    }

    /// Waits for the worker, or ends it.
    fn end(&mut self, child: Child, stop: Stop, is_cut: bool) -> End {
        if let Stop::AtMoment(micros) = stop {
            std::thread::sleep(Duration::from_micros(micros));
            if is_cut {
                self.lane.disk().cut(&child);
            } else {
                child.kill();
            }
        } else if is_cut && matches!(self.lane.disk(), Disk::Ext4 { .. }) {
            if !child.wait_for_stop(PATIENCE) {
                child.kill();
                let _ = child.finish(PATIENCE);
                return End::Hung;
            }
            self.lane.disk().cut(&child);
        }
        child.finish(PATIENCE)
    }

    /// The machine starts: its boot id is another one.
    fn boot(&mut self) {
        let file = self.places.root.with_file_name("boot_id");
        let before = std::fs::read_to_string(&file)
            .ok()
            .and_then(|id| id.trim().parse().ok())
            .unwrap_or(0u64);
        std::fs::write(&file, format!("{}\n", before + 1)).expect("the scratch directory has room");
        self.lane.control.set_boot_id(Some(&file));
    }
}

/// What kind of fault a worker's last words tell of.
fn kind_of(what: &str) -> &'static str {
    let begins = |words: &[&str]| words.iter().any(|word| what.starts_with(word));
    if what.contains("differ") {
        LOST
    } else if begins(&["opening", "reopen"]) {
        CLOSED
    } else {
        WRONG
    }
}

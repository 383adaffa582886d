//! Kills at any moment: afterwards every row, count and step are those of the acknowledged calls,
//! with or without the one under way.
//!
//! The test runs itself again as the process to be killed, which prints a line for each call that
//! returned.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::rerun;
use crate::history::{Action, SPECS, call, now};
use crate::reference::{Engine, Opening, Reference, model, references};
use crate::{seed, setting};

const CHILD: &str = "DAMO_KILLS_CHILD";
const DURABILITIES: [&str; 2] = ["process", "power"];
const CACHES: [i64; 3] = [65536, 65536, 3 << 20];

/// The orders of a child: how to open, and which calls to make; without calls it only opens.
#[derive(Clone, Copy, Debug)]
struct Session {
    opening: Opening,
    seed: u64,
    number: u64,
    first: u64,
    calls: bool,
}

impl Session {
    fn to_text(self) -> String {
        let Opening { durability, cache_bytes, threads } = self.opening;
        let Session { seed, number, first, calls, .. } = self;
        format!("{durability} {cache_bytes} {threads} {seed} {number} {first} {}", u8::from(calls))
    }

    fn from_text(text: &str) -> Session {
        let (durability, numbers) = text.split_once(' ').unwrap();
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let durability = DURABILITIES.into_iter().find(|known| *known == durability).unwrap();
        let opening =
            Opening { durability, cache_bytes: numbers[0] as i64, threads: numbers[1] as i64 };
        Session {
            opening,
            seed: numbers[2],
            number: numbers[3],
            first: numbers[4],
            calls: numbers[5] == 1,
        }
    }
}

fn run_until_killed(dir: &Path, session: Session) {
    let mut out = std::io::stdout();
    // The test harness may have begun a line.
    write!(out, "\nopening\n").unwrap();
    let mut models = references(&SPECS);
    models.iter_mut().for_each(|model| model.faces = model.spec.faces(session.number));
    let engine = Engine::open(dir, session.opening, &models);
    if !session.calls {
        // The parent kills the child, or it ends by itself as abruptly.
        std::thread::sleep(Duration::from_millis(20));
        // SAFETY: raise takes a number and touches no memory.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    for index in session.first.. {
        let call = call(session.seed, index);
        models[call.group].faces[call.face].optimizer.set_learning_rate(call.rate).unwrap();
        engine.make(&call);
        // This fails once the parent is gone.
        writeln!(out, "ack {index}").unwrap();
    }
}

/// A child and its stdout.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The first call that is not acknowledged.
    next: u64,
}

impl Running {
    fn start(dir: &Path, session: Session) -> Running {
        let mut child = rerun(every_acknowledged_call_survives_kills_exactly_once)
            .env(CHILD, session.to_text())
            .env("DAMO_KILLS_DIR", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, next: session.first }
    }

    /// Reads until the child begins to open.
    fn wait_for_opening(&mut self) {
        assert!(
            self.lines.any(|line| line.is_ok_and(|line| line == "opening")),
            "the child did not start"
        );
    }

    /// Reads one line; false at the end. A line that is cut off acknowledges nothing.
    fn read(&mut self) -> bool {
        let Some(Ok(line)) = self.lines.next() else { return false };
        if let Some(index) = line.strip_prefix("ack ").and_then(|index| index.parse::<u64>().ok()) {
            assert_eq!(index, self.next);
            self.next += 1;
        }
        true
    }

    fn wait_for(&mut self, next: u64) {
        while self.next < next {
            assert!(self.read(), "the child ended by itself");
        }
    }

    /// Kills the child; returns the first call that was not acknowledged.
    fn kill(mut self) -> u64 {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the child failed");
        while self.read() {}
        self.next
    }
}

/// Lets a child make calls and kills it; returns the first call that was not acknowledged.
fn make_calls_and_kill(dir: &Path, session: Session, random: &mut ChaCha8Rng) -> u64 {
    let mut running = Running::start(dir, session);
    let micros =
        |random: &mut ChaCha8Rng, most| Duration::from_micros(random.random_range(0..most));
    match random.random_range(0..6) {
        0 => {
            running.wait_for_opening();
            std::thread::sleep(micros(random, 60_000));
        }
        1 | 2 => {
            // The kill comes amid a flush, or a compaction.
            let is_flush = |index: &u64| {
                matches!(call(session.seed, *index).action, Action::Flush | Action::Compact)
            };
            let skipped = random.random_range(0..4);
            let flush = (session.first..).filter(is_flush).nth(skipped).unwrap();
            running.wait_for(flush);
            std::thread::sleep(micros(random, 12_000));
        }
        _ => {
            running.wait_for(session.first + random.random_range(0..150));
            std::thread::sleep(micros(random, 10_000));
        }
    }
    running.kill()
}

/// Kills a child while it opens what another child left.
fn kill_while_opening(dir: &Path, session: Session, random: &mut ChaCha8Rng) {
    let mut running = Running::start(dir, Session { calls: false, ..session });
    running.wait_for_opening();
    std::thread::sleep(Duration::from_micros(random.random_range(0..40_000)));
    running.kill();
}

/// Whether the storage holds what the reference has; if so, the reference forgets what a kill took.
fn settle(engine: &Engine, models: &mut [Reference]) -> Result<(), String> {
    let read = engine.read(models);
    models.iter().zip(&read).try_for_each(|(model, read)| model.compare(read, true))?;
    for (model, read) in models.iter_mut().zip(&read) {
        model.rows.retain(|key, _| read.rows.contains_key(key));
        // The parent closes cleanly.
        model.rows.values_mut().for_each(|row| row.fleeting = false);
    }
    Ok(())
}

#[test]
fn every_acknowledged_call_survives_kills_exactly_once() {
    if let Ok(session) = std::env::var(CHILD) {
        let dir = std::env::var_os("DAMO_KILLS_DIR").unwrap();
        return run_until_killed(Path::new(&dir), Session::from_text(&session));
    }
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 1);
    for durability in DURABILITIES {
        let dir = tempfile::tempdir().unwrap();
        let mut models = references(&SPECS);
        let (mut first, mut evictions, mut under_way, mut openings) = (0, 0, 0, 0);
        let kills = setting("DAMO_KILLS", 10);
        for number in 0..kills {
            let opening = |random: &mut ChaCha8Rng| Opening {
                durability,
                cache_bytes: CACHES[random.random_range(0..CACHES.len())],
                threads: random.random_range(1..=3),
            };
            models.iter_mut().for_each(|model| model.faces = model.spec.faces(number));
            let mut session =
                Session { opening: opening(&mut random), seed, number, first, calls: true };
            let next = make_calls_and_kill(dir.path(), session, &mut random);
            for _ in 0..random.random_range(0..3) {
                session.opening = opening(&mut random);
                kill_while_opening(dir.path(), session, &mut random);
                openings += 1;
            }
            (first..next).for_each(|index| model(&mut models, &call(seed, index)));
            let mut with_next = models.clone();
            model(&mut with_next, &call(seed, next));
            let opening = opening(&mut random);
            models.iter_mut().for_each(|model| model.now = now(next));
            let engine = Engine::open(dir.path(), opening, &models);
            first = next;
            if let Err(why) = settle(&engine, &mut models) {
                models = with_next;
                first += 1;
                under_way += 1;
                settle(&engine, &mut models).unwrap_or_else(|why_not| {
                    panic!(
                        "{durability}, session {number}, {next} calls acknowledged: {why}\n\
                         with the call under way: {why_not}"
                    )
                });
            }
            evictions += engine.stat("evictions");
        }
        println!(
            "{durability}: {kills} kills in calls and {openings} in openings, {first} calls, \
             {under_way} that were under way; reading back evicted {evictions} rows"
        );
        assert!(
            first > 20 * kills && evictions > 1000 * kills,
            "too little happened between kills"
        );
    }
}

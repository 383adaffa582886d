//! Kills at any moment of training steps over 26 groups: all groups are at the same step, which is
//! the last that was acknowledged or the one after it, and every row has exactly these steps.
//!
//! The test runs itself again as the process to be killed, which prints a line for each step that
//! returned. `scripts/torture steps` does the same thousands of times.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::rerun;
use crate::steps::{DURABILITIES, Engine, Opening, Reference};
use crate::{seed, setting};

const CHILD: &str = "DAMO_STEP_KILLS_CHILD";
const DIR: &str = "DAMO_STEP_KILLS_DIR";

fn to_text(opening: Opening, seed: u64, first: u64) -> String {
    let Opening { durability, cache_bytes, threads } = opening;
    format!("{durability} {cache_bytes} {threads} {seed} {first}")
}

fn train_until_killed(dir: &Path, text: &str) {
    let words: Vec<&str> = text.split(' ').collect();
    let durability = DURABILITIES.into_iter().find(|known| *known == words[0]).unwrap();
    let (cache_bytes, threads) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    let (seed, first): (u64, u64) = (words[3].parse().unwrap(), words[4].parse().unwrap());
    let mut out = std::io::stdout();
    // The test harness may have begun a line.
    write!(out, "\nopening\n").unwrap();
    let mut engine = Engine::open(dir, Opening { durability, cache_bytes, threads });
    for index in first.. {
        match threads {
            // Two clients send these again.
            2 => engine.send(seed, index),
            _ => engine.make(seed, index),
        }
        // This fails once the parent is gone.
        writeln!(out, "ack {index}").unwrap();
    }
}

/// Lets a child make steps and kills it; returns the first step that was not acknowledged.
fn train_and_kill(
    dir: &Path,
    opening: Opening,
    seed: u64,
    first: u64,
    random: &mut ChaCha8Rng,
) -> u64 {
    let mut child = rerun(steps_over_many_groups_survive_kills_whole)
        .env(CHILD, to_text(opening, seed, first))
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = first;
    // A line that is cut off acknowledges nothing.
    let mut acknowledge = |line: &str| {
        let index = line.strip_prefix("ack ").and_then(|index| index.parse::<u64>().ok());
        if let Some(index) = index {
            assert_eq!(index, next);
            next += 1;
        }
        next
    };
    // One kill in six comes while the storage is opened.
    let is_early = random.random_range(0..6) == 0;
    let wanted = if is_early { first } else { first + random.random_range(1..60) };
    let reached = lines.by_ref().map(Result::unwrap).any(|line| match is_early {
        true => line == "opening",
        false => acknowledge(&line) >= wanted,
    });
    assert!(reached, "the child ended by itself");
    std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL), "the child failed");
    lines.map_while(Result::ok).map(|line| acknowledge(&line)).max().unwrap_or(wanted).max(wanted)
}

#[test]
fn steps_over_many_groups_survive_kills_whole() {
    if let Ok(text) = std::env::var(CHILD) {
        let dir = std::env::var_os(DIR).unwrap();
        return train_until_killed(Path::new(&dir), &text);
    }
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 26);
    let kills = setting("DAMO_STEP_KILLS", 10);
    for durability in DURABILITIES {
        let dir = tempfile::tempdir().unwrap();
        let (mut reference, mut under_way) = (Reference::new(), 0);
        for kill in 0..kills {
            let opening = Opening::draw(&mut random, durability);
            let first = reference.steps();
            let next = train_and_kill(dir.path(), opening, seed, first, &mut random);
            (first..next).for_each(|index| reference.make(seed, index));
            let found = Engine::open(dir.path(), Opening::draw(&mut random, durability)).read();
            if let Err(why) = reference.compare(&found) {
                reference.make(seed, next);
                reference.compare(&found).unwrap_or_else(|why_not| {
                    panic!(
                        "{durability}, kill {kill}, {next} steps acknowledged: {why}\n\
                         with the step under way: {why_not}"
                    )
                });
                under_way += 1;
            }
        }
        let steps = reference.steps();
        println!("{durability}: {kills} kills, {steps} steps, {under_way} that were under way");
        assert!(steps > 5 * kills, "too little happened between kills");
    }
}

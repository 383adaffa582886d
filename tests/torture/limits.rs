//! Limits: a full disk, and less than a process needs of files, memory or threads, during one
//! operation. Then they are lifted, and work must go on without opening again.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::RngExt;

use crate::engine;
use crate::engine::{DURABILITIES, Opening, Places};
use crate::examine::Refusal;
use crate::inquest::{Inquest, Report, go_on};
use crate::judge::{answer, encode, patience};
use crate::lanes::Lane;
use crate::scenes::{Scene, find, scenes};
use crate::script::random;
use crate::system::{become_user, ignore_size_signal, in_child, is_root, set_limit};
use crate::tally::Verdict;

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Bytes on the disk.
    Disk,
    /// Bytes of a file.
    FileSize,
    /// Files beside those that are open.
    Files,
    /// Address space beside what there is.
    Memory,
    /// Threads beside those that there are.
    Threads,
}

const LIMITS: [(&str, Limit); 5] = [
    ("disk", Limit::Disk),
    ("fsize", Limit::FileSize),
    ("nofile", Limit::Files),
    ("as", Limit::Memory),
    ("nproc", Limit::Threads),
];
/// The bytes of the tmpfs that becomes full.
const DISK_BYTES: u64 = 24 << 20;
/// A user that has no other processes; each lane has its own.
const USER: u32 = 61_000;

impl Limit {
    /// How much there is at a step, from 0 on.
    fn amount(self, step: u64) -> u64 {
        match self {
            Limit::Disk => step * 4096,
            Limit::FileSize => step * 512,
            Limit::Files | Limit::Threads => step,
            Limit::Memory => step * (256 << 10),
        }
    }

    /// The step from which on nothing is short.
    fn steps(self) -> u64 {
        match self {
            Limit::Disk => 64,
            Limit::FileSize => 160,
            Limit::Files => 24,
            Limit::Memory => 200,
            Limit::Threads => 10,
        }
    }
}

/// Every operation with every limit at every step.
pub fn exhaustive(lane: &mut Lane) {
    let mut number = 0;
    for scene in scenes() {
        for durability in DURABILITIES {
            for (name, limit) in LIMITS {
                for step in 0..limit.steps() {
                    number += 1;
                    let case = format!("{}:{durability}:{name}:{step}", scene.name);
                    if !lane.is_mine(number) || !lane.is_wanted(&case) {
                        continue;
                    }
                    if lane.is_over() {
                        return;
                    }
                    let verdict = one(lane, &scene, durability, limit, step);
                    lane.record(&verdict, &format!("--repeat {case}"));
                }
            }
        }
    }
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x6c69_6d69_7473, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    let wanted = lane.wanted_scenes(durability);
    let scene = wanted.get(random.random_range(0..wanted.len().max(1)))?;
    let limit = LIMITS[random.random_range(0..LIMITS.len())].1;
    Some(one(lane, scene, durability, limit, random.random_range(0..limit.steps())))
}

/// `SCENE:DURABILITY:LIMIT:STEP`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, name: &str) -> Verdict {
    let parts: Vec<&str> = name.split(':').collect();
    let [scene, durability, limit, step] = parts[..] else {
        panic!("SCENE:DURABILITY:LIMIT:STEP is needed")
    };
    let (scene, durability) = (find(scene), engine::durability(durability));
    let limit = LIMITS.iter().find(|known| known.0 == limit).expect("a limit").1;
    one(lane, &scene, durability, limit, step.parse().expect("a number"))
}

fn one(
    lane: &mut Lane,
    scene: &Scene,
    durability: &'static str,
    limit: Limit,
    step: u64,
) -> Verdict {
    let opening = Opening { durability, threads: 1 + (step % 2) as i64 };
    let disk = (limit == Limit::Disk).then(|| SmallDisk::new(&lane.stage.scratch));
    let is_possible = match (limit, &disk) {
        (Limit::Disk, Some(disk)) => disk.is_mounted,
        (Limit::Threads, _) => is_root(),
        _ => true,
    };
    if !is_possible {
        lane.tally.note("limits that only root can set, left out");
        return Verdict::Survived;
    }
    let trial = disk.as_ref().map_or_else(|| lane.stage.trial(), SmallDisk::places);
    let timeline = lane.stage.set_up_at(&trial, scene.start, opening);
    let user = USER + lane.index as u32;
    if limit == Limit::Threads {
        give(&trial.root, user);
    }
    let board = lane.board;
    board.reset();
    let end = in_child(patience(), || {
        ignore_size_signal();
        if limit == Limit::Threads {
            become_user(user);
        }
        let before = std::cell::Cell::new(None);
        let begin = || before.set(Some(set(limit, step, &trial)));
        let end = || lift(limit, before.get(), &trial);
        let (engine, outcome) = scene.play(&trial, opening, board, &begin, &end);
        let outcome = outcome.map_err(|error| Refusal::new(scene.name, &error));
        encode(&go_on(scene, &trial, opening, engine, outcome))
    });
    lift(Limit::Disk, None, &trial);
    let judged = answer(end).and_then(|report: Report| {
        lane.tally.note(if report.outcome.is_ok() {
            "operations that had enough"
        } else {
            "operations that failed"
        });
        let promise = lane.stage.promise_of(scene, opening);
        Inquest::new(scene, &trial, opening, promise, &report).hold(timeline, &report)
    });
    match judged {
        Ok(()) => Verdict::Survived,
        Err(Verdict::Broken(kind, what)) => {
            let what =
                format!("{} {durability}, {limit:?} of {}: {what}", scene.name, limit.amount(step));
            Verdict::Broken(kind, what)
        }
        Err(other) => other,
    }
}

fn resource(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Disk => None,
        Limit::FileSize => Some(libc::RLIMIT_FSIZE),
        Limit::Files => Some(libc::RLIMIT_NOFILE),
        Limit::Memory => Some(libc::RLIMIT_AS),
        Limit::Threads => Some(libc::RLIMIT_NPROC),
    }
}

/// Sets the limit. Returns what it was before.
fn set(limit: Limit, step: u64, trial: &Places) -> u64 {
    let amount = limit.amount(step);
    let Some(resource) = resource(limit) else {
        fill(&ballast(trial), amount);
        return 0;
    };
    let used = match limit {
        Limit::Files => 1 + numbers_in("/proc/self/fd").max().unwrap_or(0),
        Limit::Threads => numbers_in("/proc/self/task").count() as u64,
        Limit::Memory => address_space(),
        _ => 0,
    };
    set_limit(resource, used + amount)
}

fn lift(limit: Limit, before: Option<u64>, trial: &Places) {
    match (resource(limit), before) {
        (Some(resource), Some(before)) => drop(set_limit(resource, before)),
        _ => drop(fs::remove_file(ballast(trial))),
    }
}

fn numbers_in(dir: &str) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
}

fn address_space() -> u64 {
    const PAGE: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// Beside the trial, on the same disk.
fn ballast(trial: &Places) -> PathBuf {
    trial.root.with_file_name("ballast")
}

/// Leaves so many bytes free.
fn fill(ballast: &Path, free: u64) {
    let Ok(file) = fs::File::create(ballast) else { return };
    let mut len = 0;
    // A tmpfs takes whole pages until it has no more.
    for page in [1 << 20, 4096] {
        while write_at(&file, len, page) {
            len += page;
        }
    }
    drop(file.set_len(len.saturating_sub(free)));
}

fn write_at(file: &fs::File, at: u64, len: u64) -> bool {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&vec![1; len as usize], at).is_ok()
}

fn give(path: &Path, user: u32) {
    let _ = chown(path, Some(user), Some(user));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), user);
    }
}

/// A tmpfs that is soon full, for one trial.
struct SmallDisk {
    mount: PathBuf,
    is_mounted: bool,
}

impl SmallDisk {
    fn new(scratch: &Path) -> SmallDisk {
        let mount = scratch.join("small");
        fs::create_dir_all(&mount).expect("the scratch directory has room");
        let is_mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={DISK_BYTES}"))
            .arg("tmpfs")
            .arg(&mount));
        SmallDisk { mount, is_mounted }
    }

    fn places(&self) -> Places {
        Places { root: self.mount.join("trial") }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            run(Command::new("umount").arg(&self.mount));
        }
    }
}

fn run(command: &mut Command) -> bool {
    command.env_remove("LD_PRELOAD").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

//! Steps over 26 groups beside calls on single groups, pins and flushes, on the same rows, by
//! threads of a process that is killed.
//!
//! A row has a column for each kind of call, which counts: gradients are -1, and the rate is 1. So
//! whatever the order of the calls was, a row tells how many of each kind it has had. Right is: the
//! steps are the same in all groups, all rows of a group have the same calls, and of each thread
//! those that returned, and the one under way or not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use damo::embedding::{Conflicts, Embedding};
use damo::error::Status;
use damo::initializer::Initializer;
use damo::kernels::{Rows, RowsMut};
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::step::Step;
use damo::storage::Storage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::judge::{answer, encode, patience};
use crate::lanes::Lane;
use crate::script::random;
use crate::step_history::{DURABILITIES, GROUPS, Opening};
use crate::steps::{Kill, killed, new_dir, was_killed};
use crate::system::{AllAtomic, End, in_child, kill_self, shared};
use crate::tally::{LOST, Verdict};

/// What a row counts, by its column: steps, calls on the group, commits.
const DIM: usize = 3;
const STEPS: usize = 0;
const CALLS: usize = 1;
const COMMITS: usize = 2;
/// A session that is not killed ends after this time.
const LONGEST: Duration = Duration::from_millis(400);

/// Calls of a thread, by group: those that have begun, and those that have returned. Steps are
/// counted under group 0.
struct Counts {
    begun: [AtomicU64; GROUPS],
    made: [AtomicU64; GROUPS],
}

/// By the column that they change.
type Board = [Counts; DIM];

// SAFETY: atomics only.
unsafe impl AllAtomic for Board {}

impl Counts {
    /// Makes a call, and notes it. A call that makes no change returns false.
    fn count(&self, group: usize, call: impl FnOnce() -> bool) {
        let made = self.made[group].load(SeqCst);
        self.begun[group].store(made + 1, SeqCst);
        match call() {
            true => self.made[group].store(made + 1, SeqCst),
            false => self.begun[group].store(made, SeqCst),
        }
    }

    /// The calls that may have been made.
    fn may_be(&self, group: usize) -> std::ops::RangeInclusive<u64> {
        self.made[group].load(SeqCst)..=self.begun[group].load(SeqCst)
    }
}

/// The rows of a group: few calls hold them, or take turns at shards; commits of many have the
/// group alone.
fn keys_of(group: usize) -> Vec<i64> {
    (0..[5, 40, 300][group % 3]).map(|key| key * 7 - 9).collect()
}

struct Open {
    storage: Storage,
    embeddings: Vec<Arc<Embedding>>,
}

impl Open {
    fn new(dir: &Path, opening: Opening) -> Open {
        let storage = opening.open(dir);
        let embedding = |group: usize| {
            let rate = Params::new().with("gamma", 1.0).unwrap();
            let sgd = Arc::new(Optimizer::new("sgd", &rate, None).unwrap());
            let zeros = Arc::new(Initializer::new("zeros", &Params::new()).unwrap());
            let options = Params::new().with("duplicates", "sum").unwrap();
            Embedding::new(storage.clone(), sgd, zeros, DIM, group as u32, &options).unwrap()
        };
        let embeddings = (0..GROUPS).map(|group| Arc::new(embedding(group))).collect();
        Open { storage, embeddings }
    }
}

/// Gradients that count one call in a column of each row.
fn ones(rows: usize, column: usize) -> Vec<f32> {
    let of_row = |at: usize| if at % DIM == column { -1.0 } else { 0.0 };
    (0..rows * DIM).map(of_row).collect()
}

fn make_steps(open: &Open, counts: &Counts) -> ! {
    let mut step = Step::new(open.storage.clone());
    let keys: Vec<_> = (0..GROUPS).map(keys_of).collect();
    for (embedding, keys) in open.embeddings.iter().zip(&keys) {
        step.add(embedding, keys, None).unwrap();
    }
    let gradients: Vec<_> = keys.iter().map(|keys| ones(keys.len(), STEPS)).collect();
    let gradients: Vec<_> =
        gradients.iter().map(|rows| Rows::new(rows, DIM, DIM).unwrap()).collect();
    let mut rows: Vec<_> = keys.iter().map(|keys| vec![0.0; DIM * keys.len()]).collect();
    for number in 0.. {
        if number % 3 == 0 {
            let outputs = rows.iter_mut().map(|rows| RowsMut::new(rows, DIM, DIM).unwrap());
            step.lookup(outputs.collect()).unwrap();
        }
        counts.count(0, || step.apply_gradients(&gradients).map(|()| true).unwrap());
    }
    unreachable!("steps without end")
}

fn make_calls(open: &Open, counts: &Counts, random: &mut ChaCha8Rng) -> ! {
    loop {
        let group = random.random_range(0..GROUPS);
        let keys = keys_of(group);
        let gradients = ones(keys.len(), CALLS);
        let embedding = &open.embeddings[group];
        counts
            .count(group, || embedding.apply_gradients(&keys, &gradients).map(|()| true).unwrap());
    }
}

/// Pins rows of one or two groups, and commits or forgets them, in any order.
fn make_commits(open: &Open, counts: &Counts, random: &mut ChaCha8Rng) -> ! {
    let mut pins = [open.embeddings[0].new_pin(), open.embeddings[1].new_pin()];
    loop {
        let first = random.random_range(0..GROUPS);
        let groups = [first, random.random_range(0..GROUPS)];
        let used = random.random_range(1..=2);
        for (pin, group) in pins.iter_mut().zip(groups).take(used) {
            open.embeddings[group].pin_rows(&keys_of(group), pin).unwrap();
            pin.rows_mut().iter_mut().skip(COMMITS).step_by(DIM).for_each(|count| *count += 1.0);
        }
        if random.random() {
            std::thread::sleep(Duration::from_micros(random.random_range(0..500)));
        }
        let mut order: Vec<usize> = (0..used).collect();
        if random.random() {
            order.reverse();
        }
        for index in order {
            let pin = &mut pins[index];
            let conflicts = match random.random_range(0..6) {
                0 => {
                    pin.clear();
                    continue;
                }
                1 => Conflicts::Refuse,
                _ => Conflicts::Add,
            };
            counts.count(groups[index], || match pin.commit(conflicts) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.status(), Status::Busy, "{error}");
                    false
                }
            });
        }
    }
}

/// In a worker: all threads at work, until it is killed. It kills itself after a while.
fn work(dir: &Path, opening: Opening, seed: u64, board: &'static Board) -> ! {
    let open: &'static Open = Box::leak(Box::new(Open::new(dir, opening)));
    // A thread that fails ends the process by another signal.
    fn start(work: impl FnOnce() + Send + 'static) {
        std::thread::spawn(|| catch_unwind(AssertUnwindSafe(work)).map_err(|_| abort()));
    }
    start(move || make_steps(open, &board[STEPS]));
    start(move || make_calls(open, &board[CALLS], &mut random(seed, 1)));
    start(move || make_commits(open, &board[COMMITS], &mut random(seed, 2)));
    let started = Instant::now();
    let mut random = random(seed, 3);
    while started.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        match random.random_range(0..3) {
            0 => open.storage.flush().unwrap(),
            1 => drop(open.storage.row_count(None).unwrap()),
            _ => {
                let embedding = &open.embeddings[random.random_range(0..GROUPS)];
                let keys: Vec<i64> = (1000..1000 + random.random_range(1..400)).collect();
                embedding.lookup(&keys, &mut vec![0.0; DIM * keys.len()]).unwrap();
            }
        }
    }
    kill_self()
}

/// What a storage has of each group: its global step, and the different rows of [`keys_of`] with
/// their update counts.
type Found = Vec<(i64, Vec<(Vec<f32>, u64)>)>;

fn look(dir: &Path, opening: Opening) -> Found {
    let open = Open::new(dir, opening);
    let mut rows = BTreeMap::new();
    let mut scan = open.storage.rows(None).unwrap();
    while let Some(row) = scan.next_row().unwrap() {
        rows.insert((usize::from(row.group), row.key), (row.data, row.update_num));
    }
    let of_group = |(group, embedding): (usize, &Arc<Embedding>)| {
        let none = || (vec![0.0; DIM], 0);
        let keys = keys_of(group).into_iter();
        let mut found: Vec<_> =
            keys.map(|key| rows.remove(&(group, key)).unwrap_or_else(none)).collect();
        found.dedup();
        (embedding.step().unwrap(), found)
    };
    let found = open.embeddings.iter().enumerate().map(of_group).collect();
    // Rows that only a lookup has made.
    assert!(rows.values().all(|(data, updates)| *updates == 0 && data.iter().all(|w| *w == 0.0)));
    found
}

/// What each row of a group counts, if it is right.
fn check(found: &Found, board: &Board) -> Result<Vec<[u64; DIM]>, String> {
    let mut all = Vec::new();
    for (group, (step, rows)) in found.iter().enumerate() {
        let [(row, updates)] = &rows[..] else {
            return Err(format!("group {group} has rows of several moments: {rows:?}"));
        };
        let counts = [STEPS, CALLS, COMMITS].map(|column| row[column] as u64);
        let may_be =
            [board[STEPS].may_be(0), board[CALLS].may_be(group), board[COMMITS].may_be(group)];
        if counts.iter().zip(&may_be).any(|(count, may_be)| !may_be.contains(count)) {
            return Err(format!("group {group} has {counts:?}, not of {may_be:?}"));
        }
        if *step as u64 != counts[STEPS] + counts[CALLS] {
            return Err(format!("group {group} has step {step} and {counts:?}"));
        }
        if *updates != counts.iter().sum::<u64>() {
            return Err(format!("group {group} has {updates} updates and {counts:?}"));
        }
        all.push(counts);
    }
    match all.iter().position(|counts| counts[STEPS] != all[0][STEPS]) {
        Some(group) => Err(format!("group 0 has {:?}, group {group} {:?}", all[0], all[group])),
        None => Ok(all),
    }
}

/// One trial: a storage that is killed several times.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed, number);
    let durability = DURABILITIES[random.random_range(0..DURABILITIES.len())];
    if !lane.is_wanted(&format!("beside:{durability}")) {
        return None;
    }
    let (dir, board) = (new_dir(lane), shared::<Board>());
    for count in 0..random.random_range(2..=5) {
        let opening = Opening::draw(&mut random, durability);
        let kill = Kill::draw(&mut random, (120, 400_000, 200_000));
        let seed: u64 = random.random();
        let end = killed(lane, &dir, kill, |arm| {
            arm();
            work(&dir, opening, seed, board)
        });
        let judged = judge(&dir, Opening::draw(&mut random, durability), end, board);
        match judged {
            Ok(under_way) if under_way > 0 => lane.tally.note("kills with calls beside steps"),
            Ok(_) => {}
            Err(Verdict::Broken(kind, what)) => {
                let what = format!("beside, {opening:?}, kill {count}, {kill:?}: {what}");
                return Some(Verdict::Broken(kind, what));
            }
            Err(other) => return Some(other),
        }
    }
    Some(Verdict::Survived)
}

/// Looks at what is left, and lets the board go on from there. Returns how many calls on single
/// groups it has.
fn judge(dir: &Path, opening: Opening, end: End, board: &Board) -> Result<u64, Verdict> {
    was_killed(end)?;
    let found: Found = answer(in_child(patience(), || encode(&look(dir, opening))))?;
    let counts = check(&found, board).map_err(|why| Verdict::Broken(LOST, why))?;
    for (group, counts) in counts.iter().enumerate() {
        for (column, count) in counts.iter().enumerate() {
            let of = if column == STEPS { 0 } else { group };
            board[column].begun[of].store(*count, SeqCst);
            board[column].made[of].store(*count, SeqCst);
        }
    }
    Ok(counts.iter().map(|counts| counts[CALLS] + counts[COMMITS]).sum())
}

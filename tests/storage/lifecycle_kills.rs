//! Processes are killed amid loading or making a checkpoint, and dumping: the storage opens with
//! the whole content of before or after, and nothing half-made has a final name.
//!
//! A test runs itself again as the process to be killed, which prints a line for each operation
//! that returned. DAMO_LIFECYCLE_KILLS is the number of kills of each test.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use damo::embedding::Embedding;
use damo::storage::{DumpOptions, Storage};
use damo::table::Table;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{initializer, int, lookup, open, optimizer, params, rerun, sgd, text};

const ROLE: &str = "DAMO_LIFECYCLE_KILLS_ROLE";
const DIR: &str = "DAMO_LIFECYCLE_KILLS_DIR";
const DIM: usize = 8;
/// The keys of the two checkpoints, which share some.
const KEYS: [std::ops::Range<i64>; 2] = [0..6000, 4000..12_000];

fn kills() -> u64 {
    std::env::var("DAMO_LIFECYCLE_KILLS").map_or(10, |kills| kills.parse().unwrap())
}

fn step(embedding: &Embedding, keys: std::ops::Range<i64>) {
    let keys: Vec<i64> = keys.collect();
    embedding.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
}

/// Group, key, updates and floats of every row, and the steps of group 0.
type Content = (Vec<(u16, i64, u64, Vec<f32>)>, i64);

fn content(storage: &Storage) -> Content {
    let (mut rows, mut all) = (storage.rows(None).unwrap(), Vec::new());
    while let Some(row) = rows.next_row().unwrap() {
        all.push((row.group, row.key, row.update_num, row.data));
    }
    (all, sgd(storage, DIM, 0.5, &[]).step().unwrap())
}

/// The content after one more step of these keys, all of which have rows.
fn stepped(content: &Content, keys: &std::ops::Range<i64>) -> Content {
    let (mut rows, steps) = content.clone();
    for (group, key, updates, data) in &mut rows {
        if *group == 0 && keys.contains(key) {
            *updates += 1;
            data.iter_mut().for_each(|weight| *weight -= 0.5);
        }
    }
    (rows, steps + 1)
}

/// A child and its stdout.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Operations that were acknowledged.
    done: u64,
}

impl Running {
    fn start(test: impl Fn(), role: &str, dir: &Path) -> Running {
        let mut child =
            rerun(test).env(ROLE, role).env(DIR, dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.is_ok_and(|line| line == "begin")),
            "the child did not start"
        );
        Running { child, lines, done: 0 }
    }

    fn read(&mut self) -> bool {
        let Some(Ok(line)) = self.lines.next() else { return false };
        // A line that is cut off acknowledges nothing.
        if line == format!("done {}.", self.done) {
            self.done += 1;
        }
        true
    }

    /// Kills the child in or after this operation; returns the number of acknowledged ones.
    fn kill(mut self, operation: u64, wait: Duration) -> u64 {
        while self.done < operation {
            assert!(self.read(), "the child ended by itself");
        }
        std::thread::sleep(wait);
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the child failed");
        while self.read() {}
        self.done
    }
}

/// In the child: tells the parent that an operation returned.
fn acknowledge(operation: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "done {operation}.").unwrap();
}

fn begin() {
    let mut out = std::io::stdout();
    // The test harness may have begun a line.
    write!(out, "\nbegin\n").unwrap();
}

/// Kills a child while it opens what another child left.
fn kill_while_opening(test: impl Fn(), dir: &Path, random: &mut ChaCha8Rng) {
    let wait = Duration::from_micros(random.random_range(0..30_000));
    Running::start(test, "open", dir).kill(0, wait);
}

fn open_and_sleep(dir: &Path) {
    begin();
    let _storage = open(dir);
    std::thread::sleep(Duration::from_secs(600));
}

/// Loads the two checkpoints in turn, with a step after each.
fn load_until_killed(dir: &Path, first: u64) {
    let storage = open(&dir.join("storage"));
    let embedding = sgd(&storage, DIM, 0.5, &[]);
    begin();
    for operation in 0.. {
        let which = (first + operation / 2) % 2;
        if operation.is_multiple_of(2) {
            storage.load_from_checkpoint(dir.join(format!("checkpoint{which}"))).unwrap();
        } else {
            step(&embedding, KEYS[which as usize].clone());
        }
        acknowledge(operation);
    }
}

#[test]
fn killed_while_loading_a_checkpoint_it_has_what_was_there_or_what_was_loaded() {
    if let Ok(role) = std::env::var(ROLE) {
        let dir = std::env::var_os(DIR).unwrap();
        return match role.as_str() {
            "open" => open_and_sleep(&Path::new(&dir).join("storage")),
            first => load_until_killed(Path::new(&dir), first.parse().unwrap()),
        };
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let checkpoints = [0, 1].map(|which| {
        let storage = open(&dir.join(format!("source{which}")));
        let embedding = sgd(&storage, DIM, 0.5, &[]);
        (0..3 + 4 * which).for_each(|_| step(&embedding, KEYS[which].clone()));
        // A group that the other checkpoint does not have.
        let (adam, ones) = (optimizer("adam", &[]), initializer("ones", &[]));
        let group = 7 + which as u32;
        let other =
            Embedding::new(storage.clone(), adam, ones, 3 + which, group, &params(&[])).unwrap();
        lookup(&other, &[1, 2, 3]);
        storage.checkpoint(dir.join(format!("checkpoint{which}"))).unwrap();
        content(&storage)
    });
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut before = {
        let storage = open(&dir.join("storage"));
        step(&sgd(&storage, DIM, 0.5, &[]), 0..5);
        content(&storage)
    };
    let (mut in_the_midst, mut taken, mut unfinished) = (0, 0, 0);
    for number in 0..kills() {
        let running = Running::start(
            killed_while_loading_a_checkpoint_it_has_what_was_there_or_what_was_loaded,
            &(number % 2).to_string(),
            dir,
        );
        let operation = 2 * random.random_range(0..3);
        let done = running.kill(operation, Duration::from_micros(random.random_range(0..25_000)));
        let marks = [".damo-restoring", ".damo-restored", ".damo-restoring.new"];
        let is_unfinished = || marks.iter().any(|mark| dir.join("storage").join(mark).exists());
        unfinished += u64::from(is_unfinished());
        for _ in 0..random.random_range(0..3) {
            kill_while_opening(
                killed_while_loading_a_checkpoint_it_has_what_was_there_or_what_was_loaded,
                dir,
                &mut random,
            );
        }
        let after = |operations: u64| match operations.checked_sub(1) {
            None => before.clone(),
            Some(last) => {
                let which = ((number + last / 2) % 2) as usize;
                let loaded = &checkpoints[which];
                if last.is_multiple_of(2) { loaded.clone() } else { stepped(loaded, &KEYS[which]) }
            }
        };
        let storage = open(&dir.join("storage"));
        assert!(!is_unfinished());
        let found = content(&storage);
        in_the_midst += u64::from(done.is_multiple_of(2));
        if found != after(done) {
            assert!(
                found == after(done + 1),
                "kill {number}: neither the state after {done} operations nor the next"
            );
            taken += 1;
        }
        assert_eq!(storage.verify().unwrap().rows, found.0.len() as u64);
        // It goes on from there.
        step(&sgd(&storage, DIM, 0.5, &[]), 4000..4010);
        before = content(&storage);
    }
    println!(
        "{} kills, {in_the_midst} of them in the midst of loading; {unfinished} left work to the \
         next opening; {taken} had the operation under way",
        kills()
    );
    assert!(in_the_midst > kills() / 4, "{in_the_midst}");
}

const DUMPED: std::ops::Range<i64> = 0..30_000;

/// Steps, dumps in both formats, and makes a checkpoint, repeatedly under the same names.
fn write_until_killed(dir: &Path) {
    let storage = open(&dir.join("storage"));
    let embedding = sgd(&storage, DIM, 0.5, &[]);
    begin();
    for operation in 0.. {
        match operation % 4 {
            0 => step(&embedding, DUMPED),
            1 | 2 => dump(&storage, dir, operation % 4 == 2),
            _ => {
                let (checkpoint, old) = (dir.join("out/checkpoint"), dir.join("old"));
                if fs::rename(&checkpoint, &old).is_ok() {
                    fs::remove_dir_all(&old).unwrap();
                }
                storage.checkpoint(checkpoint).unwrap();
            }
        }
        acknowledge(operation);
    }
}

fn dump(storage: &Storage, dir: &Path, is_table: bool) {
    let format = if is_table { "table" } else { "classic" };
    let options =
        DumpOptions::read(&params(&[("format", text(format)), ("group", int(0))])).unwrap();
    storage.dump(dir.join("out").join(format), options, |_, _| true).unwrap();
}

/// The number of steps that every row of a dump or storage has had.
fn steps_of(weights: &[f32]) -> i64 {
    assert_eq!(weights.len(), DIM * (DUMPED.end - DUMPED.start) as usize);
    assert!(weights.iter().all(|weight| *weight == weights[0]), "half of a step");
    ((1.0 - weights[0]) / 0.5) as i64
}

fn steps_of_storage(storage: &Storage) -> i64 {
    let (rows, steps) = content(storage);
    assert_eq!(steps_of(&rows.into_iter().flat_map(|row| row.3).collect::<Vec<f32>>()), steps);
    steps
}

fn steps_of_classic(path: &Path) -> i64 {
    let bytes = fs::read(path).unwrap();
    let (head, rows) = bytes.split_at(12 * 256);
    assert_eq!(head[4 * 256..4 * 256 + 8], (DUMPED.end as u64).to_le_bytes());
    let weights = rows.chunks_exact(12 + 4 * DIM).flat_map(|row| row[12..].chunks(4));
    steps_of(
        &weights.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect::<Vec<_>>(),
    )
}

fn steps_of_table(path: &Path) -> i64 {
    let table = Table::open(path).unwrap();
    let keys: Vec<i64> = DUMPED.collect();
    let mut weights = vec![f32::NAN; keys.len() * DIM];
    table.lookup(0, &keys, &mut weights, None).unwrap();
    steps_of(&weights)
}

#[test]
fn killed_while_dumping_or_making_a_checkpoint_nothing_is_half_there() {
    if let Ok(role) = std::env::var(ROLE) {
        let dir = std::env::var_os(DIR).unwrap();
        return match role.as_str() {
            "open" => open_and_sleep(&Path::new(&dir).join("storage")),
            _ => write_until_killed(Path::new(&dir)),
        };
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    let mut steps = 1;
    step(&sgd(&open(&dir.join("storage")), DIM, 0.5, &[]), DUMPED);
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let (mut under_way, mut leftovers, mut checkpoints) = ([0; 4], 0, 0);
    for number in 0..kills() {
        let running = Running::start(
            killed_while_dumping_or_making_a_checkpoint_nothing_is_half_there,
            "write",
            dir,
        );
        let operation = random.random_range(0..8);
        let done = running.kill(operation, Duration::from_micros(random.random_range(0..12_000)));
        under_way[(done % 4) as usize] += 1;
        if random.random_bool(0.3) {
            kill_while_opening(
                killed_while_dumping_or_making_a_checkpoint_nothing_is_half_there,
                dir,
                &mut random,
            );
        }
        let storage = open(&dir.join("storage"));
        let (found, least) = (steps_of_storage(&storage), steps + done.div_ceil(4) as i64);
        assert!(
            (least..=least + i64::from(done.is_multiple_of(4))).contains(&found),
            "kill {number}: {found}, {least}"
        );
        storage.verify().unwrap();

        let names = || {
            fs::read_dir(&out)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        };
        for name in names() {
            let taken = match name.as_str() {
                "classic" => steps_of_classic(&out.join(name)),
                "table" => steps_of_table(&out.join(name)),
                "checkpoint" => {
                    checkpoints += 1;
                    // It loads, so it is whole, and it opens.
                    open(&dir.join("loaded")).load_from_checkpoint(out.join(&name)).unwrap();
                    let opened = steps_of_storage(&open(&out.join(&name)));
                    assert_eq!(steps_of_storage(&open(&dir.join("loaded"))), opened);
                    opened
                }
                hidden => {
                    assert!(hidden.starts_with('.'), "{hidden}");
                    leftovers += 1;
                    continue;
                }
            };
            assert!((1..=found).contains(&taken), "kill {number}: {taken} of {found} steps");
        }
        // The next dumps and checkpoint of these names remove what was left.
        dump(&storage, dir, false);
        dump(&storage, dir, true);
        let _ = fs::remove_dir_all(out.join("checkpoint"));
        let _ = fs::remove_dir_all(dir.join("old"));
        storage.checkpoint(out.join("checkpoint")).unwrap();
        let mut left: Vec<String> = names().collect();
        left.sort();
        assert_eq!(left, ["checkpoint", "classic", "table"]);
        assert_eq!(
            (steps_of_classic(&out.join("classic")), steps_of_table(&out.join("table"))),
            (found, found)
        );
        steps = found;
    }
    println!(
        "{} kills; under way were {under_way:?} steps, classic dumps, table dumps, checkpoints; \
         {leftovers} files and directories were left, {checkpoints} checkpoints were whole",
        kills()
    );
}

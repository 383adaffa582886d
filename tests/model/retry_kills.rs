//! Calls that are sent again: two clients send each call one to three times, to a process that is
//! killed again and again. Afterwards every float, update count and global step is that of a run
//! without retries or kills.
//!
//! The test runs itself again as the server, which a client asks through a socket. A client that
//! gets no answer sends the call to the next server. Gradients depend on the weights that were
//! looked up, so a wrong row spreads. Both clients go on at the same time: the expected steps say
//! in which order their calls are made, and that a lookup comes after all calls before it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use damo::embedding::{CallId, Embedding};
use damo::error::{Result, Status};
use damo::kernels::{Rows, RowsMut};
use damo::params::Params;
use damo::step::Step;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::common::{float, initializer, int, optimizer, params, rerun, text};
use crate::steps::{CACHES, DURABILITIES};
use crate::{seed, setting};

const CHILD: &str = "DAMO_RETRY_KILLS_CHILD";
const GROUPS: usize = 6;
const CLIENTS: u64 = 2;
const KEYS: i64 = 60;
/// A flush follows each call with this remainder.
const FLUSHES: usize = 25;

fn dim(group: usize) -> usize {
    3 + 5 * group
}

/// A call of the history: a step over several groups, or of one group only.
struct Call {
    parts: Vec<(usize, Vec<i64>)>,
    /// It is no step, but a call on an embedding.
    is_single: bool,
    /// The global steps of the parts' groups before it.
    expected: Vec<i64>,
}

/// The first `count` calls of a seed.
fn history(seed: u64, count: usize) -> Vec<Call> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x0ce);
    let mut steps = [0; GROUPS];
    let call = |_| {
        let is_single = random.random_range(0..3) == 0;
        let most = if random.random_range(0..10) == 0 { 300 } else { 10 };
        let mut groups: Vec<usize> = (0..GROUPS).filter(|_| random.random()).collect();
        if groups.is_empty() || is_single {
            groups = vec![random.random_range(0..GROUPS)];
        }
        let mut part = |group| {
            let keys = 0..random.random_range(0..most);
            (group, keys.map(|_| random.random_range(0..KEYS)).collect())
        };
        let parts: Vec<_> = groups.into_iter().map(&mut part).collect();
        let expected = parts.iter().map(|(group, _)| {
            steps[*group] += 1;
            steps[*group] - 1
        });
        let expected = expected.collect();
        Call { parts, is_single, expected }
    };
    (0..count).map(call).collect()
}

/// The gradients of a call, from the weights that it has looked up.
fn gradients(index: usize, weights: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let of = |(at, weight): (usize, &f32)| weight * 0.5 + ((at * 7 + index) % 13) as f32 / 16.0;
    weights.iter().map(|part| part.iter().enumerate().map(of).collect()).collect()
}

/// An open storage with its embeddings.
struct Opened {
    storage: Storage,
    embeddings: Vec<Arc<Embedding>>,
}

impl Opened {
    fn new(dir: &Path, options: &Params) -> Opened {
        let storage = Storage::open(dir, 0, options).unwrap();
        let names = ["adam", "sgd", "adagrad", "ftrl", "rowwise_adagrad", "amsgrad"];
        let embedding = |group: usize| {
            let optimizer = optimizer(names[group], &[("learning_rate", float(0.05))]);
            let start = initializer("random_uniform", &[]);
            let options = params(&[("duplicates", text(["sum", "mean"][group % 2]))]);
            let (storage, dim) = (storage.clone(), dim(group));
            Embedding::new(storage, optimizer, start, dim, group as u32, &options).unwrap()
        };
        let embeddings = (0..GROUPS).map(|group| Arc::new(embedding(group))).collect();
        Opened { storage, embeddings }
    }

    fn step_of(&self, call: &Call) -> Step {
        let mut step = Step::new(self.storage.clone());
        for (group, keys) in &call.parts {
            step.add(&self.embeddings[*group], keys, None).unwrap();
        }
        step
    }

    fn look_up(&self, call: &Call) -> Result<Vec<Vec<f32>>> {
        let outputs = call.parts.iter().map(|(group, keys)| vec![0.0; keys.len() * dim(*group)]);
        let mut outputs: Vec<Vec<f32>> = outputs.collect();
        if call.is_single {
            let (group, keys) = &call.parts[0];
            self.embeddings[*group].lookup_at(call.expected[0], keys, &mut outputs[0])?;
            return Ok(outputs);
        }
        let rows = outputs
            .iter_mut()
            .zip(&call.parts)
            .map(|(rows, (group, _))| RowsMut::new(rows, dim(*group), dim(*group)).unwrap());
        let expected: Vec<_> = call.expected.iter().copied().map(Some).collect();
        self.step_of(call).lookup_at(&expected, rows.collect())?;
        Ok(outputs)
    }

    /// Makes a call: once if it has an id, plainly otherwise.
    fn apply(&self, call: &Call, id: Option<CallId>, gradients: &[Vec<f32>]) -> Result<bool> {
        let (group, keys) = &call.parts[0];
        let embedding = &self.embeddings[*group];
        match (call.is_single, id) {
            (true, None) => embedding.apply_gradients(keys, &gradients[0]).map(|()| true),
            (true, Some(id)) => {
                let expected = Some(call.expected[0]);
                embedding.apply_gradients_once(id, expected, keys, &gradients[0])
            }
            (false, id) => {
                let mut step = self.step_of(call);
                let rows = gradients
                    .iter()
                    .zip(&call.parts)
                    .map(|(rows, (group, _))| Rows::new(rows, dim(*group), dim(*group)).unwrap());
                let rows: Vec<_> = rows.collect();
                let Some(id) = id else { return step.apply_gradients(&rows).map(|()| true) };
                let expected: Vec<_> = call.expected.iter().copied().map(Some).collect();
                step.apply_gradients_once(id, &expected, &rows)
            }
        }
    }

    /// Every row as bits, and the groups' steps.
    fn content(&self) -> (Vec<Row>, Vec<i64>) {
        let (mut rows, mut found) = (self.storage.rows(None).unwrap(), Vec::new());
        while let Some(row) = rows.next_row().unwrap() {
            let bits = row.data.iter().map(|float| float.to_bits()).collect();
            found.push((row.group, row.key, bits, row.update_num));
        }
        (found, self.embeddings.iter().map(|embedding| embedding.step().unwrap()).collect())
    }
}

/// Group, key, floats as bits, and update count.
type Row = (u16, i64, Vec<u32>, u64);

/// What a client asks for.
#[derive(Serialize, Deserialize)]
enum Request {
    LookUp(usize),
    Apply { index: usize, client: u64, sequence: u64, gradients: Vec<Vec<u32>>, die: Die },
}

/// When the server kills itself.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Die {
    Before,
    /// The call is made, and its answer is lost.
    After,
    Not,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Weights(Vec<Vec<u32>>),
    Applied(bool),
    Mismatch,
}

fn bits(floats: &[Vec<f32>]) -> Vec<Vec<u32>> {
    floats.iter().map(|part| part.iter().map(|float| float.to_bits()).collect()).collect()
}

fn floats(bits: &[Vec<u32>]) -> Vec<Vec<f32>> {
    bits.iter().map(|part| part.iter().map(|bits| f32::from_bits(*bits)).collect()).collect()
}

/// How a server is opened, and what it serves.
#[derive(Clone, Serialize, Deserialize)]
struct Server {
    dir: PathBuf,
    socket: PathBuf,
    durability: String,
    cache_bytes: i64,
    threads: i64,
    seed: u64,
    calls: usize,
}

fn die() {
    // SAFETY: raise takes a number and touches no memory.
    unsafe { libc::raise(libc::SIGKILL) };
}

impl Server {
    fn open(&self) -> Opened {
        let options = params(&[
            ("durability", text(&self.durability)),
            ("cache_bytes", int(self.cache_bytes)),
            ("threads", int(self.threads)),
        ]);
        Opened::new(&self.dir, &options)
    }

    fn start(&self) -> Child {
        rerun(calls_that_are_sent_again_are_made_once)
            .env(CHILD, serde_json::to_string(self).unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Serves until it is killed.
    fn serve(&self) {
        let (opened, history) = (self.open(), history(self.seed, self.calls));
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).unwrap();
        thread::scope(|scope| {
            for stream in listener.incoming() {
                let (opened, history) = (&opened, &history);
                scope.spawn(move || serve_client(opened, history, stream.unwrap()));
            }
        });
    }
}

fn serve_client(opened: &Opened, history: &[Call], mut stream: UnixStream) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(std::result::Result::ok) {
        let outcome = match serde_json::from_str(&line).unwrap() {
            Request::LookUp(index) => {
                opened.look_up(&history[index]).map(|rows| Answer::Weights(bits(&rows)))
            }
            Request::Apply { index, client, sequence, gradients, die: when } => {
                if when == Die::Before {
                    die();
                }
                let id = Some(CallId { client, sequence });
                let done = opened.apply(&history[index], id, &floats(&gradients));
                if when == Die::After && done.is_ok() {
                    die();
                }
                if index % FLUSHES == FLUSHES - 1 {
                    opened.storage.flush().unwrap();
                }
                done.map(Answer::Applied)
            }
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) if error.status() == Status::StepMismatch => Answer::Mismatch,
            Err(error) => {
                eprintln!("{error}");
                std::process::abort()
            }
        };
        let answer = serde_json::to_string(&answer).unwrap();
        if writeln!(stream, "{answer}").is_err() {
            return;
        }
    }
}

/// What has happened.
#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    kills: AtomicU64,
    lost_answers: AtomicU64,
    made_all_the_same: AtomicU64,
    repeated: AtomicU64,
    early: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client: it asks until it has an answer.
struct Client<'a> {
    socket: &'a Path,
    stream: Option<BufReader<UnixStream>>,
    tally: &'a Tally,
    /// Another client, or the server, has failed.
    is_over: &'a AtomicBool,
}

impl Client<'_> {
    /// None when the server was killed before it answered.
    fn ask(&mut self, request: &Request) -> Option<Answer> {
        assert!(!self.is_over.load(Ordering::SeqCst), "another thread failed");
        if self.stream.is_none() {
            self.stream = UnixStream::connect(self.socket).ok().map(BufReader::new);
        }
        let Some(stream) = &mut self.stream else {
            thread::sleep(Duration::from_millis(1));
            return None;
        };
        let request = serde_json::to_string(request).unwrap();
        let mut answer = String::new();
        let sent = writeln!(stream.get_mut(), "{request}");
        if sent.is_err() || stream.read_line(&mut answer).is_err() || !answer.ends_with('\n') {
            self.stream = None;
            Tally::count(&self.tally.lost_answers);
            return None;
        }
        Tally::count(&self.tally.answers);
        Some(serde_json::from_str(&answer).unwrap())
    }

    /// Makes one call of the history.
    fn make(&mut self, index: usize, random: &mut ChaCha8Rng) {
        let weights = loop {
            match self.ask(&Request::LookUp(index)) {
                Some(Answer::Weights(weights)) => break floats(&weights),
                // The other client's call before it is not made yet.
                Some(_) => {
                    Tally::count(&self.tally.early);
                    thread::yield_now();
                }
                None => {}
            }
        };
        let gradients = bits(&gradients(index, &weights));
        let request = |die| Request::Apply {
            index,
            client: index as u64 % CLIENTS,
            // Rising, with gaps.
            sequence: 3 * index as u64,
            gradients: gradients.clone(),
            die,
        };
        let mut when = [Die::Before, Die::After, Die::Not, Die::Not, Die::Not, Die::Not]
            [random.random_range(0..6)];
        let mut is_again = false;
        let applied = loop {
            match self.ask(&request(when)) {
                Some(Answer::Applied(applied)) => break applied,
                Some(_) => panic!("call {index} was looked up, and not made, at its step"),
                None => (when, is_again) = (Die::Not, true),
            }
        };
        assert!(applied || is_again, "call {index} was stored before it was sent");
        if !applied {
            Tally::count(&self.tally.made_all_the_same);
        }
        // Sent again although it was answered.
        for _ in 0..random.random_range(0..3) {
            match self.ask(&request(Die::Not)) {
                Some(Answer::Applied(again)) => assert!(!again, "call {index} was made twice"),
                Some(_) => panic!("call {index} is stored, and its step was compared"),
                None => {}
            }
            Tally::count(&self.tally.repeated);
        }
    }
}

/// Ends the other threads when this one panics.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Kills the server at random moments, and starts the next one, until `is_over`.
fn kill_servers(server: &Server, is_over: &AtomicBool, tally: &Tally, random: &mut ChaCha8Rng) {
    while !is_over.load(Ordering::SeqCst) {
        let cache_bytes = CACHES[random.random_range(0..CACHES.len())];
        let threads = random.random_range(1..=3);
        let mut child = Server { cache_bytes, threads, ..server.clone() }.start();
        // One kill in eight comes while the storage is opened.
        let answers = if random.random_range(0..8) == 0 { 0 } else { random.random_range(1..60) };
        let wanted = tally.answers.load(Ordering::SeqCst) + answers;
        let is_up = |child: &mut Child| child.try_wait().unwrap().is_none();
        while tally.answers.load(Ordering::SeqCst) < wanted
            && !is_over.load(Ordering::SeqCst)
            && is_up(&mut child)
        {
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        if signal != Some(libc::SIGKILL) {
            is_over.store(true, Ordering::SeqCst);
            panic!("the server failed: {status}");
        }
        Tally::count(&tally.kills);
    }
}

fn run(durability: &str, seed: u64, calls: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server {
        dir: scratch.path().join("storage"),
        socket: scratch.path().join("socket"),
        durability: durability.to_owned(),
        cache_bytes: CACHES[0],
        threads: 1,
        seed,
        calls,
    };
    let (tally, is_over) = (Tally::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (tally, is_over, server) = (&tally, &is_over, &server);
        let killer = scope.spawn(move || {
            kill_servers(server, is_over, tally, &mut ChaCha8Rng::seed_from_u64(seed ^ 0x111));
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut random = ChaCha8Rng::seed_from_u64(seed ^ client << 32);
                    let mut me = Client { socket: &server.socket, stream: None, tally, is_over };
                    let _ends_others = OnPanic(is_over);
                    let own = (0..calls).filter(|index| *index as u64 % CLIENTS == client);
                    own.for_each(|index| me.make(index, &mut random));
                })
            })
            .collect();
        let outcomes: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        killer.join().unwrap();
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    let plain = Opened::new(&scratch.path().join("plain"), &Params::new());
    for (index, call) in history(seed, calls).iter().enumerate() {
        let weights = plain.look_up(call).unwrap();
        plain.apply(call, None, &gradients(index, &weights)).unwrap();
    }
    let (found, expected) = (server.open().content(), plain.content());
    assert_eq!(found.1, expected.1, "{durability}: steps");
    let wrong = found.0.iter().zip(&expected.0).find(|(found, expected)| found != expected);
    assert!(found.0.len() == expected.0.len() && wrong.is_none(), "{durability}: {wrong:?}");
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    println!(
        "{durability}: {calls} calls, {} kills, {} answers lost, {} calls of them made, {} sent \
         again, {} lookups too early",
        of(&tally.kills),
        of(&tally.lost_answers),
        of(&tally.made_all_the_same),
        of(&tally.repeated),
        of(&tally.early)
    );
    assert!(of(&tally.kills) as usize > calls / 12 && of(&tally.made_all_the_same) > 0);
}

#[test]
fn calls_that_are_sent_again_are_made_once() {
    if let Ok(text) = std::env::var(CHILD) {
        return serde_json::from_str::<Server>(&text).unwrap().serve();
    }
    let seed = seed();
    for durability in DURABILITIES {
        run(durability, seed, setting("DAMO_RETRY_CALLS", 60) as usize);
    }
}

//! A large merge is divided among threads, and goes on where none can be made for its parts.

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use damo::storage::Storage;

use crate::common::{int, is_alone, params, sgd};

const DIM: usize = 4096;
/// 288 MiB. RocksDB divides merges of more than 256.
const KEYS: i64 = 18 << 10;

static REFUSES: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

/// Takes the place of the C library's function for the whole process. While `REFUSES` is set, a
/// thread of RocksDB's that merges gets no other thread.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if REFUSES.load(Ordering::SeqCst) && name() == "rocksdb:low" {
        REFUSED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise. glibc writes the handle before it asks for the thread.
        unsafe { *thread = 0x5151 };
        return libc::EAGAIN;
    }
    // SAFETY: the name ends with a zero. The C library has a function of this type under it.
    let create: Create = unsafe {
        std::mem::transmute(libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr().cast()))
    };
    // SAFETY: the caller's promise.
    unsafe { create(thread, attributes, start, argument) }
}

/// The present thread's name.
fn name() -> String {
    fs::read_to_string("/proc/thread-self/comm").unwrap_or_default().trim_end().to_owned()
}

/// What RocksDB says of its merges, one line each.
fn merges(dir: &Path) -> Vec<String> {
    let log = fs::read_to_string(dir.join("LOG")).unwrap();
    let is_merge = |line: &&str| line.contains("\"event\": \"compaction_finished\"");
    log.lines().filter(is_merge).map(str::to_owned).collect()
}

/// The values of a number in lines of JSON.
fn numbers(lines: &[String], name: &str) -> Vec<u64> {
    let number = |line: &String| {
        let json = line.split_once("EVENT_LOG_v1").unwrap().1;
        serde_json::from_str::<serde_json::Value>(json.trim()).unwrap()[name].as_u64().unwrap()
    };
    lines.iter().map(number).collect()
}

#[test]
fn a_large_merge_is_divided_and_goes_on_without_threads() {
    if !is_alone(a_large_merge_is_divided_and_goes_on_without_threads) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let storage = Storage::open(scratch.path(), 0, &params(&[("threads", int(2))])).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    for keys in keys.chunks(1024) {
        let weights: Vec<f32> =
            keys.iter().flat_map(|key| (0..DIM).map(move |n| *key as f32 + n as f32)).collect();
        embedding.insert(keys, &weights).unwrap();
    }
    storage.flush().unwrap();
    let options = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    let options = options.filter(|path| path.to_string_lossy().contains("OPTIONS-"));
    let options = fs::read_to_string(options.max().unwrap()).unwrap();
    assert!(options.contains("max_subcompactions=2\n"), "{options}");
    // With a thread more, and without.
    for (refuses, merges_so_far) in [(false, 1), (true, 2)] {
        REFUSES.store(refuses, Ordering::SeqCst);
        let before = REFUSED.load(Ordering::SeqCst);
        thread::scope(|scope| {
            // Lookups go on meanwhile.
            let reader = scope.spawn(|| peek_all(&embedding, &keys));
            storage.compact().unwrap();
            reader.join().unwrap();
        });
        REFUSES.store(false, Ordering::SeqCst);
        let refused = REFUSED.load(Ordering::SeqCst) - before;
        // The part that merges, and the one that looks at the output.
        assert_eq!(refused, if refuses { 2 } else { 0 });
        let parts = numbers(&merges(scratch.path()), "num_subcompactions");
        assert_eq!(parts, vec![2; merges_so_far]);
    }
    drop((embedding, storage));
    let storage = Storage::open(scratch.path(), 0, &params(&[])).unwrap();
    peek_all(&sgd(&storage, DIM, 1.0, &[]), &keys);
    assert_eq!(storage.verify().unwrap().rows, KEYS as u64);
}

fn peek_all(embedding: &damo::embedding::Embedding, keys: &[i64]) {
    for keys in keys.chunks(1024) {
        let (weights, found) = crate::common::peek(embedding, keys);
        assert!(found.iter().all(|found| *found == 1));
        for (key, row) in keys.iter().zip(weights.chunks(DIM)) {
            assert!(row.iter().enumerate().all(|(n, weight)| *weight == *key as f32 + n as f32));
        }
    }
}

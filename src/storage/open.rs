//! Opening a directory: what is refused, and what a new one is given.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use parking_lot::{Mutex, RwLock};

use super::directory::{Directory, foreign};
use super::expiry::Expiry;
use super::exports::Exports;
use super::filters::Filters;
use super::pool::Pool;
use super::prefetch::Prefetcher;
use super::readers::Readers;
use super::replay::{self, JournalRecord};
use super::rocks::{Batch, FORMAT, Found, Rocks};
use super::writer::{Writer, WriterThread};
use super::{
    Call, Core, Counters, Handle, Storage, StorageOptions, checkpoint, directory, group, restore, rocks,
    round,
};
use crate::cache::Budget;
use crate::error::{Error, Result, Status};
use crate::params::Params;

/// What the document `format` says in a directory of this release.
const FORMAT_VERSION: &[u8] = b"damo 2";

impl Storage {
    /// Opens `dir`, creating it and its parents when they are not there.
    ///
    /// A row that has not been updated for `ttl_seconds` is gone; 0 is for ever.
    ///
    /// # Errors
    /// - `INVALID_ARGUMENT`: the path is a file, or a directory with other contents; an option is wrong
    /// - `BUSY`: another handle, here or in another process, has it open
    /// - `IO`: it cannot be created, read or written
    /// - `CORRUPTION`: its files are damaged
    /// - `NOT_SUPPORTED`: a format of a later release
    /// - `FORKED`: this process was forked from one that had opened a storage
    /// - `EXITING`: the process is ending
    pub fn open(dir: impl AsRef<Path>, ttl_seconds: i64, options: &Params) -> Result<Storage> {
        let dir = dir.as_ref();
        let _call = Call::begin()?;
        let options = StorageOptions::read(options)?;
        let expiry = Arc::new(Expiry::new(ttl_seconds)?);
        let directory = Directory::take(dir)?;
        let in_dir = |error| name_directory(error, dir);
        check_threads(&options).map_err(in_dir)?;
        let rocks = open_rocks(&directory, &options, &expiry).map_err(in_dir)?;
        directory.keep();
        let core = Arc::new(make_core(&directory, rocks, options, expiry).map_err(in_dir)?);
        let prefetcher = Prefetcher::new(&core);
        let writer = Some(WriterThread::start(&core).map_err(in_dir)?);
        // From here on dropping closes it in order.
        let storage = Storage {
            handle: Arc::new(Handle {
                core: Arc::clone(&core),
                prefetcher,
                writer,
                pid: std::process::id(),
                dir: directory,
                closing: None,
            }),
        };
        let record = core.rocks().and_then(|rocks| JournalRecord::read(&rocks)).map_err(in_dir)?;
        let last = replay::replay(&core, record).map_err(in_dir)?;
        replay::start_journal(&core, last).map_err(in_dir)?;
        core.is_open.store(true, Ordering::Release);
        Ok(storage)
    }

    /// As [`Storage::open`], of a storage that is there already.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none in `dir`; as [`Storage::open`].
    pub fn open_existing(dir: impl AsRef<Path>, ttl_seconds: i64, options: &Params) -> Result<Storage> {
        let dir = dir.as_ref();
        if !directory::may_hold_storage(dir) && !restore::is_committed(dir) {
            let what = if dir.exists() { "holds no damo storage" } else { "does not exist" };
            let message = format!("{what}; the directory of a storage is needed");
            return Err(name_directory(Error::new(Status::NotFound, message), dir));
        }
        Storage::open(dir, ttl_seconds, options)
    }
}

fn make_core(
    directory: &Directory,
    rocks: Rocks,
    options: StorageOptions,
    expiry: Arc<Expiry>,
) -> Result<Core> {
    round::prepare_folder(directory.path())?;
    let groups = group::load_all(&rocks)?;
    let budget = Budget::new(options.cache_bytes);
    budget.lend(rocks.metadata_bytes()?);
    Ok(Core {
        exports: Mutex::new(Exports::read(&rocks, &expiry)?),
        rocks: RwLock::new(Some(Arc::new(rocks))),
        dir: directory.path().to_owned(),
        groups: Mutex::new(groups),
        counters: Counters::default(),
        filters: Filters::default(),
        budget: Arc::new(budget),
        pool: Pool::new(options.threads)?,
        readers: Readers::default(),
        writer: Writer::default(),
        journal: OnceLock::new(),
        last_number: AtomicU64::new(0),
        is_open: AtomicBool::new(false),
        stepping: RwLock::new(()),
        contents: RwLock::new(()),
        is_lost: AtomicBool::new(false),
        checkpoints: Mutex::new(()),
        rounds: Mutex::new(()),
        expiry,
        cut_number: AtomicU64::new(0),
        cut_is_open: AtomicBool::new(false),
        last_import: Mutex::new(None),
        reserved_numbers: Mutex::new(0),
        options,
    })
}

/// Makes sure that as many threads can be made as RocksDB will make: it aborts the process when one cannot.
fn check_threads(options: &StorageOptions) -> Result<()> {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut threads = Vec::new();
    let mut failure = None;
    for _ in 0..rocks::background_threads(options) {
        let held = Arc::clone(&held);
        // All of them are alive until the sender goes.
        let wait = move || {
            let _ = held.lock().recv();
        };
        match thread::Builder::new().name("damo-probe".to_owned()).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure =
                    Some(Error::io(format!("only {} threads can be made here: {error}", threads.len())));
                break;
            }
        }
    }
    drop(release);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    failure.map_or(Ok(()), Err)
}

fn open_rocks(directory: &Directory, options: &StorageOptions, expiry: &Arc<Expiry>) -> Result<Rocks> {
    restore::finish(directory.path())?;
    let has_database = directory.has_database()?;
    let is_checkpoint = has_database && checkpoint::List::check(directory.path())?.is_some();
    directory.touch_rocksdb();
    if has_database {
        match Rocks::find(directory.path())? {
            Found::Damo => {}
            Found::OtherFormat(format) => return Err(other_format(&format)),
            Found::ForeignRocksDb => {
                return Err(foreign("it holds a RocksDB database that damo did not write"));
            }
        }
    }
    if is_checkpoint {
        // Its files change from now on, and the list would say that they are damaged.
        remove_list(directory.path())
            .map_err(|error| Error::io(format!("{} cannot be removed: {error}", checkpoint::LIST)))?;
    }
    let rocks = open_here(directory.path(), options, expiry)?;
    if rocks.read_meta(FORMAT)?.is_none() && rocks.is_empty()? {
        let mut batch = Batch::default();
        batch.put_meta(FORMAT.to_owned(), FORMAT_VERSION.to_vec());
        rocks.write(batch, true)?;
    }
    check_format(&rocks)?;
    Ok(rocks)
}

/// For good, before any other file changes.
fn remove_list(dir: &Path) -> std::io::Result<()> {
    std::fs::remove_file(dir.join(checkpoint::LIST))?;
    checkpoint::sync_dir(dir)
}

/// Refuses a database that this release does not read.
///
/// # Errors
/// `NOT_SUPPORTED`, `INVALID_ARGUMENT`.
pub(super) fn check_format(rocks: &Rocks) -> Result<()> {
    match rocks.read_meta(FORMAT)? {
        Some(format) if format == FORMAT_VERSION => Ok(()),
        Some(format) => Err(other_format(&format)),
        None => Err(foreign("it holds a RocksDB database without a record of damo's format")),
    }
}

/// Opens the database of a storage.
pub(super) fn open_here(dir: &Path, options: &StorageOptions, expiry: &Arc<Expiry>) -> Result<Rocks> {
    let expiry = Arc::clone(expiry);
    Rocks::open(dir, options, move |value| expiry.fate(value))
}

fn other_format(format: &[u8]) -> Error {
    let ours = String::from_utf8_lossy(FORMAT_VERSION);
    Error::new(
        Status::NotSupported,
        format!("its format is '{}'; this damo reads '{ours}'", String::from_utf8_lossy(format)),
    )
}

/// Puts the directory in front, as it was given.
fn name_directory(error: Error, dir: &Path) -> Error {
    error.within(&format!("data_dir '{}'", dir.display()))
}

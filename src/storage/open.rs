//! Opening a directory: what is refused, and how a new storage is made.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use super::checkpoint::{self, swap};
use super::default_cache::Promise;
use super::directory::{Directory, foreign};
use super::dump::bases::Bases;
use super::filters::Filters;
use super::read_only::{self, Likeness};
use super::{Handle, Storage, directory, first_opening};
use crate::cache::Budget;
use crate::engine::counters::Counters;
use crate::engine::expiry::Expiry;
use crate::engine::journal_document::JournalDocument;
use crate::engine::options::StorageOptions;
use crate::engine::pool::Pool;
use crate::engine::prefetch::Prefetcher;
use crate::engine::replay;
use crate::engine::writer::WriterThread;
use crate::engine::writer::signal::Signal;
use crate::engine::{Engine, database, registry};
use crate::error::{Error, Result, Status};
use crate::files::folder;
use crate::locks::{self, Mutex, RwLock};
use crate::memory::check_headroom;
use crate::params::Params;
use crate::process::{self, Call};
use crate::rocks::block_reader::BlockReader;
use crate::rocks::documents::FORMAT;
use crate::rocks::incoming::Incoming;
use crate::rocks::readers::Readers;
use crate::rocks::{self, incoming};
use crate::rocks::{Batch, DatabaseKind, Inventory, Opening, PREDECESSOR, Rocks, check_without};
use crate::seqno::{AtomicSeqno, Seqno};
use crate::stripes::CallLock;

/// The document `format` in a directory of this release.
const FORMAT_VERSION: &[u8] = b"damo 3";
/// The format before: the same without an inventory. Opening reads it, and makes it the present
/// one.
const EARLIER_VERSION: &[u8] = b"damo 2";

/// How many threads read what needs few readers, for each of the storage's `threads`. While merges
/// and the writer use the processor, too, one reader for each core would get half of it.
const READERS_A_THREAD: usize = 4;

impl Storage {
    /// Opens `dir`, creating it and its parents when they do not exist.
    ///
    /// A row that was not updated for `ttl_seconds` has expired; with 0 rows never expire.
    ///
    /// # Errors
    /// - `INVALID_ARGUMENT`: the path is a file, or a directory with other contents; an option is
    ///   wrong
    /// - `BUSY`: another handle, here or in another process, has it open
    /// - `IO`: it cannot be created, read or written
    /// - `CORRUPTION`: its files are damaged
    /// - `NOT_SUPPORTED`: a format of a later release
    /// - `OUT_OF_MEMORY`
    /// - `FORKED`: this process was forked from one that had opened a storage
    /// - `EXITING`: the process is ending
    pub fn open(dir: impl AsRef<Path>, ttl_seconds: i64, options: &Params) -> Result<Storage> {
        locks::report_cycles();
        let dir = dir.as_ref();
        let _call = Call::begin()?;
        let options = StorageOptions::read(options)?;
        let expiry = Arc::new(Expiry::new(ttl_seconds)?);
        let in_dir = |error| name_directory(error, dir);
        if options.read_only {
            return read_only::open(dir, expiry, options).map_err(in_dir);
        }
        Storage::open_taken(Directory::take(dir)?, None, options, expiry).map_err(in_dir)
    }

    /// Opens a directory that is already taken: the storage's own, or a likeness of it.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub(super) fn open_taken(
        directory: Directory,
        likeness: Option<Arc<Likeness>>,
        options: StorageOptions,
        expiry: Arc<Expiry>,
    ) -> Result<Storage> {
        check_threads(&options)?;
        // After the check of threads, for each of which the C library sets memory aside.
        check_headroom(options.threads)?;
        let promise = Promise::new(options.cache_bytes);
        let rocks = open_rocks(&directory, &options, &expiry)?;
        directory.keep();
        // Read before replay: the base dumps tell which tombstones must stay.
        let bases = Arc::new(Bases::read(&rocks, &expiry)?);
        let engine = Arc::new(make_engine(&directory, rocks, options, expiry)?);
        let prefetcher = Prefetcher::new(&engine);
        let writer = Some(WriterThread::start(&engine)?);
        // From here on dropping the storage closes everything in order.
        let storage = Storage {
            handle: Arc::new(Handle {
                engine: Arc::clone(&engine),
                filters: Filters::new(directory.path()),
                bases: Arc::clone(&bases),
                last_import: Mutex::new(None),
                checkpoints: Mutex::new(()),
                prefetcher,
                writer,
                pid: process::id(),
                dir: directory,
                _promise: promise,
                likeness: likeness.clone(),
                closing: None,
            }),
        };
        let rocks = engine.rocks()?;
        let document = JournalDocument::read(&rocks)?;
        let listed = rocks.last();
        engine.expiry.restore_time(document.time());
        drop(rocks);
        let likeness_bytes = likeness.map(|likeness| {
            likeness.note(&document);
            likeness.journal_bytes()
        });
        let last = replay::replay(&engine, document, listed, likeness_bytes)?;
        // After replay, when the storage's time is known. Merging drops nothing before the journal
        // is started.
        bases.begin(&*engine.rocks()?, &engine.expiry)?;
        replay::start_journal(&engine, last)?;
        engine.is_open.store(true, Ordering::Release);
        Ok(storage)
    }

    /// As [`Storage::open`], but makes no new storage.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none in `dir`; as [`Storage::open`].
    pub fn open_existing(
        dir: impl AsRef<Path>,
        ttl_seconds: i64,
        options: &Params,
    ) -> Result<Storage> {
        let dir = dir.as_ref();
        let in_dir = |error| name_directory(error, dir);
        let is_one = directory::may_hold_storage(dir).map_err(in_dir)?;
        if !is_one && !swap::is_committed(dir).map_err(in_dir)? {
            let what = if dir.exists() { "holds no damo storage" } else { "does not exist" };
            let message = format!("{what}; the directory of a storage is needed");
            return Err(name_directory(Error::not_found(message), dir));
        }
        Storage::open(dir, ttl_seconds, options)
    }
}

fn make_engine(
    directory: &Directory,
    rocks: Rocks,
    options: StorageOptions,
    expiry: Arc<Expiry>,
) -> Result<Engine> {
    let incoming = Incoming::open(directory.path())?;
    let groups = registry::load_all(&rocks)?;
    let budget = Budget::new(options.cache_bytes);
    budget.lend(rocks.metadata_bytes()?);
    Ok(Engine {
        rocks: RwLock::new(Some(Arc::new(rocks))),
        dir: directory.path().to_owned(),
        groups: Mutex::new(groups),
        counters: Counters::default(),
        budget: Arc::new(budget),
        pool: Pool::new(options.threads)?,
        readers: Readers::new(
            options.readers,
            options.threads.saturating_mul(READERS_A_THREAD),
            BlockReader::new(options.mapped_reads, options.io_uring),
        ),
        writer: Signal::default(),
        journal: OnceLock::new(),
        last_seqno: AtomicSeqno::default(),
        is_open: AtomicBool::new(false),
        stepping: CallLock::default(),
        contents: CallLock::default(),
        is_lost: AtomicBool::new(false),
        rounds: Mutex::new(()),
        expiry,
        cut_seqno: AtomicSeqno::default(),
        cut_is_open: AtomicBool::new(false),
        reserved_seqnos: Mutex::new(Seqno::NONE),
        incoming,
        options,
    })
}

/// Makes sure that as many threads can be made as RocksDB will make: it aborts the process when one
/// cannot.
fn check_threads(options: &StorageOptions) -> Result<()> {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut threads = Vec::new();
    let mut failure = None;
    for _ in 0..rocks::background_threads(&options.resources()) {
        let held = Arc::clone(&held);
        // All of them live until the sender is dropped.
        let wait = move || {
            let _ = held.lock().recv();
        };
        match thread::Builder::new().name("damo-probe".to_owned()).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure = Some(Error::io(format!(
                    "only {} threads can be made here: {error}",
                    threads.len()
                )));
                break;
            }
        }
    }
    drop(release);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    failure.map_or(Ok(()), Err)
}

fn open_rocks(
    directory: &Directory,
    options: &StorageOptions,
    expiry: &Arc<Expiry>,
) -> Result<Rocks> {
    let dir = directory.path();
    swap::finish(dir)?;
    rocks::check_regular(dir)?;
    let inventory = Inventory::read(dir)?;
    if first_opening::is_under_way(dir)? {
        first_opening::undo(dir)?;
    }
    if inventory.is_some() {
        first_opening::unmark(dir)?;
    } else if !directory::has_database(dir)? {
        return begin_database(directory, options, expiry);
    }
    // Everything is checked before anything changes.
    let is_checkpoint = checkpoint::FileList::check(dir)?.is_some();
    match &inventory {
        Some(inventory) => inventory.check(dir)?,
        None => check_earlier(dir, options)?,
    }
    if is_checkpoint {
        // The checkpoint's files change from now on, and would no longer agree with its list.
        remove_list(dir).map_err(|error| {
            Error::io(format!("{} cannot be removed: {error}", checkpoint::LIST))
        })?;
    }
    process::touch_rocksdb();
    let rocks = database::open(dir, Opening::Existing, options, expiry, &incoming::list(dir)?)?;
    if inventory.is_none() {
        // Written before the document `format` says that there must be an inventory.
        rocks.write_inventory()?;
    }
    write_format(&rocks, dir)?;
    Ok(rocks)
}

/// Makes the database of a new storage. After a kill the next opening begins anew.
fn begin_database(
    directory: &Directory,
    options: &StorageOptions,
    expiry: &Arc<Expiry>,
) -> Result<Rocks> {
    let dir = directory.path();
    first_opening::mark(dir)?;
    process::touch_rocksdb();
    let begun = database::open(dir, Opening::New, options, expiry, &[]).and_then(|rocks| {
        write_format(&rocks, dir)?;
        first_opening::unmark(dir)?;
        Ok(rocks)
    });
    begun.inspect_err(|_| first_opening::give_up(dir))
}

/// Checks a database without an inventory. An earlier release has written it, or another program.
///
/// # Errors
/// As [`Storage::open`].
fn check_earlier(dir: &Path, options: &StorageOptions) -> Result<()> {
    if !is_earlier(dir, "an empty directory, a new path or a damo storage")? {
        return Ok(());
    }
    let rocks = Rocks::open_read_only(dir, &options.resources())?;
    // An empty one may be of an earlier release's first opening, killed before it wrote its format.
    if rocks.is_empty()? { Ok(()) } else { check_format(&rocks, false, dir) }
}

/// As [`is_ours`], with a check of the files. Changes nothing.
///
/// # Errors
/// As [`is_ours`]; `CORRUPTION` naming a file that is damaged.
pub(super) fn is_earlier(dir: &Path, needed: &str) -> Result<bool> {
    check_without(dir, false)?;
    process::touch_rocksdb();
    let is_ours = is_ours(dir, needed)?;
    if is_ours {
        check_without(dir, true)?;
    }
    Ok(is_ours)
}

/// Whether a database without an inventory is damo's; false if its first opening, by an earlier
/// release, was killed. `needed` is what the message of a refusal asks for.
///
/// # Errors
/// `INVALID_ARGUMENT` for another program's database, `NOT_SUPPORTED` for another format.
pub(super) fn is_ours(dir: &Path, needed: &str) -> Result<bool> {
    let what = match Rocks::find(dir)? {
        DatabaseKind::Damo => return Ok(true),
        DatabaseKind::Begun => return Ok(false),
        DatabaseKind::OtherFormat(format) => return Err(other_format(&format)),
        DatabaseKind::Predecessor => PREDECESSOR,
        DatabaseKind::ForeignRocksDb => "it holds a RocksDB database that damo did not write",
    };
    Err(Error::invalid(format!("{what}; {needed} is needed")))
}

/// Writes the document `format` into a new database or one of the format before; checks it in any
/// other.
fn write_format(rocks: &Rocks, dir: &Path) -> Result<()> {
    let found = rocks.read_meta(FORMAT)?;
    let is_new = found.is_none() && rocks.is_empty()?;
    if is_new || found.as_deref() == Some(EARLIER_VERSION) {
        let mut batch = Batch::default();
        batch.put_meta(FORMAT.to_owned(), FORMAT_VERSION.to_vec());
        return rocks.write(batch);
    }
    check_format(rocks, true, dir)
}

/// Removes a checkpoint's list. The removal is on disk before any other file changes.
fn remove_list(dir: &Path) -> std::io::Result<()> {
    std::fs::remove_file(dir.join(checkpoint::LIST))?;
    folder::sync_dir(dir)
}

/// Refuses a database that this release does not read, or that has lost its inventory.
///
/// # Errors
/// `NOT_SUPPORTED`, `INVALID_ARGUMENT`, `CORRUPTION`.
pub(super) fn check_format(rocks: &Rocks, has_inventory: bool, dir: &Path) -> Result<()> {
    match rocks.read_meta(FORMAT)? {
        Some(format) if format == FORMAT_VERSION && !has_inventory => {
            Err(database::missing_inventory(dir))
        }
        Some(format) if [FORMAT_VERSION, EARLIER_VERSION].contains(&format.as_slice()) => Ok(()),
        Some(format) => Err(other_format(&format)),
        None => Err(foreign("it holds a RocksDB database without a record of damo's format")),
    }
}

/// Refuses the document `format` of a format that this release does not read. Without the document
/// nothing is refused.
///
/// # Errors
/// `NOT_SUPPORTED`.
pub(super) fn check_known_format(format: Option<&Vec<u8>>) -> Result<()> {
    match format {
        Some(format) if ![FORMAT_VERSION, EARLIER_VERSION].contains(&format.as_slice()) => {
            Err(other_format(format))
        }
        _ => Ok(()),
    }
}

fn other_format(format: &[u8]) -> Error {
    let ours = String::from_utf8_lossy(FORMAT_VERSION);
    Error::new(
        Status::NotSupported,
        format!("its format is '{}'; this damo reads '{ours}'", String::from_utf8_lossy(format)),
    )
}

/// The same error, with the directory in front, as it was given.
fn name_directory(error: Error, dir: &Path) -> Error {
    error.within(&format!("data_dir '{}'", dir.display()))
}

//! The inventory: a checksummed list of the files by which RocksDB knows what the database is:
//! CURRENT, MANIFEST and logs.
//!
//! RocksDB opens with what it finds in them. A file that lost its end, or came from elsewhere,
//! silently gives an older database. So the inventory has each file's length and checksum, and the
//! files are compared with it before RocksDB sees them. It is written whenever something begins to
//! rely on those files: after each document, before the journal loses a file, and at closing. While
//! the storage is open the files only grow, so each must begin as listed.

mod check;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crc32fast::Hasher;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use serde::{Deserialize, Serialize};

pub(crate) use check::check_without;

use crate::error::{Error, Result, Status};
use crate::files::folder::sync_dir;
use crate::files::regular;
use crate::rocks::file_names::{self, CURRENT, MANIFEST, WAL};
use crate::seqno::Seqno;

/// The file's name.
pub(crate) const INVENTORY: &str = "INVENTORY";
/// The file while it is written.
pub(crate) const NEW_INVENTORY: &str = "INVENTORY.new";
const FORMAT: &str = "damo inventory 1";
/// How often the files are listed again when RocksDB replaces one meanwhile.
const ATTEMPTS: usize = 100;

/// The content of the file `INVENTORY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inventory {
    format: String,
    /// The storage was closed, and each file is exactly as listed. Otherwise each file begins as
    /// listed.
    closed: bool,
    /// The largest sequence number that a call may have been given.
    pub(crate) last: Seqno,
    /// The latest time that was used, in milliseconds since 1970, if the documents may have an
    /// earlier one because a checkpoint was loaded; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) time: u64,
    /// The system's boot id when it was written; empty where there is none.
    boot: String,
    files: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    crc32: u32,
}

fn is_zero(time: &u64) -> bool {
    *time == 0
}

/// The system's boot id, which changes each time the system starts; empty where there is none.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or(String::new(), |id| id.trim().to_owned())
}

impl Inventory {
    /// The inventory of a directory; None when it has none.
    ///
    /// # Errors
    /// `CORRUPTION` when it is damaged; `NOT_SUPPORTED` for one of a later release; `IO`.
    pub(crate) fn read(dir: &Path) -> Result<Option<Inventory>> {
        let path = dir.join(INVENTORY);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let damaged = || corruption(&path, "is damaged");
        // The last line is the checksum of the lines before.
        let end = bytes.len().checked_sub(CHECKSUM_LEN).ok_or_else(damaged)?;
        let (json, checksum) = bytes.split_at(end);
        if checksum != checksum_line(json).as_bytes() {
            return Err(damaged());
        }
        let inventory: Inventory = serde_json::from_slice(json).map_err(|_| damaged())?;
        if inventory.format != FORMAT {
            let what = format!(
                "'{}' is of format '{}'; this damo reads '{FORMAT}'",
                path.display(),
                inventory.format
            );
            return Err(Error::new(Status::NotSupported, what));
        }
        Ok(Some(inventory))
    }

    /// Lists the files of a directory. Everything listed is synced.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION` when CURRENT names no file.
    pub(crate) fn take(dir: &Path, closed: bool, last: Seqno) -> Result<Inventory> {
        Inventory::take_again(dir, closed, last, &mut KnownFiles::default())
    }

    /// As [`Inventory::take`], for files that have only grown since they became `known`: it reads
    /// only what was appended.
    pub(super) fn take_again(
        dir: &Path,
        closed: bool,
        last: Seqno,
        known: &mut KnownFiles,
    ) -> Result<Inventory> {
        let mut outcome = Ok(None);
        for _ in 0..ATTEMPTS {
            outcome = list_all(dir, known);
            match &mut outcome {
                Ok(Some(files)) => {
                    let files = std::mem::take(files);
                    known.0.retain(|name, _| files.iter().any(|listed| listed.name == *name));
                    let (format, boot) = (FORMAT.to_owned(), boot());
                    return Ok(Inventory { format, closed, last, time: 0, boot, files });
                }
                // RocksDB has begun or removed a file meanwhile.
                Ok(None) => {}
                Err(error) if error.status() == Status::Corruption => {
                    thread::sleep(Duration::from_millis(1))
                }
                // Not tried again, above all after a failed fsync: the next one would succeed,
                // whatever became of the data.
                Err(_) => break,
            }
        }
        Err(outcome.err().unwrap_or_else(|| {
            Error::io(format!(
                "the files in '{}' change faster than they can be listed",
                dir.display()
            ))
        }))
    }

    /// The same inventory with a time that is not in the documents.
    pub(crate) fn at(self, time: u64) -> Inventory {
        Inventory { time, ..self }
    }

    /// Writes and syncs the inventory, replacing the one before.
    ///
    /// # Errors
    /// `IO`. The one before stays, unless only the folder could not be synced. In that case this
    /// one counts until the machine loses power, and maybe afterwards.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(INVENTORY);
        let write = || -> io::Result<()> {
            let mut json = serde_json::to_vec(self)?;
            json.push(b'\n');
            let checksum = checksum_line(&json);
            let new = dir.join(NEW_INVENTORY);
            // Reuses the space of the inventory before the last. A full disk must not keep what is
            // stored from being read.
            let mut file = File::options().write(true).create(true).truncate(false).open(&new)?;
            file.write_all(&json)?;
            file.write_all(checksum.as_bytes())?;
            file.set_len((json.len() + checksum.len()) as u64)?;
            file.sync_all()?;
            if renameat_with(CWD, &new, CWD, &path, RenameFlags::EXCHANGE).is_err() {
                fs::rename(&new, &path)?;
            }
            sync_dir(dir)
        };
        write()
            .map_err(|error| Error::io(format!("'{}' cannot be written: {error}", path.display())))
    }

    /// Notes that the files may grow from now on. Call it before RocksDB opens them.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn begin(mut self, dir: &Path) -> Result<()> {
        let boot = boot();
        if !std::mem::replace(&mut self.closed, false) && self.boot == boot {
            return Ok(());
        }
        // The files were compared, so what a stopped machine left has been dealt with.
        self.boot = boot;
        self.write(dir)
    }
}

/// The number and the name of the MANIFEST that CURRENT names.
///
/// # Errors
/// `CORRUPTION` when one of the two is missing, or CURRENT names no MANIFEST; `IO`.
fn manifest_of(dir: &Path) -> Result<(u64, String)> {
    let path = dir.join(CURRENT);
    let bytes = match regular::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(corruption(&path, "is missing"));
        }
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let name = text.strip_suffix('\n').unwrap_or_default();
    let number =
        number_in(name, MANIFEST, "").ok_or_else(|| corruption(&path, "names no MANIFEST"))?;
    let manifest = dir.join(name);
    match manifest.try_exists() {
        Ok(true) => Ok((number, name.to_owned())),
        Ok(false) => Err(corruption(&manifest, "is missing, and CURRENT names it")),
        Err(error) => Err(unreadable(&manifest, &error)),
    }
}

/// A directory's logs of RocksDB, ordered by their numbers.
fn logs(dir: &Path) -> Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
        let entry = entry.map_err(|error| unreadable(dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = number_in(&name, "", WAL) {
            found.push((number, name));
        }
    }
    found.sort();
    Ok(found)
}

fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    file_names::number(name, prefix, suffix)?.parse().ok()
}

/// Lists every file; None when the files have changed meanwhile.
///
/// RocksDB may delete a log once the MANIFEST says so. So the logs are looked for again after the
/// MANIFEST was read. The newest of them is then one that this MANIFEST still needs.
fn list_all(dir: &Path, known: &mut KnownFiles) -> Result<Option<Vec<Listed>>> {
    let found = logs(dir)?;
    let manifest = manifest_of(dir)?.1;
    let names = found.iter().map(|(_, name)| name.clone()).chain([manifest, CURRENT.to_owned()]);
    let mut files = Vec::new();
    for name in names {
        match known.list(dir, &name) {
            Ok(listed) => files.push(listed),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&dir.join(name), &error)),
        }
    }
    Ok((logs(dir)? == found).then_some(files))
}

/// The lengths and checksums of growing files, as last listed.
#[derive(Default)]
pub(super) struct KnownFiles(BTreeMap<String, (u64, Hasher)>);

impl KnownFiles {
    fn list(&mut self, dir: &Path, name: &str) -> io::Result<Listed> {
        let mut file = regular::open(&dir.join(name))?;
        // The length is taken first: what is appended later need not be synced, and is not listed.
        let len = file.metadata()?.len();
        let (mut bytes, mut hasher) = match self.0.get(name) {
            // CURRENT does not grow; each is another file.
            Some((bytes, hasher)) if *bytes <= len && name != CURRENT => (*bytes, hasher.clone()),
            _ => (0, Hasher::new()),
        };
        if bytes < len {
            // RocksDB syncs CURRENT before it gets its name.
            if name != CURRENT {
                file.sync_data()?;
            }
            file.seek(SeekFrom::Start(bytes))?;
            bytes += hash(&mut file.take(len - bytes), &mut hasher)?;
            self.0.insert(name.to_owned(), (bytes, hasher.clone()));
        }
        Ok(Listed { name: name.to_owned(), bytes, crc32: hasher.finalize() })
    }
}

/// Adds everything that can be read to a checksum; returns its bytes.
fn hash(reader: &mut impl Read, hasher: &mut Hasher) -> io::Result<u64> {
    let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The length of a file, `most` at most, and the checksum of that many of its bytes.
fn checksum(path: &Path, most: u64) -> io::Result<(u64, u32)> {
    let mut hasher = Hasher::new();
    let bytes = hash(&mut regular::open(path)?.take(most), &mut hasher)?;
    Ok((bytes, hasher.finalize()))
}

/// The bytes of the checksum's line.
const CHECKSUM_LEN: usize = "crc32 00000000\n".len();

fn checksum_line(json: &[u8]) -> String {
    format!("crc32 {:08x}\n", crc32fast::hash(json))
}

fn corruption(path: &Path, what: &str) -> Error {
    Error::damage(format_args!("'{}' {what}", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::io(format!("'{}' cannot be read: {error}", path.display()))
}

//! The inventory: a checksummed list of the files by which RocksDB knows what the table is: CURRENT, MANIFEST, logs.
//!
//! RocksDB opens with what it finds in them. A file that lost its end, or came from elsewhere, gives an older table
//! without a word. So the inventory says how long each was and what was in it, and is compared before RocksDB sees them.
//! It is written whenever something begins to lean on those files: after each document, before the journal loses a
//! file, and at closing. While the storage is open they only grow, so then what is listed must be how they begin.

mod check;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(in crate::storage) use check::check_without;

use crate::error::{Error, Result, Status};

/// The file's name.
pub(in crate::storage) const INVENTORY: &str = "INVENTORY";
const NEW: &str = "INVENTORY.new";
const FORMAT: &str = "damo inventory 1";
const CURRENT: &str = "CURRENT";
/// What to do about damage, at the end of a message.
const REMEDY: &str =
    "restore the directory from a copy or a checkpoint, or save what can be read with damo salvage";
/// How often the files are looked for anew when RocksDB replaces one meanwhile.
const ATTEMPTS: usize = 100;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Inventory {
    format: String,
    /// Nothing was open: the files are as they are listed. Otherwise they begin so.
    closed: bool,
    /// The largest number that a call may have been given.
    pub(in crate::storage) last: u64,
    /// Which start of the system it is from, where that can be told.
    boot: String,
    files: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    crc32: u32,
}

/// Changes each time the system is started; empty where it cannot be told.
pub(in crate::storage) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or(String::new(), |id| id.trim().to_owned())
}

impl Inventory {
    /// The inventory of a directory; None when it has none.
    ///
    /// # Errors
    /// `CORRUPTION` when it is damaged; `NOT_SUPPORTED` for one of a later release; `IO`.
    pub(in crate::storage) fn read(dir: &Path) -> Result<Option<Inventory>> {
        let path = dir.join(INVENTORY);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let damaged = || corruption(&path, "is damaged");
        // The last line is the checksum of those before.
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

    /// Lists the files of a directory. What is listed is on disk, synced.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION` when CURRENT names no file.
    pub(in crate::storage) fn take(dir: &Path, closed: bool, last: u64) -> Result<Inventory> {
        for _ in 0..ATTEMPTS {
            let mut names = logs(dir)?.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
            names.push(manifest_of(dir)?.1);
            names.push(CURRENT.to_owned());
            let mut files = Vec::new();
            let complete = names.into_iter().try_for_each(|name| {
                files.push(list(dir, name)?);
                Ok(())
            });
            match complete {
                Ok(()) => {
                    return Ok(Inventory { format: FORMAT.to_owned(), closed, last, boot: boot(), files });
                }
                // RocksDB has replaced it meanwhile.
                Err((_, error)) if error.kind() == ErrorKind::NotFound => {}
                Err((name, error)) => return Err(unreadable(&dir.join(name), &error)),
            }
        }
        Err(Error::io(format!("the files in '{}' change faster than they can be listed", dir.display())))
    }

    /// Writes the inventory in place of the one before, for good.
    ///
    /// # Errors
    /// `IO`. The one before is there then.
    pub(in crate::storage) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(INVENTORY);
        let write = || -> io::Result<()> {
            let mut json = serde_json::to_vec(self)?;
            json.push(b'\n');
            let checksum = checksum_line(&json);
            let new = dir.join(NEW);
            let mut file = File::create(&new)?;
            file.write_all(&json)?;
            file.write_all(checksum.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| Error::io(format!("'{}' cannot be written: {error}", path.display())))
    }

    /// Says that from now on files may grow. To be called before RocksDB opens them.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn begin(mut self, dir: &Path) -> Result<()> {
        if !std::mem::replace(&mut self.closed, false) {
            return Ok(());
        }
        self.write(dir)
    }
}

const MANIFEST: &str = "MANIFEST-";
const LOG: &str = ".log";

/// The number and the name of the MANIFEST that CURRENT names, which is there.
fn manifest_of(dir: &Path) -> Result<(u64, String)> {
    let path = dir.join(CURRENT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(corruption(&path, "is missing")),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let name = text.strip_suffix('\n').unwrap_or_default();
    let number = number_in(name, MANIFEST, "").ok_or_else(|| corruption(&path, "names no MANIFEST"))?;
    let manifest = dir.join(name);
    match manifest.try_exists() {
        Ok(true) => Ok((number, name.to_owned())),
        Ok(false) => Err(corruption(&manifest, "is missing, and CURRENT names it")),
        Err(error) => Err(unreadable(&manifest, &error)),
    }
}

/// RocksDB's logs of a directory, by their numbers.
fn logs(dir: &Path) -> Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
        let entry = entry.map_err(|error| unreadable(dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = number_in(&name, "", LOG) {
            found.push((number, name));
        }
    }
    found.sort();
    Ok(found)
}

fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn list(dir: &Path, name: String) -> std::result::Result<Listed, (String, io::Error)> {
    match checksum(&dir.join(&name), u64::MAX, true) {
        Ok((bytes, crc32)) => Ok(Listed { name, bytes, crc32 }),
        Err(error) => Err((name, error)),
    }
}

/// The length, up to `most`, and the checksum of so many bytes; with `sync` they are on disk then.
fn checksum(path: &Path, most: u64, sync: bool) -> io::Result<(u64, u32)> {
    let file = File::open(path)?;
    // In this order: what is appended later is neither synced nor listed.
    let len = file.metadata()?.len().min(most);
    if sync {
        file.sync_data()?;
    }
    let (mut file, mut buffer) = (file.take(len), vec![0; 64 << 10]);
    let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hasher.finalize())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes of a checksum's line.
const CHECKSUM_LEN: usize = "crc32 00000000\n".len();

fn checksum_line(json: &[u8]) -> String {
    format!("crc32 {:08x}\n", crc32fast::hash(json))
}

fn corruption(path: &Path, what: &str) -> Error {
    Error::corruption(format!("'{}' {what}; {REMEDY}", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::io(format!("'{}' cannot be read: {error}", path.display()))
}

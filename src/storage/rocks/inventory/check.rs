//! Comparing a directory's files with its inventory, before RocksDB sees them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{
    CURRENT, INVENTORY, Inventory, LOG, Listed, MANIFEST, boot, checksum, corruption, logs, manifest_of,
};
use super::{number_in, unreadable};
use crate::error::{Error, Result};
use crate::storage::rocks::log_file::{self, End};

impl Inventory {
    /// Compares the files of a directory that nobody has open with the inventory. Cuts off damaged
    /// ends that a machine has left by stopping.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(in crate::storage) fn check(&self, dir: &Path) -> Result<()> {
        if self.closed { self.check_closed(dir) } else { self.check_open(dir) }
    }

    fn check_closed(&self, dir: &Path) -> Result<()> {
        for listed in &self.files {
            let (path, found) = (dir.join(&listed.name), listed.find(dir)?);
            if found.as_ref().is_some_and(|found| found.bytes != listed.bytes) {
                return Err(wrong_length(&path, found.map_or(0, |found| found.bytes), listed.bytes));
            }
            match found {
                None => return Err(corruption(&path, "is missing")),
                Some(found) if found.crc32 == listed.crc32 => {}
                Some(_) => return Err(corruption(&path, "is not as it was when the storage was closed")),
            }
        }
        for (_, name) in logs(dir)? {
            if !self.files.iter().any(|listed| listed.name == name) {
                return Err(corruption(&dir.join(name), "was not there when the storage was closed"));
            }
        }
        Ok(())
    }

    fn check_open(&self, dir: &Path) -> Result<()> {
        // Where the boot id cannot be told, only what a killed process leaves is accepted.
        let machine_stopped = self.boot != boot();
        let (number, manifest) = manifest_of(dir)?;
        let listed = self.files.iter().find(|listed| listed.name.starts_with(MANIFEST));
        let listed = listed.ok_or_else(|| corruption(&dir.join(INVENTORY), "lists no MANIFEST"))?;
        let listed_number = number_in(&listed.name, MANIFEST, "").unwrap_or(0);
        if number < listed_number {
            let what = format!("names '{manifest}', and '{}' came after that", listed.name);
            return Err(corruption(&dir.join(CURRENT), &what));
        }
        let mut has_grown = number > listed_number;
        if !has_grown {
            listed.check_beginning(dir)?;
            has_grown = listed.find(dir)?.is_some_and(|found| found.bytes > listed.bytes);
        }
        check_records(
            dir,
            &manifest,
            if number == listed_number { listed.bytes } else { 0 },
            machine_stopped,
        )?;
        let logs = logs(dir)?;
        let listed_logs = self.files.iter().filter(|listed| listed.name.ends_with(LOG));
        let newest = listed_logs.filter_map(|listed| number_in(&listed.name, "", LOG)).max().unwrap_or(0);
        for listed in self.files.iter().filter(|listed| listed.name.ends_with(LOG)) {
            if logs.iter().any(|(_, name)| *name == listed.name) {
                listed.check_beginning(dir)?;
            } else if !has_grown && number_in(&listed.name, "", LOG) == Some(newest) {
                // RocksDB deletes a log only once the MANIFEST says that it is not needed any more,
                // and the MANIFEST is as it was. Only the newest log counts here: RocksDB itself
                // finds out whether one is missing that another one follows.
                return Err(corruption(&dir.join(&listed.name), "is missing"));
            }
        }
        for (number, name) in logs {
            let listed = self.files.iter().find(|listed| listed.name == name);
            if listed.is_none() && number < newest {
                return Err(corruption(&dir.join(name), "is older than the logs that were there"));
            }
            check_records(dir, &name, listed.map_or(0, |listed| listed.bytes), machine_stopped)?;
        }
        Ok(())
    }
}

/// Looks through the files of a storage without an inventory, which an earlier release has written.
///
/// # Errors
/// `CORRUPTION` naming the file; `IO`.
pub(in crate::storage) fn check_without(dir: &Path, with_logs: bool) -> Result<()> {
    check_records(dir, &manifest_of(dir)?.1, u64::MAX, false)?;
    if with_logs {
        logs(dir)?.into_iter().try_for_each(|(_, name)| check_records(dir, &name, u64::MAX, false))?;
    }
    Ok(())
}

/// Looks through a log file's records. Its first `listed` bytes are known to be whole.
fn check_records(dir: &Path, name: &str, listed: u64, machine_stopped: bool) -> Result<()> {
    let path = dir.join(name);
    let checked = log_file::check(&path).map_err(|error| unreadable(&path, &error))?;
    match checked.end {
        End::Whole | End::Torn => Ok(()),
        End::Damaged(at, _) if machine_stopped && at >= listed => {
            // What is cut off was never synced: all that was is listed or whole.
            let cut = || -> io::Result<()> {
                let file = File::options().write(true).open(&path)?;
                file.set_len(checked.whole.max(listed))?;
                file.sync_all()
            };
            cut().map_err(|error| Error::io(format!("'{}' cannot be cut off: {error}", path.display())))
        }
        End::Damaged(at, what) => Err(corruption(&path, &format!("is damaged at byte {at}: {what}"))),
    }
}

impl Listed {
    /// The file as it is now; None when it is not there.
    fn find(&self, dir: &Path) -> Result<Option<Listed>> {
        match checksum(&dir.join(&self.name), u64::MAX) {
            Ok((bytes, crc32)) => Ok(Some(Listed { name: self.name.clone(), bytes, crc32 })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&dir.join(&self.name), &error)),
        }
    }

    fn check_beginning(&self, dir: &Path) -> Result<()> {
        let path = dir.join(&self.name);
        match checksum(&path, self.bytes) {
            Ok((bytes, _)) if bytes < self.bytes => Err(wrong_length(&path, bytes, self.bytes)),
            Ok((_, crc32)) if crc32 == self.crc32 => Ok(()),
            Ok(_) => Err(corruption(&path, &format!("is damaged within its first {} bytes", self.bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(corruption(&path, "is missing")),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }
}

fn wrong_length(path: &Path, found: u64, listed: u64) -> Error {
    corruption(path, &format!("has {found} bytes, and had {listed}"))
}

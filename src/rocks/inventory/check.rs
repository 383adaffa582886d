//! Compares a directory's files with its inventory, before RocksDB sees them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{INVENTORY, Inventory, Listed, boot, checksum, corruption, logs, manifest_of};
use super::{number_in, unreadable};
use crate::error::{Error, Result};
use crate::rocks::file_names::{CURRENT, MANIFEST, WAL};
use crate::rocks::log_file::{self, End};

impl Inventory {
    /// Compares the files of a directory that nobody has open with the inventory. Cuts off the
    /// damaged ends that a stopped machine leaves.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(crate) fn check(&self, dir: &Path) -> Result<()> {
        if self.closed { self.check_closed(dir) } else { self.check_open(dir, Ends::CutOff) }
    }

    /// Compares the files of a directory with the inventory, and changes nothing.
    ///
    /// # Errors
    /// As [`Inventory::check`]; others, too, if somebody changes the files meanwhile.
    pub(crate) fn compare(&self, dir: &Path) -> Result<()> {
        if self.closed { self.check_closed(dir) } else { self.check_open(dir, Ends::Left) }
    }

    /// Compares CURRENT and the MANIFEST with the inventory, and changes nothing.
    ///
    /// # Errors
    /// As [`Inventory::check`].
    pub(in crate::rocks) fn compare_manifest(&self, dir: &Path) -> Result<()> {
        if self.closed {
            return self.listed(false).try_for_each(|listed| listed.check_whole(dir));
        }
        self.find_manifest(dir).map(drop)
    }

    /// Compares the logs with the inventory, and changes nothing.
    ///
    /// # Errors
    /// As [`Inventory::check`].
    pub(in crate::rocks) fn compare_logs(&self, dir: &Path) -> Result<()> {
        if self.closed {
            return self.check_closed_logs(dir);
        }
        // Without the MANIFEST nobody can tell whether a log is needed.
        let has_grown = self.find_manifest(dir).map_or(true, |manifest| manifest.has_grown);
        self.find_logs(dir, has_grown).map(drop)
    }

    /// Whether the logs are as listed, and the newest listed log exists.
    pub(in crate::rocks) fn has_newest_log(&self, dir: &Path) -> bool {
        if self.closed {
            self.check_closed_logs(dir).is_ok()
        } else {
            self.find_logs(dir, false).is_ok()
        }
    }

    fn check_closed(&self, dir: &Path) -> Result<()> {
        self.compare_manifest(dir)?;
        self.check_closed_logs(dir)
    }

    fn check_closed_logs(&self, dir: &Path) -> Result<()> {
        self.listed(true).try_for_each(|listed| listed.check_whole(dir))?;
        for (_, name) in logs(dir)? {
            if !self.files.iter().any(|listed| listed.name == name) {
                return Err(corruption(
                    &dir.join(name),
                    "was not there when the storage was closed",
                ));
            }
        }
        Ok(())
    }

    fn check_open(&self, dir: &Path, damaged_ends: Ends) -> Result<()> {
        // With the same boot id no machine has stopped, so only what a killed process leaves is
        // accepted. The same holds where there is no boot id.
        let ends = if self.boot == boot() { Ends::Refused } else { damaged_ends };
        let manifest = self.find_manifest(dir)?;
        check_records(dir, &manifest.name, manifest.listed, ends)?;
        for (name, listed) in self.find_logs(dir, manifest.has_grown)? {
            check_records(dir, &name, listed, ends)?;
        }
        Ok(())
    }

    /// The listed logs, or the other listed files.
    fn listed(&self, logs: bool) -> impl Iterator<Item = &Listed> {
        self.files.iter().filter(move |listed| listed.name.ends_with(WAL) == logs)
    }

    /// The MANIFEST of a storage that was not closed.
    fn find_manifest(&self, dir: &Path) -> Result<FoundManifest> {
        let (number, name) = manifest_of(dir)?;
        let listed = self.files.iter().find(|listed| listed.name.starts_with(MANIFEST));
        let listed = listed.ok_or_else(|| corruption(&dir.join(INVENTORY), "lists no MANIFEST"))?;
        let listed_number = number_in(&listed.name, MANIFEST, "").unwrap_or(0);
        if number < listed_number {
            let what = format!("names '{name}', and '{}' came after that", listed.name);
            return Err(corruption(&dir.join(CURRENT), &what));
        }
        if number > listed_number {
            return Ok(FoundManifest { name, listed: 0, has_grown: true });
        }
        listed.check_beginning(dir)?;
        let has_grown = listed.find(dir)?.is_some_and(|found| found.bytes > listed.bytes);
        Ok(FoundManifest { name, listed: listed.bytes, has_grown })
    }

    /// The logs of a storage that was not closed, each with how many of its bytes are listed.
    fn find_logs(&self, dir: &Path, manifest_has_grown: bool) -> Result<Vec<(String, u64)>> {
        let logs = logs(dir)?;
        let numbers = self.listed(true).filter_map(|listed| number_in(&listed.name, "", WAL));
        let newest = numbers.max().unwrap_or(0);
        for listed in self.listed(true) {
            if logs.iter().any(|(_, name)| *name == listed.name) {
                listed.check_beginning(dir)?;
            } else if !manifest_has_grown && number_in(&listed.name, "", WAL) == Some(newest) {
                // RocksDB deletes a log only once the MANIFEST says that it is not needed, and the
                // MANIFEST has not changed. Only the newest log counts here: RocksDB itself notices
                // when a log that another one follows is missing.
                return Err(corruption(&dir.join(&listed.name), "is missing"));
            }
        }
        let mut found = Vec::new();
        for (number, name) in logs {
            let listed = self.files.iter().find(|listed| listed.name == name);
            if listed.is_none() && number < newest {
                return Err(corruption(&dir.join(name), "is older than the logs that were there"));
            }
            found.push((name, listed.map_or(0, |listed| listed.bytes)));
        }
        Ok(found)
    }
}

/// The MANIFEST that CURRENT names.
struct FoundManifest {
    name: String,
    /// How many of its bytes are listed.
    listed: u64,
    /// It is longer than listed, or newer.
    has_grown: bool,
}

/// Checks the files of a storage without an inventory, which an earlier release has written.
///
/// # Errors
/// `CORRUPTION` naming the file; `IO`.
pub(crate) fn check_without(dir: &Path, with_logs: bool) -> Result<()> {
    let check = |name: &str| check_records(dir, name, u64::MAX, Ends::Refused);
    check(&manifest_of(dir)?.1)?;
    if with_logs {
        logs(dir)?.iter().try_for_each(|(_, name)| check(name))?;
    }
    Ok(())
}

/// What becomes of a damaged end of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It is CORRUPTION, since no machine has stopped.
    Refused,
    CutOff,
    /// It stays, and is accepted.
    Left,
}

/// Checks a log file's records. Its first `listed` bytes are known to be whole.
fn check_records(dir: &Path, name: &str, listed: u64, ends: Ends) -> Result<()> {
    let path = dir.join(name);
    let checked = log_file::check(&path).map_err(|error| unreadable(&path, &error))?;
    match checked.end {
        End::Whole | End::Torn => Ok(()),
        End::Damaged(at, _) if ends == Ends::Left && at >= listed => Ok(()),
        End::Damaged(at, _) if ends == Ends::CutOff && at >= listed => {
            // What is cut off was never synced: everything synced is listed, or whole.
            let cut = || -> io::Result<()> {
                let file = File::options().write(true).open(&path)?;
                file.set_len(checked.whole.max(listed))?;
                file.sync_all()
            };
            cut().map_err(|error| {
                Error::io(format!("'{}' cannot be cut off: {error}", path.display()))
            })
        }
        End::Damaged(at, what) => {
            Err(corruption(&path, &format!("is damaged at byte {at}: {what}")))
        }
    }
}

impl Listed {
    /// The file as it is now; None when it does not exist.
    fn find(&self, dir: &Path) -> Result<Option<Listed>> {
        match checksum(&dir.join(&self.name), u64::MAX) {
            Ok((bytes, crc32)) => Ok(Some(Listed { name: self.name.clone(), bytes, crc32 })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&dir.join(&self.name), &error)),
        }
    }

    /// Checks that the file is exactly as listed.
    fn check_whole(&self, dir: &Path) -> Result<()> {
        let path = dir.join(&self.name);
        match self.find(dir)? {
            None => Err(corruption(&path, "is missing")),
            Some(found) if found.bytes != self.bytes => {
                Err(wrong_length(&path, found.bytes, self.bytes))
            }
            Some(found) if found.crc32 == self.crc32 => Ok(()),
            Some(_) => Err(corruption(&path, "is not as it was when the storage was closed")),
        }
    }

    fn check_beginning(&self, dir: &Path) -> Result<()> {
        let path = dir.join(&self.name);
        match checksum(&path, self.bytes) {
            Ok((bytes, _)) if bytes < self.bytes => Err(wrong_length(&path, bytes, self.bytes)),
            Ok((_, crc32)) if crc32 == self.crc32 => Ok(()),
            Ok(_) => {
                Err(corruption(&path, &format!("is damaged within its first {} bytes", self.bytes)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(corruption(&path, "is missing"))
            }
            Err(error) => Err(unreadable(&path, &error)),
        }
    }
}

fn wrong_length(path: &Path, found: u64, listed: u64) -> Error {
    corruption(path, &format!("has {found} bytes, and had {listed}"))
}

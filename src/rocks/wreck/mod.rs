//! What can still be learned from a damaged database, without changing it: which SST files count,
//! and the documents.
//!
//! If the MANIFEST counts (`manifest`), RocksDB tells both: it is shown a folder with links to the
//! SST files and copies of the small files. If not, every SST file may count, and documents come
//! from their own files and from the logs (`documents`).

mod documents;
mod live;
mod manifest;

pub(crate) use live::Live;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rust_rocksdb::{DB, IteratorMode, Options};

use super::documents::FAMILY;
use super::file_names::{CURRENT, is_sst, is_wal};
use super::log_file::{self, End};
use super::sst::SstFile;
use super::{Inventory, translate};
use crate::error::{Error, Result};
use crate::files::regular;

/// How many files RocksDB has open at most. A shortage of descriptors would look like damage.
const OPEN_FILES: i32 = 32;

/// What is known of a damaged database.
#[derive(Default)]
pub(crate) struct Wreck {
    /// The files that count; None when every file may.
    pub(crate) live: Option<Vec<Live>>,
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
    /// The documents are the latest. The logs are whole and as listed; and so is the MANIFEST, or
    /// else each file of documents could be read.
    pub(crate) documents_are_latest: bool,
    /// What could not be read, in words.
    pub(crate) damage: Vec<String>,
}

impl Wreck {
    /// Reads what it can of `dir`, through `scratch`: an empty folder that RocksDB may write to.
    ///
    /// # Errors
    /// `IO` when `scratch` cannot be filled. Damage is not an error here.
    pub(crate) fn read(dir: &Path, scratch: &Path) -> Result<Wreck> {
        let mut wreck = Wreck::default();
        let names = names(dir)?;
        let inventory = Inventory::read(dir).unwrap_or_else(|error| {
            wreck.damage.push(error.without_remedy().to_owned());
            None
        });
        let found = manifest::find(dir, inventory.as_ref());
        let manifest = found.map_err(|what| wreck.damage.push(what)).ok();
        let (logs, mut logs_are_whole) = wreck.copy(dir, scratch, &names, manifest.as_deref())?;
        if let Some(Err(error)) = inventory.as_ref().map(|inventory| inventory.compare_logs(dir)) {
            // The damage of a log was told above.
            if std::mem::replace(&mut logs_are_whole, false) {
                wreck.damage.push(error.without_remedy().to_owned());
            }
        }
        if let Some(manifest) = manifest
            && wreck.ask_rocksdb(scratch)
            && wreck.knows_all_files(dir, &names, &scratch.join(manifest))
        {
            let documents: Vec<String> = wreck
                .live
                .iter()
                .flatten()
                .filter(|file| !file.is_rows)
                .map(|file| file.name.clone())
                .collect();
            let is_silent = |name: &&String| {
                SstFile::open(&dir.join(name)).is_ok_and(|sst| sst.properties.is_none())
            };
            if !logs_are_whole {
                // RocksDB does not see what is behind damage.
                wreck.read_documents(dir, &documents, &logs);
            } else if let Some(name) = documents.iter().find(is_silent) {
                wreck.damage.push(format!("{name}: its properties are damaged"));
            }
            wreck.documents_are_latest = inventory.is_some() && wreck.damage.is_empty();
            return Ok(wreck);
        }
        wreck.live = None;
        wreck.documents.clear();
        let told = wreck.damage.len();
        wreck.read_documents(dir, &names, &logs);
        let has_newest_log = inventory.is_some_and(|inventory| inventory.has_newest_log(dir));
        wreck.documents_are_latest = has_newest_log && logs_are_whole && wreck.damage.len() == told;
        Ok(wreck)
    }

    /// Fills the folder that RocksDB is shown. Returns the logs, and whether they are whole.
    fn copy(
        &mut self,
        dir: &Path,
        scratch: &Path,
        names: &[String],
        manifest: Option<&str>,
    ) -> Result<(Vec<PathBuf>, bool)> {
        let (mut logs, mut are_whole) = (Vec::new(), true);
        for name in names {
            let (from, to) = (dir.join(name), scratch.join(name));
            let failed = |error: io::Error| Error::io(format!("'{}': {error}", to.display()));
            let (is_table, is_log) = (is_sst(name), is_wal(name));
            let is_list = manifest.is_some_and(|manifest| name == manifest || name == CURRENT);
            if !is_table && !is_log && !is_list {
                continue;
            }
            // RocksDB would wait for a pipe for ever.
            let what = match fs::metadata(&from) {
                Ok(found) if !found.is_file() => Some("it is not a regular file".to_owned()),
                Ok(_) if is_table => {
                    let path = fs::canonicalize(&from).map_err(failed)?;
                    std::os::unix::fs::symlink(path, &to).map_err(failed)?;
                    None
                }
                Ok(_) => {
                    logs.extend(is_log.then(|| from.clone()));
                    copy_whole(&from, &to, name == CURRENT).err()
                }
                Err(error) => Some(format!("it cannot be read: {error}")),
            };
            // Without the MANIFEST every SST file is read later, and its damage told then.
            if let Some(what) = what.filter(|_| !is_table || manifest.is_some()) {
                are_whole &= !is_log;
                self.damage.push(format!("{name}: {what}"));
            }
        }
        Ok((logs, are_whole))
    }

    /// Lets RocksDB read the MANIFEST and the documents; false when it cannot.
    fn ask_rocksdb(&mut self, scratch: &Path) -> bool {
        let mut options = Options::default();
        options.set_max_open_files(OPEN_FILES);
        options.set_max_file_opening_threads(1);
        // SST files may be missing, or have another length.
        options.set_paranoid_checks(false);
        let open = || {
            let families = DB::list_cf(&options, scratch)?;
            let db = DB::open_cf_for_read_only(&options, scratch, &families, false)?;
            let live = db.live_files()?;
            Ok::<_, rust_rocksdb::Error>((db, live))
        };
        let (db, live) = match open() {
            Ok(found) => found,
            Err(error) => {
                self.damage.push(format!("MANIFEST: {}", translate(&error).without_remedy()));
                return false;
            }
        };
        let live = live.into_iter().map(|file| Live {
            name: file.name.trim_start_matches('/').to_owned(),
            size: file.size as u64,
            seqno: file.largest_seqno,
            smallest_seqno: file.smallest_seqno,
            first: file.start_key.unwrap_or_default(),
            last: file.end_key.unwrap_or_default(),
            entries: Some(file.num_entries).filter(|entries| *entries > 0),
            is_rows: file.column_family_name != FAMILY,
        });
        let live = self.live.insert(live.collect());
        let Some(meta) = db.cf_handle(FAMILY) else {
            self.damage.push("the descriptions of groups are not there".to_owned());
            return true;
        };
        for entry in db.iterator_cf(meta, IteratorMode::Start) {
            match entry {
                Ok((key, value)) => {
                    self.documents
                        .insert(String::from_utf8_lossy(&key).into_owned(), value.into_vec());
                }
                Err(error) => {
                    self.damage.push(format!("descriptions of groups: {error}"));
                    let files = live.iter().filter(|file| !file.is_rows);
                    let names: Vec<String> = files.map(|file| file.name.clone()).collect();
                    let read = self.documents.clone();
                    self.read_documents(scratch, &names, &[]);
                    self.documents.extend(read);
                    break;
                }
            }
        }
        true
    }

    /// Whether the MANIFEST, whose copy is `copy`, knows of all files that it should.
    fn knows_all_files(&mut self, dir: &Path, names: &[String], copy: &Path) -> bool {
        match manifest::find_unknown(dir, names, copy, self.live.as_deref().unwrap_or_default()) {
            Ok(None) => true,
            Ok(Some(name)) => {
                let what = "the MANIFEST does not know of it: it lost its end, or is an older \
                            one, or the process was killed while the file was added; every file \
                            counts";
                self.damage.push(format!("{name}: {what}"));
                false
            }
            Err(what) => {
                self.damage.push(what);
                false
            }
        }
    }
}

/// The files of a folder.
fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |error: io::Error| Error::io(format!("'{}': {error}", dir.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Copies a file; of a log, only what is before the first record that is not whole.
fn copy_whole(from: &Path, to: &Path, is_text: bool) -> std::result::Result<(), String> {
    let copy = || io::copy(&mut regular::open(from)?, &mut fs::File::create_new(to)?);
    copy().map_err(|error| error.to_string())?;
    if is_text {
        return Ok(());
    }
    let checked = log_file::check(from).map_err(|error| error.to_string())?;
    let cut = || fs::File::options().write(true).open(to)?.set_len(checked.whole);
    cut().map_err(|error| error.to_string())?;
    match checked.end {
        End::Whole | End::Torn => Ok(()),
        End::Damaged(at, what) => Err(format!("damaged at byte {at}: {what}")),
    }
}

//! What can still be learned from a damaged database, without changing it: which files of rows
//! count, and the documents.
//!
//! If the MANIFEST is whole, RocksDB tells both: it is shown a folder with links to the files of
//! rows and copies of the small files. If not, every file of rows may count, and documents come
//! from their own files and from the logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rust_rocksdb::{DB, IteratorMode, Options};

use super::log_file::{self, End};
use super::options;
use super::sst::SstFile;
use super::{META, translate};
use crate::error::{Error, Result};

/// A file of rows that the MANIFEST names.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Live {
    pub(in crate::storage) name: String,
    /// The largest sequence number in it. All entries of a file that was ingested have this one.
    pub(in crate::storage) seqno: u64,
    pub(in crate::storage) first: Vec<u8>,
    pub(in crate::storage) last: Vec<u8>,
    pub(in crate::storage) entries: u64,
    pub(in crate::storage) is_rows: bool,
}

/// What is known of a damaged database.
#[derive(Default)]
pub(in crate::storage) struct Wreck {
    /// The files that count; None when every file may.
    pub(in crate::storage) live: Option<Vec<Live>>,
    pub(in crate::storage) documents: BTreeMap<String, Vec<u8>>,
    /// What could not be read, in words.
    pub(in crate::storage) damage: Vec<String>,
}

impl Wreck {
    /// The documents of a directory that is whole, or as much as can be read of them.
    ///
    /// # Errors
    /// As [`Wreck::read`].
    pub(in crate::storage) fn documents(dir: &Path, scratch: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        Wreck::read(dir, scratch).map(|wreck| wreck.documents)
    }

    /// Looks at the files of `dir` through `scratch`, an empty folder, which RocksDB may write to.
    ///
    /// # Errors
    /// `IO` when `scratch` cannot be filled. Damage is not an error here.
    pub(in crate::storage) fn read(dir: &Path, scratch: &Path) -> Result<Wreck> {
        let mut wreck = Wreck::default();
        let names = names(dir)?;
        let manifest = match whole_manifest(dir) {
            Ok(name) => Some(name),
            Err(what) => {
                wreck.damage.push(what);
                None
            }
        };
        let (mut logs, mut is_log_damaged) = (Vec::new(), false);
        for name in &names {
            let (from, to) = (dir.join(name), scratch.join(name));
            let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", to.display()));
            if name.ends_with(".sst") {
                std::os::unix::fs::symlink(fs::canonicalize(&from).map_err(failed)?, &to).map_err(failed)?;
            } else if name.ends_with(".log") || Some(name) == manifest.as_ref() || name == "CURRENT" {
                let copied = copy_whole(&from, &to, name == "CURRENT");
                if let Err(what) = copied {
                    is_log_damaged |= name.ends_with(".log");
                    wreck.damage.push(format!("{name}: {what}"));
                }
                if name.ends_with(".log") {
                    logs.push(from);
                }
            }
        }
        if manifest.is_some() {
            match wreck.ask_rocksdb(scratch) {
                Ok(()) => {
                    if is_log_damaged {
                        // RocksDB does not see what is behind the damage.
                        let is_document = |file: &&Live| !file.is_rows;
                        let files = wreck.live.iter().flatten().filter(is_document);
                        let names: Vec<String> = files.map(|file| file.name.clone()).collect();
                        wreck.read_documents(dir, &names, &logs);
                    }
                    return Ok(wreck);
                }
                Err(error) => wreck.damage.push(format!("MANIFEST: {}", error.message())),
            }
        }
        wreck.live = None;
        wreck.read_documents(dir, &names, &logs);
        Ok(wreck)
    }

    fn ask_rocksdb(&mut self, scratch: &Path) -> Result<()> {
        let mut options = Options::default();
        options::bound_files(&mut options);
        // Files of rows may be missing, or have another length.
        options.set_paranoid_checks(false);
        let families = DB::list_cf(&options, scratch).map_err(|error| translate(&error))?;
        let db = DB::open_cf_for_read_only(&options, scratch, &families, false);
        let db = db.map_err(|error| translate(&error))?;
        let live = db.live_files().map_err(|error| translate(&error))?;
        self.live = Some(
            live.into_iter()
                .map(|file| Live {
                    name: file.name.trim_start_matches('/').to_owned(),
                    seqno: file.largest_seqno,
                    first: file.start_key.unwrap_or_default(),
                    last: file.end_key.unwrap_or_default(),
                    entries: file.num_entries,
                    is_rows: file.column_family_name != META,
                })
                .collect(),
        );
        let Some(meta) = db.cf_handle(META) else {
            self.damage.push("the descriptions of groups are not there".to_owned());
            return Ok(());
        };
        for entry in db.iterator_cf(meta, IteratorMode::Start) {
            match entry {
                Ok((key, value)) => {
                    self.documents.insert(String::from_utf8_lossy(&key).into_owned(), value.into_vec());
                }
                Err(error) => {
                    self.damage.push(format!("descriptions of groups: {error}"));
                    let files: Vec<_> = self.live.iter().flatten().filter(|file| !file.is_rows).collect();
                    let names: Vec<String> = files.into_iter().map(|file| file.name.clone()).collect();
                    let read = self.documents.clone();
                    self.read_documents(scratch, &names, &[]);
                    self.documents.extend(read);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The newest of each document that can be read from files and logs.
    fn read_documents(&mut self, dir: &Path, names: &[String], logs: &[PathBuf]) {
        let mut newest: BTreeMap<String, (u64, Option<Vec<u8>>)> = BTreeMap::new();
        let mut take = |key: Vec<u8>, seqno: u64, value: Option<Vec<u8>>| {
            let place = newest.entry(String::from_utf8_lossy(&key).into_owned()).or_default();
            if seqno >= place.0 {
                *place = (seqno, value);
            }
        };
        for name in names.iter().filter(|name| name.ends_with(".sst")) {
            // A file that cannot be opened is reported when its rows are looked for.
            let Ok(sst) = SstFile::open(&dir.join(name)) else { continue };
            if sst.family.as_deref() != Some(META) {
                continue;
            }
            for block in 0..sst.block_count() {
                match sst.entries_of(block) {
                    Some(entries) => {
                        entries.into_iter().for_each(|entry| take(entry.key, entry.seqno, entry.value));
                    }
                    None => {
                        self.damage.push(format!("{name}: a block with descriptions of groups is damaged"))
                    }
                }
            }
        }
        for log in logs {
            for batch in log_file::payloads(log) {
                for (seqno, key, value) in documents_of(&batch) {
                    take(key, seqno, value);
                }
            }
        }
        self.documents.extend(newest.into_iter().filter_map(|(key, (_, value))| Some((key, value?))));
    }
}

/// The files of a folder.
fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", dir.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The MANIFEST that CURRENT names, if each of its records is whole.
fn whole_manifest(dir: &Path) -> std::result::Result<String, String> {
    let current = fs::read_to_string(dir.join("CURRENT")).map_err(|error| format!("CURRENT: {error}"))?;
    let name = current.strip_suffix('\n').filter(|name| name.starts_with("MANIFEST-"));
    let name = name.ok_or("CURRENT: it names no MANIFEST")?;
    match log_file::check(&dir.join(name)).map_err(|error| format!("{name}: {error}"))?.end {
        End::Damaged(at, what) => Err(format!("{name}: damaged at byte {at}: {what}")),
        End::Whole | End::Torn => Ok(name.to_owned()),
    }
}

/// Copies a file; a log only up to the first record that is not whole.
fn copy_whole(from: &Path, to: &Path, is_text: bool) -> std::result::Result<(), String> {
    fs::copy(from, to).map_err(|error| error.to_string())?;
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

/// The documents of a batch in the log, each with its sequence number; None for one that is
/// deleted.
fn documents_of(batch: &[u8]) -> Vec<(u64, Vec<u8>, Option<Vec<u8>>)> {
    let mut documents = Vec::new();
    let Some((seqno, mut rest)) = batch.split_first_chunk::<8>() else { return documents };
    let seqno = u64::from_le_bytes(*seqno);
    rest = rest.get(4..).unwrap_or_default();
    let mut read = || -> Option<()> {
        loop {
            let (kind, after) = rest.split_first()?;
            rest = after;
            // Kinds 4 and 5 have the number of a column family. Those without are rows, which damo
            // never writes into a log.
            let family = if [4, 5].contains(kind) { super::sst::varint(&mut rest)? } else { 0 };
            let mut text = || {
                let len = super::sst::varint(&mut rest)?;
                super::sst::take(&mut rest, len).map(<[u8]>::to_vec)
            };
            let (key, value) = match kind {
                0 | 4 => (text()?, None),
                1 | 5 => (text()?, Some(text()?)),
                _ => return None,
            };
            if family != 0 {
                documents.push((seqno + documents.len() as u64, key, value));
            }
        }
    };
    let _ = read();
    documents
}

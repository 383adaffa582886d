//! The SST files of rows that count. Each is read block by block; damaged blocks are skipped.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use super::lost::Lost;
use super::report::Salvaged;
use crate::error::{Error, Result};
use crate::rocks::file_names::is_sst;
use crate::rocks::incoming;
use crate::rocks::{Entry, Live, SstFile, Unreadable, Wreck};

/// So many files are held open. Reading a block of another file opens it first.
const HELD: usize = 32;

/// So many damaged blocks of a file are named one by one; the others are counted.
const TOLD: u64 = 10_000;

/// A file that is read.
struct Source {
    sst: SstFile,
    name: String,
    /// RocksDB's sequence number of all entries, if they have the same.
    seqno: Option<u64>,
    block: usize,
    entries: std::vec::IntoIter<Entry>,
    /// How many entries were read.
    read: u64,
    /// How many entries the file has, if its properties or the MANIFEST say so.
    expected: Option<u64>,
    /// How many blocks could not be read.
    damaged: u64,
}

/// All files that count.
pub(super) struct Sources {
    list: Vec<Source>,
    held: VecDeque<usize>,
}

impl Sources {
    /// Finds the files that count.
    ///
    /// # Errors
    /// `IO` when a folder cannot be read, or too few files can be open.
    pub(super) fn find(
        dir: &Path,
        wreck: &Wreck,
        lost: &mut Lost,
        salvaged: &mut Salvaged,
    ) -> Result<Sources> {
        let mut sources = Sources { list: Vec::new(), held: VecDeque::new() };
        match &wreck.live {
            Some(live) => sources.add_live(dir, live, lost, salvaged)?,
            None => sources.add_all(dir, lost, salvaged)?,
        }
        Ok(sources)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    fn add_all(&mut self, dir: &Path, lost: &mut Lost, salvaged: &mut Salvaged) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", dir.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names.iter().filter(|name| is_sst(name)) {
            match SstFile::open(&dir.join(name)) {
                // A file of documents; these were read already.
                Ok(sst) if sst.has_documents() => {}
                Ok(sst) => self.add(sst, name, None, salvaged)?,
                Err(unreadable) => lose(name, &unreadable, None, lost, salvaged)?,
            }
        }
        Ok(())
    }

    fn add_live(
        &mut self,
        dir: &Path,
        live: &[Live],
        lost: &mut Lost,
        salvaged: &mut Salvaged,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for file in live.iter().filter(|file| file.is_rows) {
            match SstFile::open(&dir.join(&file.name)) {
                Ok(sst) => self.add(sst, &file.name, Some(file), salvaged)?,
                Err(unreadable) => missing.push((file, unreadable)),
            }
        }
        // damo's writer keeps its own link to a new file until RocksDB's link is safe.
        let mut kept = if missing.is_empty() { Vec::new() } else { kept(dir, salvaged)? };
        let fits: Vec<Vec<bool>> = missing
            .iter()
            .map(|(file, _)| kept.iter().map(|sst| is_same(sst, file)).collect())
            .collect();
        for (index, (file, unreadable)) in missing.iter().enumerate() {
            let fitting = |row: &Vec<bool>, at: usize| row.get(at) == Some(&true);
            let is_candidate = |at: &usize| fits.get(index).is_some_and(|row| fitting(row, *at));
            let candidates: Vec<usize> = (0..kept.len()).filter(is_candidate).collect();
            // A kept file is used only if it fits no other missing file.
            let only = match candidates.as_slice() {
                [at] if fits.iter().filter(|row| fitting(row, *at)).count() == 1 => Some(*at),
                _ => None,
            };
            match only.and_then(|at| kept.get_mut(at)?.take()) {
                Some(sst) => self.add(sst, &file.name, Some(file), salvaged)?,
                None => lose(&file.name, unreadable, Some(file), lost, salvaged)?,
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        sst: SstFile,
        name: &str,
        live: Option<&Live>,
        salvaged: &mut Salvaged,
    ) -> Result<()> {
        salvaged.files_read += 1;
        let properties = sst.properties.as_ref();
        if properties.is_none() {
            salvaged.tell(format!("{name}: its properties are damaged"))?;
        }
        let is_external = properties.is_some_and(|properties| properties.is_external);
        // The entries of an ingested file have no sequence numbers; the MANIFEST has one for all.
        let has_one = |live: &&Live| is_external || live.smallest_seqno == live.seqno;
        self.list.push(Source {
            seqno: live.filter(has_one).map(|live| live.seqno),
            expected: properties
                .and_then(|found| found.entries)
                .or(live.and_then(|live| live.entries)),
            sst,
            name: name.to_owned(),
            block: 0,
            entries: Vec::new().into_iter(),
            read: 0,
            damaged: 0,
        });
        Ok(())
    }

    /// The next entry of a file, with its sequence number in the database. Damaged blocks before it
    /// are added to `lost`.
    ///
    /// # Errors
    /// `IO` when too few files can be open; `OUT_OF_MEMORY`.
    pub(super) fn next(
        &mut self,
        index: usize,
        lost: &mut Lost,
        salvaged: &mut Salvaged,
    ) -> Result<Option<Entry>> {
        loop {
            let source = &mut self.list[index];
            if let Some(mut entry) = source.entries.next() {
                source.read += 1;
                entry.seqno = source.seqno.unwrap_or(entry.seqno);
                return Ok(Some(entry));
            }
            if source.block == source.sst.block_count() {
                source.sst.release();
                return Ok(None);
            }
            self.hold(index)?;
            let source = &mut self.list[index];
            match source.sst.entries_of(source.block) {
                Ok(entries) => source.entries = entries.into_iter(),
                Err(what) if source.sst.is_short() => {
                    let block = format!("{}: block {} {what}", source.name, source.block);
                    return Err(Error::out_of_memory(block));
                }
                Err(what) => {
                    salvaged.blocks_lost += 1;
                    source.damaged += 1;
                    if source.damaged <= TOLD {
                        salvaged.tell(format!("{}: block {} {what}", source.name, source.block))?;
                    }
                    lost.add_block(source.sst.keys_of(source.block));
                }
            }
            source.block += 1;
        }
    }

    /// Opens a file, and closes another one if too many are open.
    fn hold(&mut self, index: usize) -> Result<()> {
        if self.list[index].sst.is_held() {
            return Ok(());
        }
        if self.held.len() == HELD
            && let Some(oldest) = self.held.pop_front()
        {
            self.list[oldest].sst.release();
        }
        let source = &mut self.list[index];
        let held = source.sst.hold();
        self.held.push_back(index);
        held.map_err(|error| {
            let text = format!("'{}': {error}", source.sst.path.display());
            crate::files::regular::check_no_shortage(&text).err().unwrap_or_else(|| Error::io(text))
        })
    }

    /// Counts the entries that could not be read in the files that were opened.
    ///
    /// # Errors
    /// As [`Salvaged::tell`].
    pub(super) fn count_lost(&self, salvaged: &mut Salvaged) -> Result<()> {
        for source in &self.list {
            if let Some(more) = source.damaged.checked_sub(TOLD).filter(|more| *more > 0) {
                salvaged.tell(format!("{}: {more} more blocks cannot be read", source.name))?;
            }
            match source.expected {
                Some(expected) => {
                    let missing = expected.saturating_sub(source.read);
                    salvaged.entries_lost = salvaged.entries_lost.saturating_add(missing);
                }
                None if source.damaged > 0 => {
                    salvaged.tell(format!(
                        "{}: how many rows its damaged blocks had is not on record",
                        source.name
                    ))?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Counts a file of which nothing can be read.
///
/// # Errors
/// `OUT_OF_MEMORY` when that is why; as [`Salvaged::tell`].
fn lose(
    name: &str,
    unreadable: &Unreadable,
    live: Option<&Live>,
    lost: &mut Lost,
    salvaged: &mut Salvaged,
) -> Result<()> {
    if unreadable.is_shortage {
        return Err(Error::out_of_memory(format!("{name}: {}", unreadable.what)));
    }
    let entries = unreadable.entries.or(live.and_then(|live| live.entries));
    let remark = if entries.is_some() { "" } else { "; how many rows it had is not on record" };
    salvaged.tell(format!("{name}: {}{remark}", unreadable.what))?;
    salvaged.files_lost += 1;
    salvaged.entries_lost = salvaged.entries_lost.saturating_add(entries.unwrap_or(0));
    lost.add_file(live);
    Ok(())
}

/// The SST files in the folder `incoming`, which were on their way into RocksDB.
fn kept(dir: &Path, salvaged: &mut Salvaged) -> Result<Vec<Option<SstFile>>> {
    let mut files = Vec::new();
    match incoming::list(dir) {
        Ok(paths) => {
            files.extend(paths.iter().filter_map(|path| SstFile::open(path).ok()).map(Some))
        }
        Err(error) => salvaged.tell(error.without_remedy().to_owned())?,
    }
    Ok(files)
}

/// Whether a kept file can be the live file that the MANIFEST names.
fn is_same(kept: &Option<SstFile>, live: &Live) -> bool {
    let Some(sst) = kept else { return false };
    let Some(properties) = &sst.properties else { return false };
    let agree = live.entries.is_none() || properties.entries == live.entries;
    let is_ingested = properties.is_external && live.smallest_seqno == live.seqno;
    let ends = || sst.ends() == Some((live.first.clone(), live.last.clone()));
    sst.len == live.size && is_ingested && agree && ends()
}

//! Reads the documents of a database whose MANIFEST does not count, or whose logs are damaged: the
//! newest of each, from the files and logs themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Wreck;
use crate::rocks::file_names::is_sst;
use crate::rocks::log_file;
use crate::rocks::sst::{SstFile, take, varint};

impl Wreck {
    /// Adds the newest version of each document that can be read from files and logs.
    pub(super) fn read_documents(&mut self, dir: &Path, names: &[String], logs: &[PathBuf]) {
        let mut newest: BTreeMap<String, (u64, Option<Vec<u8>>)> = BTreeMap::new();
        let mut add = |key: Vec<u8>, seqno: u64, value: Option<Vec<u8>>| {
            let place = newest.entry(String::from_utf8_lossy(&key).into_owned()).or_default();
            if seqno >= place.0 {
                *place = (seqno, value);
            }
        };
        for name in names.iter().filter(|name| is_sst(name)) {
            // A file that cannot be opened is reported when its rows are looked for.
            let Ok(sst) = SstFile::open(&dir.join(name)) else { continue };
            if !sst.has_documents() {
                continue;
            }
            if sst.properties.is_none() {
                self.damage.push(format!("{name}: its properties are damaged"));
            }
            for block in 0..sst.block_count() {
                match sst.entries_of(block) {
                    Ok(entries) => {
                        entries
                            .into_iter()
                            .for_each(|entry| add(entry.key, entry.seqno, entry.value));
                    }
                    Err(what) => self
                        .damage
                        .push(format!("{name}: a block with descriptions of groups {what}")),
                }
            }
        }
        for log in logs {
            match log_file::payloads(log) {
                Ok(batches) => {
                    for (seqno, key, value) in batches.iter().flat_map(|batch| documents_of(batch))
                    {
                        add(key, seqno, value);
                    }
                }
                Err(error) => self.damage.push(format!("{}: {error}", log.display())),
            }
        }
        self.documents
            .extend(newest.into_iter().filter_map(|(key, (_, value))| Some((key, value?))));
    }
}

/// The documents of a batch in the log, each with RocksDB's sequence number; None for one that was
/// deleted.
fn documents_of(batch: &[u8]) -> Vec<(u64, Vec<u8>, Option<Vec<u8>>)> {
    let mut documents = Vec::new();
    let Some((seqno, mut rest)) = batch.split_first_chunk::<8>() else { return documents };
    let mut seqno = u64::from_le_bytes(*seqno);
    rest = rest.get(4..).unwrap_or_default();
    let mut read = || -> Option<()> {
        loop {
            let (kind, after) = rest.split_first()?;
            rest = after;
            // Kinds 4, 5 and 14 have the number of a column family. The kinds without are in the
            // column family of rows. damo logs only DeleteRanges (15) there, never a row.
            let family = if [4, 5, 14].contains(kind) { varint(&mut rest)? } else { 0 };
            let mut text = || {
                let len = varint(&mut rest)?;
                take(&mut rest, len).map(<[u8]>::to_vec)
            };
            let (key, value) = match kind {
                0 | 4 => (text()?, None),
                1 | 5 | 14 | 15 => (text()?, Some(text()?)),
                _ => return None,
            };
            if family != 0 {
                documents.push((seqno, key, value));
            }
            seqno = seqno.saturating_add(1);
        }
    };
    let _ = read();
    documents
}

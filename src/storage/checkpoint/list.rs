//! The list of a checkpoint's files, which tells whether a copy is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::cut::Cut;
use crate::error::{Error, Result, Status};
use crate::files::folder::{failed, is_absence, sync_dir};
use crate::files::regular;
use crate::rocks::file_names::is_sst;
use crate::seqno::Seqno;

/// The list's file name. The list is written last. Opening the directory as a storage removes it,
/// since files change from then on.
pub(in crate::storage) const LIST: &str = "checkpoint.json";
const FORMAT: &str = "damo checkpoint 2";
/// The format before this one: the same without checksums.
const EARLIER_FORMAT: &str = "damo checkpoint 1";
/// What the list says.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::storage) struct FileList {
    pub(crate) format: String,
    /// The checkpoint id.
    pub(crate) id: String,
    /// The sequence number of the checkpoint's last call.
    #[serde(rename = "number")]
    pub(crate) seqno: Seqno,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Every other file: its path inside the directory, and its length in bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// CRC-32 of the files that have no checksums of their own, by their paths.
    #[serde(default)]
    checksums: BTreeMap<String, u32>,
    /// CRC-32 of the rest of the list.
    #[serde(default)]
    crc32: u32,
}

impl FileList {
    /// Lists a checkpoint that has everything but its list.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn of(dir: &Path, id: &str, cut: Cut) -> Result<FileList> {
        let mut list = FileList {
            format: FORMAT.to_owned(),
            id: id.to_owned(),
            seqno: cut.seqno,
            time: cut.time,
            files: Vec::new(),
            checksums: BTreeMap::new(),
            crc32: 0,
        };
        list_files(dir, "", &mut list.files).map_err(|error| failed(dir, &error))?;
        list.files.sort();
        list.add_checksums(dir)?;
        Ok(list)
    }

    /// Writes the list and syncs it.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn write(&self, dir: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = File::create_new(dir.join(LIST))?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            sync_dir(dir)
        };
        write().map_err(|error| failed(dir, &error))
    }

    fn add_checksums(&mut self, dir: &Path) -> Result<()> {
        for (name, _) in self.files.iter().filter(|(name, _)| !has_checksums(name)) {
            let path = dir.join(name);
            let bytes = regular::read(&path).map_err(|error| failed(&path, &error))?;
            self.checksums.insert(name.clone(), crc32fast::hash(&bytes));
        }
        self.crc32 = self.checksum()?;
        Ok(())
    }

    /// The checksum of the rest of the list.
    fn checksum(&self) -> Result<u32> {
        let others = (&self.format, &self.id, self.seqno, self.time, &self.files, &self.checksums);
        let json =
            serde_json::to_vec(&others).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(crc32fast::hash(&json))
    }

    /// Compares a checkpoint with its list; None when there is no list, as in a storage.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file that is missing or has another length; `NOT_SUPPORTED` for a
    /// later format.
    pub(crate) fn check(dir: &Path) -> Result<Option<FileList>> {
        let json = match regular::read(&dir.join(LIST)) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&dir.join(LIST), &error)),
        };
        let list: FileList = serde_json::from_slice(&json).map_err(|error| {
            Error::corruption(format!("its list of files, {LIST}, is damaged: {error}"))
        })?;
        if ![FORMAT, EARLIER_FORMAT].contains(&list.format.as_str()) {
            return Err(Error::new(
                Status::NotSupported,
                format!(
                    "the format of its {LIST} is '{}'; this damo reads '{FORMAT}'",
                    list.format
                ),
            ));
        }
        if list.format == FORMAT && list.crc32 != list.checksum()? {
            return Err(Error::corruption(format!(
                "its list of files, {LIST}, is damaged: its checksum does not fit"
            )));
        }
        for (name, bytes) in &list.files {
            match fs::metadata(dir.join(name)) {
                Ok(found) if found.len() == *bytes => {}
                Ok(found) => {
                    let found = found.len();
                    return Err(Error::corruption(format!(
                        "its file '{name}' has {found} bytes and had {bytes} when the checkpoint \
                         was made"
                    )));
                }
                Err(error) if is_absence(&error) => {
                    return Err(Error::corruption(format!(
                        "its file '{name}' cannot be read: {error}"
                    )));
                }
                // The file may be there, and whole.
                Err(error) => return Err(failed(&dir.join(name), &error)),
            }
        }
        for (name, crc32) in &list.checksums {
            let path = dir.join(name);
            let bytes = regular::read(&path).map_err(|error| failed(&path, &error))?;
            if crc32fast::hash(&bytes) != *crc32 {
                return Err(Error::corruption(format!(
                    "its file '{name}' is not as it was when the checkpoint was made; restore it \
                     from a copy"
                )));
            }
        }
        Ok(Some(list))
    }
}

/// Whether a file has checksums of its own: SST files and filters, which take longer to compare.
fn has_checksums(name: &str) -> bool {
    is_sst(name) || name.starts_with("filters/") && !name.ends_with(".json")
}

/// Adds every file below a directory, but a checkpoint's list, to `files`: its path inside the
/// directory, and its length in bytes.
pub(in crate::storage) fn list_files(
    dir: &Path,
    prefix: &str,
    files: &mut Vec<(String, u64)>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            list_files(&entry.path(), &format!("{name}/"), files)?;
        } else if name != LIST {
            files.push((name, metadata.len()));
        }
    }
    Ok(())
}

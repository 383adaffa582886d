//! Opens the database of a storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::expiry::Expiry;
use super::options::StorageOptions;
use crate::error::{Error, Result};
use crate::rocks::{INVENTORY, Inventory, Opening, Rocks};
use crate::seqno::Seqno;

/// Opens the database of a storage, or makes it. The files must have been compared with the
/// inventory, which from now on says only how they begin. The files of `kept` may be needed in
/// place of missing ones.
pub(crate) fn open(
    dir: &Path,
    opening: Opening,
    options: &StorageOptions,
    expiry: &Arc<Expiry>,
    kept: &[PathBuf],
) -> Result<Rocks> {
    let (mut last, mut time) = (Seqno::NONE, 0);
    if let Some(inventory) = Inventory::read(dir)? {
        (last, time) = (inventory.last, inventory.time);
        expiry.restore_time(time);
        inventory.begin(dir)?;
    }
    let expiry = Arc::clone(expiry);
    let rocks =
        Rocks::open(dir, opening, &options.resources(), kept, move |value| expiry.fate(value))?;
    rocks.note_last(last);
    rocks.set_time(time);
    Ok(rocks)
}

/// The error for a directory without the inventory that its format wants.
pub(crate) fn missing_inventory(dir: &Path) -> Error {
    Error::damage(format_args!("'{}' is missing", dir.join(INVENTORY).display()))
}

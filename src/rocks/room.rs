//! Room on the disk for writes from whose failure RocksDB does not recover.
//!
//! A write that finds no room stops RocksDB until it sees, within seconds, that there is room
//! again. But if it cannot begin the log for a new memtable, it stops until the database is opened
//! again. So damo checks for room before that. Knows files, not what is in them.

use std::fs::{self, File};
use std::io::{Result as IoResult, Write};
use std::path::Path;

use super::file_names::TEMPORARY;
use crate::error::{Error, Result};

/// More bytes than documents take in a memtable, the log and the MANIFEST.
const ROOM: usize = 2 << 20;
static PIECE: [u8; 64 << 10] = [0; 64 << 10];

/// Checks that there is room for a flush. Call it before memtables are flushed.
///
/// # Errors
/// `IO` when the disk does not take as much as that may need.
pub(crate) fn check(dir: &Path) -> Result<()> {
    // The file that a killed process leaves is overwritten by the next check.
    let path = dir.join(format!("damo-room{TEMPORARY}"));
    // Really written, since not every file system can promise room.
    let fill = || -> IoResult<()> {
        let mut file = File::create(&path)?;
        (0..ROOM / PIECE.len()).try_for_each(|_| file.write_all(&PIECE))
    };
    let filled = fill();
    let removed = match fs::remove_file(&path) {
        // Another check at the same time has removed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    filled.and(removed).map_err(|error| {
        Error::io(format!("there is no room for {ROOM} bytes in '{}': {error}", dir.display()))
    })
}

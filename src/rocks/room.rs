//! Room on the disk for what RocksDB does not recover from when it runs out of it.
//!
//! A write that finds no room stops RocksDB until it sees, within seconds, that there is some again. But when the log that goes
//! with a new memtable cannot be begun, it stops until the database is opened again. So there is a look before that. Knows
//! files, not what is in them.

use std::fs::{self, File};
use std::io::{Result as IoResult, Write};
use std::path::Path;

use super::file_names::TEMPORARY;
use crate::error::{Error, Result};

/// More than documents in a memtable, the log and the manifest take.
const ROOM: usize = 2 << 20;
static PIECE: [u8; 64 << 10] = [0; 64 << 10];

/// To be called before memtables are flushed.
///
/// # Errors
/// `IO` when the disk does not take as much as that may need.
pub(crate) fn check(dir: &Path) -> Result<()> {
    // What a killed process leaves is written over by the next look.
    let path = dir.join(format!("damo-room{TEMPORARY}"));
    // Written, since not every file system can promise room.
    let fill = || -> IoResult<()> {
        let mut file = File::create(&path)?;
        (0..ROOM / PIECE.len()).try_for_each(|_| file.write_all(&PIECE))
    };
    let filled = fill();
    let removed = match fs::remove_file(&path) {
        // Of two at once the other was faster.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    filled.and(removed).map_err(|error| {
        Error::io(format!("there is no room for {ROOM} bytes in '{}': {error}", dir.display()))
    })
}

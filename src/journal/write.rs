//! Writes of many pieces, made whole.

use std::fs::File;
use std::io::{self, IoSlice, Write};

/// The most pieces of a write. POSIX guarantees only 16; Linux takes 1024.
const PIECES: usize = 1024;

/// As `Write::write_all`, for many pieces.
pub(super) fn write_all_vectored(
    mut file: &File,
    mut pieces: &mut [IoSlice<'_>],
) -> io::Result<()> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let some = pieces.len().min(PIECES);
        match file.write_vectored(&pieces[..some]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As `FileExt::write_all_at`, for many pieces.
pub(super) fn write_all_at(file: &File, mut pieces: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
    let mut at = at;
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let some = pieces.len().min(PIECES);
        match rustix::io::retry_on_intr(|| rustix::io::pwritev(file, &pieces[..some], at))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                at += written as u64;
                IoSlice::advance_slices(&mut pieces, written);
            }
        }
    }
    Ok(())
}

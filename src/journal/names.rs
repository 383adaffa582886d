//! The names of a journal's files, and how errors name them.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::seqno::Seqno;

const SEGMENT: &str = "journal";
const SPARE: &str = "spare";
/// The largest sequence number that fits in a stored row.
pub(super) const MAX_SEQNO: Seqno = Seqno::new((1 << 56) - 1);

/// The file name of the segment whose first call is `first`.
pub(super) fn name(first: Seqno) -> String {
    format!("{first:020}.{SEGMENT}")
}

/// The sequence number of a segment's first call, by the file's name.
pub(super) fn first_of(path: &Path) -> Option<Seqno> {
    number_of(path, SEGMENT)
}

/// The path of the spare that a segment becomes.
pub(super) fn spare_of(segment: &Path) -> PathBuf {
    segment.with_extension(SPARE)
}

/// The path of a spare that is made ahead. Its number is the largest, which no segment reaches.
pub(super) fn new_spare(dir: &Path) -> PathBuf {
    dir.join(name(MAX_SEQNO)).with_extension(SPARE)
}

/// Whether a file in a journal's folder is a spare.
pub(super) fn is_spare(path: &Path) -> bool {
    number_of(path, SPARE).is_some()
}

/// The sequence number in the name of a file with this suffix.
fn number_of(path: &Path, suffix: &str) -> Option<Seqno> {
    let name = path.file_name()?.to_str()?;
    let first = name.strip_suffix(suffix)?.strip_suffix('.')?.parse().ok().map(Seqno::new);
    // Sequence numbers begin with 1, and a row has no room for more than the largest.
    first.filter(|first| (Seqno::new(1)..=MAX_SEQNO).contains(first))
}

/// The error that a file or folder of the journal cannot be `what`: "read", say.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("the journal '{}' cannot be {what}: {error}", path.display()))
}

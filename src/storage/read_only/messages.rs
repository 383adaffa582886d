//! Errors of a likeness, as errors of the storage that it is a likeness of.

use std::path::Path;

use super::held::Held;
use crate::error::{Error, Status};

/// The system's messages when a folder cannot take what is written to it.
const NO_ROOM: [&str; 3] =
    ["No space left on device", "Disk quota exceeded", "Read-only file system"];
/// The system's message when a limit of the process forbids it.
const TOO_LARGE: &str = "File too large";
const MAKE_ROOM: &str = "with read_only, copies of small files and what the calls of the journal \
                         change are kept in the folder for temporary files; set TMPDIR to one \
                         that can be written and has room";
const MERGED_AWAY: &str = "whoever has the storage open has merged that file away since it was \
                           opened here with read_only: open it here again";

/// The same error, with the names in the original for files of the likeness `ours`. A file that
/// could not be written keeps its name: only the likeness has it.
pub(super) fn in_original(error: Error, ours: &Path, original: &Path, held: &Held) -> Error {
    let (ours, original) = (ours.to_string_lossy(), original.to_string_lossy());
    let message = error.message();
    if message.contains(&*ours) && is_refused_write(message) {
        return Error::new(error.status(), with_room(message.to_owned()));
    }
    let mut message = message.replace(&*ours, &original);
    let is_files = message.contains(&format!("{original}/"));
    // An error may pass through here more than once.
    let is_new = !message.contains(MERGED_AWAY);
    if error.status() == Status::Io
        && is_gone(&message)
        && is_files
        && is_new
        && held.passed_over > 0
    {
        let (count, all) = (held.len(), held.len() + held.passed_over);
        message += &format!(
            "; {MERGED_AWAY}. Only {count} of its {all} files could be kept: a higher limit of \
             open files (ulimit -n) keeps all of them"
        );
    }
    Error::new(error.status(), message)
}

/// Whether an error says that a file does not exist.
pub(super) fn is_gone(message: &str) -> bool {
    message.contains("No such file or directory")
}

/// The message, with a remedy if the folder for temporary files cannot take what is written.
pub(super) fn with_room(message: String) -> String {
    let is_full = NO_ROOM.iter().any(|text| message.contains(text));
    if is_full && !message.contains(MAKE_ROOM) {
        format!("{message}; {MAKE_ROOM}")
    } else {
        message
    }
}

/// Whether an error says that the folder for temporary files does not take what is written to it.
pub(super) fn is_refused_write(message: &str) -> bool {
    message.contains(TOO_LARGE) || NO_ROOM.iter().any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn told(held: &Held, text: &str) -> String {
        let told =
            in_original(Error::io(text), Path::new("/tmp/likeness"), Path::new("/data/s"), held);
        // A second pass changes nothing.
        let again =
            in_original(told.clone(), Path::new("/tmp/likeness"), Path::new("/data/s"), held);
        assert_eq!(told, again);
        told.message().to_owned()
    }

    #[test]
    fn each_file_is_named_where_it_is() {
        let mut held = Held::new(0);
        held.passed_over = 1;
        let system = |code: i32| io::Error::from_raw_os_error(code).to_string();
        for code in [28, 122, 30] {
            let full = format!("'/tmp/likeness/incoming/000000.sst': {}", system(code));
            assert_eq!(told(&held, &full), format!("{full}; {MAKE_ROOM}"));
            // A file outside the likeness, such as a checkpoint's.
            let other = format!("'/data/ck': {}", system(code));
            assert_eq!(told(&held, &other), other);
        }
        let too_large = format!("'/tmp/likeness/000009.log': {}", system(27));
        assert_eq!(told(&held, &too_large), too_large);
        assert_eq!(
            told(&held, "'/tmp/likeness/CURRENT' is damaged"),
            "'/data/s/CURRENT' is damaged"
        );
        let gone = told(&held, &format!("'/tmp/likeness/000008.sst': {}", system(2)));
        assert!(gone.starts_with("'/data/s/000008.sst': ") && gone.contains(MERGED_AWAY), "{gone}");
        for other in ["/data/ck", "/data/s2/ck"] {
            let other = format!("'{other}': {}", system(2));
            assert_eq!(told(&held, &other), other);
        }
    }
}

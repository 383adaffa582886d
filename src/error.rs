//! The error type of all layers: a status for programs and a message for people.
//!
//! Layers below `ffi` write messages that name the argument, its value and what would be accepted;
//! `ffi` puts the name of the C function in front.

use std::ffi::CStr;
use std::fmt;

/// The outcome of a call.
///
/// The numbers are explicit and never reused. A later release may add a number: treat one that you
/// do not know as an error.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum damo_status {
    /// The call succeeded.
    Ok = 0,
    /// An argument, a parameter name or a value is not accepted. Nothing was done.
    InvalidArgument = 1,
    /// What the call asks for does not exist.
    NotFound = 2,
    /// What the call would make exists already, or exists with other properties.
    AlreadyExists = 3,
    /// Another handle or call, here or in another process, is using the directory or the file. Or
    /// the call came from within a damo_executor.
    Busy = 4,
    /// The operating system refused: a full disk, a missing permission, a failed read, no more
    /// threads.
    Io = 5,
    /// Stored bytes are not what damo wrote: they are damaged, truncated or foreign.
    Corruption = 6,
    /// Not available in this version, for this kind of object, or in a storage that is open with
    /// read_only.
    NotSupported = 7,
    /// An earlier panic left this group in doubt. It refuses writes until the storage is opened
    /// again.
    Poisoned = 8,
    /// A bug in damo: the call panicked and was stopped at the C boundary.
    Panic = 9,
    /// The storage or filter belongs to the process from which this one was forked. A child that
    /// was forked after its parent had opened a storage cannot open one.
    Forked = 10,
    /// There is not enough memory for the call. Nothing was done.
    OutOfMemory = 11,
    /// The process is ending: the call came from a destructor or handler that runs after damo's
    /// own.
    Exiting = 12,
    /// The caller's progress function ended the call.
    Cancelled = 13,
    /// A group's global step is not the one that the call expects. Nothing was done.
    StepMismatch = 14,
}

/// The name Rust code uses for [`damo_status`].
pub use damo_status as Status;

impl Status {
    const ALL: [(Status, &'static CStr); 15] = [
        (Status::Ok, c"OK"),
        (Status::InvalidArgument, c"INVALID_ARGUMENT"),
        (Status::NotFound, c"NOT_FOUND"),
        (Status::AlreadyExists, c"ALREADY_EXISTS"),
        (Status::Busy, c"BUSY"),
        (Status::Io, c"IO"),
        (Status::Corruption, c"CORRUPTION"),
        (Status::NotSupported, c"NOT_SUPPORTED"),
        (Status::Poisoned, c"POISONED"),
        (Status::Panic, c"PANIC"),
        (Status::Forked, c"FORKED"),
        (Status::OutOfMemory, c"OUT_OF_MEMORY"),
        (Status::Exiting, c"EXITING"),
        (Status::Cancelled, c"CANCELLED"),
        (Status::StepMismatch, c"STEP_MISMATCH"),
    ];

    /// The status with this number, if there is one.
    pub fn from_code(code: i32) -> Option<Status> {
        Self::ALL.iter().map(|(status, _)| *status).find(|status| *status as i32 == code)
    }

    /// The name without its prefix: `BUSY`.
    pub fn name(self) -> &'static CStr {
        Self::ALL.iter().find(|(status, _)| *status == self).map_or(c"UNKNOWN", |(_, name)| name)
    }
}

/// A status that is not OK, with a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

/// The remedy for a damaged directory, at the end of a message.
pub const REMEDY: &str =
    "restore the directory from a copy or a checkpoint, or save what can be read with damo salvage";

/// The result of every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this status; the message names the argument, the value and what is accepted.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into() }
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Status::InvalidArgument, message)
    }

    /// `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Status::NotFound, message)
    }

    /// `ALREADY_EXISTS`.
    pub fn already_exists(message: impl Into<String>) -> Error {
        Error::new(Status::AlreadyExists, message)
    }

    /// `BUSY`.
    pub fn busy(message: impl Into<String>) -> Error {
        Error::new(Status::Busy, message)
    }

    /// `IO`.
    pub fn io(message: impl Into<String>) -> Error {
        Error::new(Status::Io, message)
    }

    /// `CORRUPTION`.
    pub fn corruption(message: impl Into<String>) -> Error {
        Error::new(Status::Corruption, message)
    }

    /// `FORKED`.
    pub fn forked(message: impl Into<String>) -> Error {
        Error::new(Status::Forked, message)
    }

    /// `OUT_OF_MEMORY`.
    pub fn out_of_memory(message: impl Into<String>) -> Error {
        Error::new(Status::OutOfMemory, message)
    }

    /// `PANIC`: a broken invariant; `what` says which.
    pub fn bug(what: impl fmt::Display) -> Error {
        Error::new(Status::Panic, format!("a bug in damo: {what}"))
    }

    /// `CORRUPTION` of a directory, with the remedy.
    pub fn damage(what: impl fmt::Display) -> Error {
        Error::corruption(format!("{what}; {REMEDY}"))
    }

    /// The status, for programs.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message without the remedy, for a list of damages or in the middle of another message.
    pub fn without_remedy(&self) -> &str {
        self.message.strip_suffix(REMEDY).map_or(&self.message, |rest| rest.trim_end_matches("; "))
    }

    /// The same error with the place it happened put in front of the message.
    #[must_use]
    pub fn within(mut self, place: &str) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.status.name().to_string_lossy())
    }
}

impl std::error::Error for Error {}

/// Panics as a bug would, for tests.
///
/// # Errors
/// Never: it panics.
#[allow(clippy::panic)]
pub fn panic_for_test() -> Result<()> {
    panic!("a panic that was asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_numbers_are_what_the_header_promises() {
        for (index, (status, name)) in Status::ALL.iter().enumerate() {
            assert_eq!(*status as usize, index);
            assert_eq!(Status::from_code(index as i32), Some(*status));
            assert_eq!(status.name(), *name);
        }
        assert_eq!(Status::from_code(-1), None);
        assert_eq!(Status::from_code(15), None);
    }
}

//! Why a command ends early: its message and its exit code.

use std::io::{ErrorKind, Write};

use damo::error::{Error, Status};
use serde_json::json;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// An error of the library or the tool.
    Error { status: Status, message: String },
    /// The reader of stdout has closed it, which is no error: `damo rows DIR | head`.
    ClosedPipe,
    /// Done, but something could not be read; the output says what.
    Incomplete,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(status: Status, message: impl Into<String>) -> Failure {
        Failure::Error { status, message: message.into() }
    }

    pub fn usage(message: &str) -> Failure {
        Failure::new(Status::InvalidArgument, message)
    }

    pub fn bug() -> Failure {
        Failure::new(Status::Panic, "a bug in damo: the tool stopped where it never should")
    }

    /// Writes the message to stderr and returns the exit code.
    pub fn report(&self, json: bool) -> i32 {
        let (status, message) = match self {
            Failure::Error { status, message } => (status, message),
            Failure::ClosedPipe => return 0,
            Failure::Incomplete => return 7,
        };
        let line = if json {
            json!({ "error": { "status": status.name().to_string_lossy(), "message": message } })
                .to_string()
        } else {
            format!("damo: {message}")
        };
        let _ = writeln!(std::io::stderr(), "{line}");
        match status {
            Status::InvalidArgument => 2,
            Status::NotFound => 3,
            Status::Busy => 4,
            Status::Corruption => 5,
            Status::AlreadyExists => 6,
            _ => 1,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.status(), error.message())
    }
}

/// Errors of writing to stdout.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(Status::Io, format!("stdout cannot be written: {error}")),
        }
    }
}

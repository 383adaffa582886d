//! What ends a command early, its exit code and its words.

use std::io::{ErrorKind, Write};

use damo::error::{Error, Status};
use serde_json::json;

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The library's or the tool's error.
    Error { status: Status, message: String },
    /// Nobody reads stdout any more, which is no error: `damo rows DIR | head`.
    ClosedPipe,
    /// Done, and not all of it could be had; the output says what.
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

    /// Says what is wrong on stderr and returns the exit code.
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

/// Of writing to stdout.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(Status::Io, format!("stdout cannot be written: {error}")),
        }
    }
}

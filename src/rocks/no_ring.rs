//! Ring, for systems without io_uring: none can be made.

use std::io;

use super::sst::FileRead;
use crate::error::Result;

pub(super) enum Ring {}

/// As in `ring.rs`.
#[allow(dead_code)]
pub(super) enum Left {
    Ring(Ring),
    Nothing,
    Refusal,
}

impl Ring {
    /// # Errors
    /// Always.
    pub(super) fn new() -> io::Result<Ring> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As in `ring.rs`.
    pub(super) fn read(
        self,
        _reads: &[FileRead<'_>],
        _visit: impl FnMut(usize, io::Result<&[u8]>) -> Result<()>,
    ) -> Result<Left> {
        match self {}
    }
}

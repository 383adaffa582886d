//! The keys that an increment removes. In the file they follow the rows, in the caller's order they
//! come between them. So they are kept until the rows are written, in a scratch file when they are
//! many.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::file::PartialFile;
use super::output::SectionOutput;
use crate::error::{Error, Result};
use crate::memory::filled;

/// The largest number of keys in memory: 8 MiB.
const HELD: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Removed {
    held: Vec<i64>,
    spilled: u64,
    file: Option<File>,
}

impl Removed {
    pub(super) fn len(&self) -> u64 {
        self.spilled + self.held.len() as u64
    }

    /// Adds keys.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn add(&mut self, keys: &[i64], near: &PartialFile) -> Result<()> {
        for keys in keys.chunks(HELD) {
            if self.held.len() + keys.len() > HELD {
                self.spill(near)?;
            }
            crate::memory::reserve(&mut self.held, keys.len())?;
            self.held.extend(keys.iter().map(|key| key.to_le()));
        }
        Ok(())
    }

    /// Writes all keys in the order of their addition and is empty again.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn write(&mut self, output: &mut SectionOutput) -> Result<()> {
        if let Some(file) = self.file.take() {
            let mut piece = filled(0_u8, 64 << 10)?;
            let (mut at, end) = (0, self.spilled * 8);
            while at < end {
                let len = piece.len().min((end - at) as usize);
                let bytes = &mut piece[..len];
                file.read_exact_at(bytes, at).map_err(|error| failed(output.file(), &error))?;
                output.write(bytes)?;
                at += len as u64;
            }
        }
        output.write(bytemuck::cast_slice(&self.held))?;
        self.held.clear();
        self.spilled = 0;
        Ok(())
    }

    fn spill(&mut self, near: &PartialFile) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(near.scratch()?),
        };
        let written = file.write_all_at(bytemuck::cast_slice(&self.held), self.spilled * 8);
        written.map_err(|error| failed(near, &error))?;
        self.spilled += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }
}

fn failed(near: &PartialFile, error: &std::io::Error) -> Error {
    near.failed("be written (its removed keys, on the way)", error)
}

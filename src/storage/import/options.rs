//! The option bag of an import, read and checked.

use super::report::{Format, Layout};
use crate::error::{Error, Result};
use crate::params::Params;

/// Which rows to import, and from what kind of file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// None: found out from the file. A checkpoint's layout is found out in any case.
    pub format: Option<Format>,
    /// The width of a classic dump's header; None: the first known width that adds up.
    pub header_groups: Option<usize>,
    /// This group only, or all.
    pub group: Option<u16>,
}

impl ImportOptions {
    /// # Errors
    /// An unknown name, a value that is not accepted, or options that do not go together.
    pub fn read(params: &Params) -> Result<ImportOptions> {
        let mut reader = params.reader("options");
        let format =
            match reader.choice("format", 0, &["auto", "checkpoint", "classic", "counted"])? {
                0 => None,
                1 => Some(Format::Checkpoint(Layout::Short)),
                2 => Some(Format::Classic),
                _ => Some(Format::Counted),
            };
        let header_groups =
            reader.int_if_set("header_groups", 1, 65_536)?.map(|width| width as usize);
        let group = reader.int_if_set("group", 0, i64::from(u16::MAX))?.map(|group| group as u16);
        reader.finish()?;
        if header_groups.is_some() && !matches!(format, None | Some(Format::Classic)) {
            return Err(Error::invalid(
                "options: header_groups is for the format 'classic' only; leave it out",
            ));
        }
        Ok(ImportOptions { format, header_groups, group })
    }
}

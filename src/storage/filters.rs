//! Filters.

use std::path::Path;

use super::Core;
use crate::error::Result;

impl Core {
    pub(super) fn save_filters(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    pub(super) fn restore_filters(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
}

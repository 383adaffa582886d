//! Merges a table and the increment that continues it into the table that a dump would have
//! written. Rows are copied as they are.

use std::path::Path;

use super::contents::Contents;
use super::rows::TableRows;
use super::writer::{Options, Summary, Writer};
use crate::error::{Error, Result};

/// Writes the merged table to `path`, which may be `base`: the mapped file stays until it is no
/// longer used.
///
/// # Errors
/// Those of `Contents::open` and of the writer; `INVALID_ARGUMENT` when the two files do not belong
/// together.
pub fn merge(base: &Path, increment: &Path, path: &Path) -> Result<Summary> {
    let base = Contents::open(base)?;
    let increment = Contents::open(increment)?;
    check_fit(&base, &increment)?;
    let mut groups: Vec<(u16, usize)> =
        base.groups().map(|found| (found.group, found.dim)).collect();
    let added = increment.groups().filter(|found| base.entry(found.group).is_none());
    groups.extend(added.map(|found| (found.group, found.dim)));
    groups.sort_unstable();
    let (value_type, number) = (base.value_type(), increment.number());
    let mut writer =
        Writer::create(path, &Options { value_type, number, since: None, groups: &groups })?;
    for (group, _) in groups {
        let (rows, removed) = (increment.rows(group), increment.removed(group));
        merge_group(&mut writer, group, base.rows(group), rows, removed)?;
    }
    writer.finish()
}

fn check_fit(base: &Contents, increment: &Contents) -> Result<()> {
    let (base_path, increment_path) = (base.path().display(), increment.path().display());
    if let Some(since) = base.since() {
        return Err(Error::invalid(format!(
            "base '{base_path}' is an increment since {since}; a table is needed there"
        )));
    }
    let Some(since) = increment.since() else {
        return Err(Error::invalid(format!(
            "increment '{increment_path}' is a whole table; it needs no merging, and an increment \
             is needed there"
        )));
    };
    if since != base.number() {
        return Err(Error::invalid(format!(
            "base '{base_path}' has number {} and increment '{increment_path}' has the changes \
             since number {since}; the increment that continues this table is needed",
            base.number()
        )));
    }
    if base.value_type() != increment.value_type() {
        return Err(Error::invalid(format!(
            "base '{base_path}' holds {} and increment '{increment_path}' holds {}; the same \
             value_type is needed",
            base.value_type().name(),
            increment.value_type().name()
        )));
    }
    for found in increment.groups() {
        if let Some(dim) =
            base.entry(found.group).map(|entry| entry.dim).filter(|dim| *dim != found.dim)
        {
            return Err(Error::invalid(format!(
                "group {} has dim {dim} in base '{base_path}' and dim {} in increment \
                 '{increment_path}'; the same dim is needed",
                found.group, found.dim
            )));
        }
    }
    Ok(())
}

fn merge_group(
    writer: &mut Writer,
    group: u16,
    mut base: TableRows<'_>,
    mut changed: TableRows<'_>,
    removed: impl Iterator<Item = i64>,
) -> Result<()> {
    let mut removed = removed.peekable();
    loop {
        let (row, gone) = (changed.next_key(), removed.peek().copied());
        let Some(key) = row.into_iter().chain(gone).min() else { break };
        if row == gone {
            return Err(Error::corruption(format!(
                "the increment both changes and removes key {key} of group {group}"
            )));
        }
        writer.add_encoded(group, base.take_below(key))?;
        base.take_key(key);
        if row == Some(key) {
            writer.add_encoded(group, changed.take_key(key))?;
        } else {
            removed.next();
        }
    }
    writer.add_encoded(group, base.take_all())
}

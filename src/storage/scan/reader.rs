//! Reader: reads a range of keys into pages.

use std::collections::HashMap;
use std::sync::Arc;

use super::page::{Page, RowPart};
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::error::{Error, Result};
use crate::rocks::key;
use crate::rocks::row::{self, Stored};
use crate::rocks::{KeyRange, Snapshot};
use crate::storage::dump::select::{Choice, Select};

/// Rows and floats of a page, at most.
const PAGE_ROWS: usize = 8192;
const PAGE_FLOATS: usize = 512 << 10;

/// Reads a moment's rows. Threads share it.
pub(super) struct Reader<'a> {
    snapshot: &'a Snapshot<'a>,
    select: Select,
    shapes: HashMap<u16, Shape>,
}

/// The floats of a group's rows, and how many of them are wanted.
#[derive(Clone, Copy)]
struct Shape {
    row_len: usize,
    wanted: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        engine: &Engine,
        snapshot: &'a Snapshot<'a>,
        select: Select,
        wanted: RowPart,
    ) -> Result<Reader<'a>> {
        Ok(Reader { snapshot, select, shapes: shapes(engine, wanted)? })
    }

    /// Hands the rows of a range to `take`, page by page, until it returns false. `next` gives
    /// empty pages.
    ///
    /// # Errors
    /// `IO`, `CORRUPTION` naming the row.
    pub(super) fn read(
        &self,
        range: &KeyRange,
        mut next: impl FnMut() -> Page,
        mut take: impl FnMut(Page) -> bool,
    ) -> Result<()> {
        let mut page = next();
        let mut known: Option<(u16, Shape)> = None;
        let mut goes_on = true;
        self.snapshot.scan(range, |key, value| {
            let (group, key) = key::decode(key)?;
            let named = |error: Error| error.within(&format!("group {group} key {key}"));
            let stored = row::parse(value).map_err(named)?;
            let Shape { row_len, wanted } = match known {
                Some((known, shape)) if known == group => shape,
                _ => {
                    let shape =
                        self.shapes.get(&group).copied().ok_or_else(|| not_registered(group))?;
                    known = Some((group, shape));
                    shape
                }
            };
            if let Stored::Row(_, body) = stored
                && body.len() != 4 * row_len
            {
                return Err(named(row::wrong_length(body, row_len)));
            }
            let choice = self.select.choose(&stored);
            if choice == Choice::Skip {
                return Ok(true);
            }
            let is_full = page.keys.len() >= PAGE_ROWS || page.floats.len() + wanted > PAGE_FLOATS;
            if !page.keys.is_empty() && (page.group != group || is_full) {
                goes_on = take(std::mem::replace(&mut page, next()));
                if !goes_on {
                    return Ok(false);
                }
            }
            page.group = group;
            page.keys.push(key);
            page.removed.push(choice == Choice::Removed);
            if let (Choice::Row, Stored::Row(header, body)) = (choice, stored) {
                page.headers.push(header);
                let start = page.floats.len();
                page.floats.resize(start + wanted, 0.0);
                bytemuck::cast_slice_mut(&mut page.floats[start..])
                    .copy_from_slice(&body[..4 * wanted]);
            }
            Ok(true)
        })?;
        if goes_on && !page.keys.is_empty() {
            take(page);
        }
        Ok(())
    }
}

pub(super) fn not_registered(group: u16) -> Error {
    Error::corruption(format!("group {group} has rows and is not registered"))
}

fn shapes(engine: &Engine, wanted: RowPart) -> Result<HashMap<u16, Shape>> {
    let shape = |group: &Arc<Group>| {
        let (dim, row_len) = group.shape()?;
        Ok((
            group.id(),
            Shape { row_len, wanted: if wanted == RowPart::Weights { dim } else { row_len } },
        ))
    };
    engine.groups().iter().map(shape).collect()
}

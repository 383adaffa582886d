//! `damo serve-check`: verifies a serving table, describes it, and looks every key up.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};
use damo::error::Status;
use damo::table::{GroupInfo, Table};
use serde_json::{Value, json};

use super::arguments::{get_path, path};
use super::failure::{Failure, Outcome};
use super::output::{Output, bytes, number, rate, seconds, thousands};
use super::progress::{Progress, Unit};

/// The largest number of keys a lookup.
const BATCH: usize = 8192;

pub fn command() -> Command {
    Command::new("serve-check")
        .about(
            "Opens and verifies a serving table, and looks every key up again; no storage is \
             needed",
        )
        .arg(path("TABLE", "A dump of the format table"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let checked = Checked::check(get_path(matches, "TABLE")?)?;
    if output.is_json() { output.json(&checked.to_json()) } else { checked.print(output) }
}

/// A table that was verified and looked up in.
struct Checked {
    table: Table,
    file_bytes: u64,
    groups: Vec<GroupInfo>,
    rows: u64,
    opening: Duration,
    lookups_per_second: u64,
}

impl Checked {
    fn check(path: &Path) -> Outcome<Checked> {
        let started = Instant::now();
        let table = {
            let _progress = Progress::under_way("opening and verifying");
            Table::open(path)?
        };
        let opening = started.elapsed();
        let found = std::fs::metadata(path).map_err(|error| {
            Failure::new(Status::Io, format!("path '{}': {error}", path.display()))
        })?;
        let groups: Vec<_> = table.contents().groups().collect();
        let rows = groups.iter().map(|group| group.rows).sum();
        let mut looked_up = Duration::ZERO;
        {
            let progress = Progress::of("looking up", Unit::Rows);
            let mut done = 0;
            for group in &groups {
                look_up(&table, group.group, group.dim, &mut looked_up, |keys| {
                    done += keys;
                    progress.update(done, rows);
                })?;
            }
        }
        let lookups_per_second = rate(rows, looked_up);
        Ok(Checked { table, file_bytes: found.len(), groups, rows, opening, lookups_per_second })
    }

    fn value_type(&self) -> &'static str {
        self.table.contents().value_type().name()
    }

    fn to_json(&self) -> Value {
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|group| json!({ "group": group.group, "dim": group.dim, "rows": group.rows }))
            .collect();
        json!({
            "path": self.table.contents().path().to_string_lossy(),
            "ok": true,
            "value_type": self.value_type(),
            "number": self.table.number(),
            "bytes": self.file_bytes,
            "rows": self.rows,
            "groups": groups,
            "open_seconds": seconds(self.opening),
            "lookup_rows_per_second": self.lookups_per_second,
        })
    }

    fn print(&self, output: &mut Output) -> Outcome {
        let speed = thousands(self.lookups_per_second);
        output.pairs(&[
            ("value type", self.value_type().to_owned()),
            ("number", self.table.number().to_string()),
            ("bytes", bytes(self.file_bytes)),
            ("rows", thousands(self.rows)),
            ("opened in", format!("{} s, every checksum compared", seconds(self.opening))),
            ("looked up", format!("every key, in key order, on one thread: {speed} rows/s")),
        ])?;
        output.line("")?;
        let lines: Vec<_> = self
            .groups
            .iter()
            .map(|group| {
                vec![group.group.to_string(), group.dim.to_string(), thousands(group.rows)]
            })
            .collect();
        output.columns(&[number("group"), number("dim"), number("rows")], &lines)
    }
}

/// Looks up every key of a group and compares the answers with the rows themselves.
fn look_up(
    table: &Table,
    group: u16,
    dim: usize,
    took: &mut Duration,
    mut progress: impl FnMut(u64),
) -> Outcome {
    let mut rows = table.contents().rows(group);
    let batch = (BATCH * 16 / dim.max(1)).clamp(16, BATCH);
    let (mut keys, mut expected) = (Vec::new(), vec![0.0; batch * dim]);
    let (mut weights, mut found) = (vec![0.0; batch * dim], vec![0; batch]);
    while !rows.is_empty() {
        keys.clear();
        for row in expected.chunks_exact_mut(dim) {
            keys.extend(rows.next_into(row));
        }
        let (floats, count) = (keys.len() * dim, keys.len());
        let weights = weights.get_mut(..floats).unwrap_or_default();
        let found = found.get_mut(..count).unwrap_or_default();
        let started = Instant::now();
        table.lookup(u32::from(group), &keys, weights, Some(found))?;
        *took += started.elapsed();
        let rows = weights.chunks_exact(dim).zip(expected.chunks_exact(dim)).zip(&*found);
        let is_same = |((a, b), found): ((&[f32], &[f32]), &u8)| {
            *found == 1 && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        if let Some((key, _)) = keys.iter().zip(rows).find(|(_, row)| !is_same(*row)) {
            return Err(Failure::new(
                Status::Corruption,
                format!(
                    "'{}': a lookup does not find key {key} of group {group} as it is stored",
                    table.contents().path().display()
                ),
            ));
        }
        progress(count as u64);
    }
    Ok(())
}

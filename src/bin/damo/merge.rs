//! `damo merge`: merges a serving table and the increment after it into one table.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{get_path, path};
use super::failure::Outcome;
use super::output::{Output, bytes, seconds, thousands};
use super::progress::Progress;

pub fn command() -> Command {
    Command::new("merge")
        .about(
            "Merges a serving table and the increment that continues it into one table; no storage \
             is needed",
        )
        .arg(path("BASE", "A table"))
        .arg(path("INCREMENT", "A dump with --since the table's number"))
        .arg(path("OUT", "The new table; may be BASE"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let (base, increment) = (get_path(matches, "BASE")?, get_path(matches, "INCREMENT")?);
    let path = get_path(matches, "OUT")?;
    let started = Instant::now();
    let summary = {
        let _progress = Progress::under_way("merging");
        damo::table::merge(base, increment, path)?
    };
    let took = seconds(started.elapsed());
    if output.is_json() {
        return output.json(&json!({
            "path": path.to_string_lossy(),
            "rows": summary.rows,
            "bytes": summary.bytes,
            "seconds": took,
        }));
    }
    output.pairs(&[
        ("path", path.display().to_string()),
        ("rows", thousands(summary.rows)),
        ("bytes", bytes(summary.bytes)),
        ("seconds", took.to_string()),
    ])
}

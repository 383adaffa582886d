//! `damo import`: rows from a checkpoint file of the earlier implementation.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{get_path, on_storage, open, path};
use super::failure::Outcome;
use super::output::{Output, number, rate, seconds, text, thousands};
use super::progress::{Progress, Unit};

pub fn command() -> Command {
    on_storage(Command::new("import"))
        .about("Brings in the rows of a checkpoint file of the earlier implementation")
        .arg(path("PATH", "The file"))
        .after_help(
            "The groups must have been opened once, with the right dim and optimizer, by a trainer: `damo groups` shows \
             them. A record that does not fit is left out and counted with its reason, and the exit code is 0.",
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let path = get_path(matches, "PATH")?;
    let storage = open(matches)?;
    let started = Instant::now();
    let report = {
        let progress = Progress::of("importing", Unit::Bytes);
        storage.import(path, |at, of| {
            progress.update(at, of);
            true
        })?
    };
    let took = started.elapsed();
    if output.is_json() {
        return output.json(&json!({
            "path": path.to_string_lossy(),
            "records": report.records,
            "imported": report.imported,
            "without_state": report.without_state,
            "order": report.order,
            "refused": report.refused,
            "seconds": seconds(took),
        }));
    }
    output.pairs(&[
        ("records", thousands(report.records)),
        (
            "imported",
            format!("{} ({} rows/s)", thousands(report.imported), thousands(rate(report.imported, took))),
        ),
        ("without_state", thousands(report.without_state)),
        ("order", name(&report.order)),
        ("refused", thousands(report.refused_records())),
    ])?;
    if report.refused.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = report
        .refused
        .iter()
        .map(|refused| vec![name(&refused.reason), thousands(refused.records), refused.first.clone()])
        .collect();
    output.line("")?;
    output.columns(&[text("reason"), number("records"), text("the first")], &lines)
}

/// As JSON spells it.
fn name(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

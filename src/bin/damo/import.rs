//! `damo import`: rows from a file of the earlier implementation.

use std::time::Instant;

use clap::{ArgMatches, Command, value_parser};
use damo::params::Params;
use damo::storage::ImportOptions;
use serde_json::json;

use super::arguments::{get, get_group, get_path, group, on_storage, open, option, path};
use super::failure::Outcome;
use super::output::{Output, number, rate, seconds, text, thousands};
use super::progress::{Progress, Unit};

pub fn command() -> Command {
    on_storage(Command::new("import"))
        .about("Brings in the rows of a checkpoint or dump of the earlier implementation")
        .arg(path("PATH", "The file"))
        .arg(option(
            "format",
            "FORMAT",
            "checkpoint, classic or counted [default: what it looks like]",
        ))
        .arg(
            option(
                "header-groups",
                "N",
                "Width of the header; classic only [default: what adds up]",
            )
            .value_parser(value_parser!(i64))
            .allow_negative_numbers(true),
        )
        .arg(group("This group only"))
        .after_help(
            "The groups must have been opened once, with the right dim and optimizer, by a \
             trainer: `damo groups` shows them. A record that does not fit is left out and counted \
             with its reason, and the exit code is 0 unless none could be taken.",
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let path = get_path(matches, "PATH")?;
    let mut options = ImportOptions::read(&options(matches)?)?;
    let storage = open(matches)?;
    options.group = get_group(matches, &storage)?;
    let started = Instant::now();
    let report = {
        let progress = Progress::of("importing", Unit::Bytes);
        storage.import_with(path, &options, |at, of| {
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
            "other_groups": report.other_groups,
            "format": report.format,
            "value_header": report.value_header,
            "order": report.order,
            "refused": report.refused,
            "seconds": seconds(took),
        }));
    }
    output.pairs(&[
        ("records", thousands(report.records)),
        (
            "imported",
            format!(
                "{} ({} rows/s)",
                thousands(report.imported),
                thousands(rate(report.imported, took))
            ),
        ),
        ("without_state", thousands(report.without_state)),
        ("format", name(&report.format)),
        ("order", name(&report.order)),
        ("other_groups", thousands(report.other_groups)),
        ("refused", thousands(report.refused_records())),
    ])?;
    if report.refused.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = report
        .refused
        .iter()
        .map(|refused| {
            vec![name(&refused.reason), thousands(refused.records), refused.first.clone()]
        })
        .collect();
    output.line("")?;
    output.columns(&[text("reason"), number("records"), text("the first")], &lines)
}

/// All options but the group, named as `damo_storage_import_with` names them; it checks them, too.
fn options(matches: &ArgMatches) -> Outcome<Params> {
    let mut params = Params::new();
    if let Some(format) = get::<String>(matches, "format")? {
        params.set("format", format.as_str())?;
    }
    if let Some(width) = get::<i64>(matches, "header-groups")? {
        params.set("header_groups", *width)?;
    }
    Ok(params)
}

/// A value's name in JSON.
fn name(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

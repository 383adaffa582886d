//! `damo dump`: writes the weights of a storage to a file for serving.

use std::time::Instant;

use clap::{ArgMatches, Command, value_parser};
use damo::params::Params;
use damo::storage::{DumpFormat, DumpOptions};
use serde_json::json;

use super::arguments::{get, get_group, get_path, group, look, on_storage, open, option, path};
use super::failure::Outcome;
use super::output::{Output, bytes, rate, seconds, thousands};
use super::progress::{Progress, Unit};

pub fn command() -> Command {
    on_storage(Command::new("dump"))
        .about("Writes the weights of a storage to a file for serving, whole or as an increment")
        .arg(path("PATH", "The file; replaced, once all is written, if it is there"))
        .arg(option("format", "FORMAT", "classic, counted or table [default: classic]"))
        .arg(option(
            "value-type",
            "TYPE",
            "float32, float16 or int8; table only [default: float32]",
        ))
        .arg(group("This group only"))
        .arg(
            option("min-count", "N", "Leaves out rows with fewer updates")
                .value_parser(value_parser!(i64))
                .allow_negative_numbers(true),
        )
        .arg(
            option("expire-days", "DAYS", "Leaves out rows that were not updated for so many days")
                .value_parser(value_parser!(f64))
                .allow_negative_numbers(true),
        )
        .arg(
            option("header-groups", "N", "Width of the header; classic only [default: 256]")
                .value_parser(value_parser!(i64))
                .allow_negative_numbers(true),
        )
        .arg(
            option(
                "since",
                "NUMBER",
                "Only what changed since the dump that told this number; table only",
            )
            .value_parser(value_parser!(i64))
            .allow_negative_numbers(true),
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let path = get_path(matches, "PATH")?;
    let mut options = DumpOptions::read(&condition(matches)?)?;
    // A dump in the format table is recorded in the storage, so that an increment can follow it.
    let storage = if matches!(options.format, DumpFormat::Table { .. }) {
        open(matches)
    } else {
        look(matches)
    }?;
    options.group = get_group(matches, &storage)?;
    let started = Instant::now();
    let dumped = {
        let progress = Progress::of("dumping", Unit::Rows);
        storage.dump(path, options, |rows, of| {
            progress.update(rows, of);
            true
        })?
    };
    let took = started.elapsed();
    if output.is_json() {
        return output.json(&json!({
            "path": path.to_string_lossy(),
            "rows": dumped.rows,
            "removed": dumped.removed,
            "bytes": dumped.bytes,
            "number": dumped.number,
            "saturated": dumped.saturated,
            "seconds": seconds(took),
        }));
    }
    let mut pairs = vec![
        ("path", path.display().to_string()),
        (
            "rows",
            format!("{} ({} rows/s)", thousands(dumped.rows), thousands(rate(dumped.rows, took))),
        ),
        ("bytes", bytes(dumped.bytes)),
    ];
    if matches!(options.format, DumpFormat::Table { .. }) {
        pairs.extend([
            ("removed", thousands(dumped.removed)),
            ("saturated", thousands(dumped.saturated)),
            ("number", format!("{} (the next increment's --since)", dumped.number)),
        ]);
    }
    output.pairs(&pairs)
}

/// All options but the group, named as `damo_storage_dump` names them; it checks them, too.
fn condition(matches: &ArgMatches) -> Outcome<Params> {
    let mut params = Params::new();
    for (name, key) in [("format", "format"), ("value-type", "value_type")] {
        if let Some(value) = get::<String>(matches, name)? {
            params.set(key, value.as_str())?;
        }
    }
    for (name, key) in
        [("min-count", "min_count"), ("header-groups", "header_groups"), ("since", "since")]
    {
        if let Some(value) = get::<i64>(matches, name)? {
            params.set(key, *value)?;
        }
    }
    if let Some(days) = get::<f64>(matches, "expire-days")? {
        params.set("expire_days", *days)?;
    }
    Ok(params)
}

//! `damo salvage`: saves every row that still reads from a damaged storage into a fresh one.

use std::path::PathBuf;
use std::time::Instant;

use clap::{ArgMatches, Command, value_parser};
use damo::storage::salvage;
use serde_json::{Value, json};

use super::arguments::{get, get_path, option, path};
use super::failure::{Failure, Outcome};
use super::output::{Output, seconds, thousands};
use super::progress::{Progress, Unit};

/// The number of lines of damage in text; JSON has all.
const SHOWN: usize = 20;

pub fn command() -> Command {
    Command::new("salvage")
        .about(
            "Saves every row that still reads from a damaged storage or checkpoint into a fresh \
             storage",
        )
        .arg(path("DIR", "A storage's directory, or a checkpoint; not one byte of it changes"))
        .arg(path("OUT", "The new storage's directory; must not exist"))
        .arg(
            option(
                "like",
                "OTHER",
                "A checkpoint or storage that has the groups whose descriptions are lost",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .after_help(
            "Exit code 0: everything was saved; 7: the storage is there, and something could not \
             be read. docs/corruption.md says what each count means.",
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let (dir, out) = (get_path(matches, "DIR")?, get_path(matches, "OUT")?);
    let started = Instant::now();
    let salvaged = {
        let progress = Progress::of("saving", Unit::Rows);
        salvage(dir, out, get::<PathBuf>(matches, "like")?.map(PathBuf::as_path), |rows| {
            progress.update(rows, rows)
        })?
    };
    let took = seconds(started.elapsed());
    let counts = match serde_json::to_value(&salvaged) {
        Ok(Value::Object(counts)) => counts,
        _ => return Err(Failure::bug()),
    };
    if output.is_json() {
        let mut all = counts;
        all.insert("dir".to_owned(), json!(dir.to_string_lossy()));
        all.insert("out".to_owned(), json!(out.to_string_lossy()));
        all.insert("whole".to_owned(), json!(salvaged.is_whole()));
        all.insert("seconds".to_owned(), json!(took));
        output.json(&all)?;
    } else {
        let count = |(name, value): (&String, &Value)| {
            Some((name.replace('_', " "), thousands(value.as_u64()?)))
        };
        let counts: Vec<_> = counts.iter().filter_map(count).collect();
        let mut pairs: Vec<_> =
            counts.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        pairs.push(("seconds", took.to_string()));
        output.pairs(&pairs)?;
        for what in salvaged.damage.iter().take(SHOWN) {
            output.line(&format!("could not be read: {what}"))?;
        }
        if let Some(more) = salvaged.damage.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            output.line(&format!("and {more} more; --json has all"))?;
        }
    }
    if salvaged.is_whole() { Ok(()) } else { Err(Failure::Incomplete) }
}

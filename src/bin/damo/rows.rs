//! `damo rows`: all rows at one moment, in order of group and key.

use clap::{ArgMatches, Command, value_parser};

use super::arguments::{get, get_group, group, look, on_storage, option};
use super::failure::Outcome;
use super::output::Output;
use super::record::{Row, date};

/// The number of weights in a line of text.
const SHOWN: usize = 6;

pub fn command() -> Command {
    on_storage(Command::new("rows"))
        .about(
            "Shows the rows of a storage, in order of group and key; with --json one object a \
             line, with everything",
        )
        .arg(group("Of this group only"))
        .arg(option("limit", "N", "So many rows at most").value_parser(value_parser!(u64)))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let limit = get::<u64>(matches, "limit")?.copied();
    let storage = look(matches)?;
    let mut rows = storage.rows(get_group(matches, &storage)?)?;
    if !output.is_json() {
        output.line(&format!(
            "{:>5}  {:>20}  {:<23}  {:>10}  weights",
            "group", "key", "updated (UTC)", "update_num"
        ))?;
    }
    for _ in 0..limit.unwrap_or(u64::MAX) {
        let Some(record) = rows.next_row()? else { break };
        let row = Row::from(&record);
        if output.is_json() {
            output.json(&row)?;
            continue;
        }
        output.line(&format!(
            "{:>5}  {:>20}  {}  {:>10}  {}",
            record.group,
            record.key,
            date(record.update_time),
            record.update_num,
            row.first_weights(SHOWN)
        ))?;
    }
    Ok(())
}

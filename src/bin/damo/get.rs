//! `damo get`: one row.

use clap::{Arg, ArgMatches, Command};

use super::arguments::{GroupArgument, get, look, on_storage, read_group};
use super::failure::{Failure, Outcome};
use super::output::{Output, thousands};
use super::record::{Row, date};

pub fn command() -> Command {
    let group = Arg::new("GROUP").required(true).value_parser(read_group);
    let key = Arg::new("KEY").required(true).value_parser(read_key).allow_negative_numbers(true);
    on_storage(Command::new("get"))
        .about("Shows everything that is kept of one row")
        .arg(group.help("Its number, from 0 to 65535, or its name"))
        .arg(key.help("A 64-bit number, signed or not"))
}

/// Reads a key; an unsigned number keeps its bits, as in every binding.
fn read_key(text: &str) -> Result<i64, String> {
    text.parse::<i64>().or_else(|_| text.parse::<u64>().map(u64::cast_signed)).map_err(|_| {
        "a number from -9223372036854775808 to 18446744073709551615 is needed".to_owned()
    })
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let group = get::<GroupArgument>(matches, "GROUP")?.ok_or_else(Failure::bug)?;
    let key = *get::<i64>(matches, "KEY")?.ok_or_else(Failure::bug)?;
    let storage = look(matches)?;
    let record = storage.record(group.find(&storage)?, key)?;
    let row = Row::from(&record);
    if output.is_json() {
        return output.json(&row);
    }
    output.pairs(&[
        ("group", record.group.to_string()),
        ("key", record.key.to_string()),
        ("update_time", format!("{} ({} UTC)", record.update_time, date(record.update_time))),
        ("update_num", thousands(record.update_num)),
        ("dim", record.dim.to_string()),
        ("weights", row.weights()),
        ("state", row.state()),
    ])
}

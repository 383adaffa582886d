//! `damo get`: one row.

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments::{GroupArgument, get, on_storage, open, read_group};
use super::failure::{Failure, Outcome};
use super::output::{Output, thousands};
use super::record::{Row, date};

pub fn command() -> Command {
    let group = Arg::new("GROUP").required(true).value_parser(read_group);
    let key = Arg::new("KEY").required(true).value_parser(value_parser!(i64)).allow_negative_numbers(true);
    on_storage(Command::new("get"))
        .about("Shows everything that is kept of one row")
        .arg(group.help("Its number, from 0 to 65535, or its name"))
        .arg(key.help("A signed 64-bit number"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let group = get::<GroupArgument>(matches, "GROUP")?.ok_or_else(Failure::bug)?;
    let key = *get::<i64>(matches, "KEY")?.ok_or_else(Failure::bug)?;
    let storage = open(matches)?;
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

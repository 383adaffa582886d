//! `damo`, the command-line tool: looks into storages and serving tables, and does the long work
//! for which no trainer is needed.
//!
//! Each command has a file: its arguments, then its work, which uses only the library's Rust
//! interface. docs/cli.md is the manual.

#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod arguments;
mod checkpoint;
mod compact;
mod dump;
mod failure;
mod get;
mod groups;
mod import;
mod merge;
mod output;
mod progress;
mod record;
mod restore;
mod rows;
mod salvage;
mod serve_check;
mod stat;
mod verify;

use std::panic::{self, AssertUnwindSafe};

use clap::{Arg, ArgAction, ArgMatches, Command};

use failure::{Failure, Outcome};
use output::Output;

struct CommandEntry {
    command: fn() -> Command,
    run: fn(&mut Output, &ArgMatches) -> Outcome,
}

const COMMANDS: [CommandEntry; 13] = [
    CommandEntry { command: stat::command, run: stat::run },
    CommandEntry { command: groups::command, run: groups::run },
    CommandEntry { command: get::command, run: get::run },
    CommandEntry { command: rows::command, run: rows::run },
    CommandEntry { command: dump::command, run: dump::run },
    CommandEntry { command: merge::command, run: merge::run },
    CommandEntry { command: checkpoint::command, run: checkpoint::run },
    CommandEntry { command: restore::command, run: restore::run },
    CommandEntry { command: import::command, run: import::run },
    CommandEntry { command: verify::command, run: verify::run },
    CommandEntry { command: compact::command, run: compact::run },
    CommandEntry { command: salvage::command, run: salvage::run },
    CommandEntry { command: serve_check::command, run: serve_check::run },
];

const ABOUT: &str = "\
Looks into damo storages and serving tables, dumps, checkpoints, imports and verifies them.

stat, groups, get, rows, verify, checkpoint, and dump in the formats classic and counted open DIR
read-only: they change nothing in it, and work beside its trainer. Stop the trainer before the other
commands on a storage: restore, import, compact, and dump --format table.";

const AFTER: &str = "\
Exit codes: 0 done; 1 an error that has no code of its own; 2 wrong usage, or a value that is not \
accepted; 3 something does not exist; 4 the storage is open elsewhere; 5 damaged or truncated \
bytes; 6 something exists already; 7 saved, but not everything. \
Errors go to stderr, with --json as {\"error\": {\"status\", \"message\"}}.";

fn main() {
    // With the signal blocked, a file beyond the shell's size limit is an error with a message. All
    // threads inherit this.
    let _writes_that_return = damo::file_size_limit::block();
    let code = std::thread::Builder::new()
        .name("damo-cli".to_owned())
        .spawn(|| panic::catch_unwind(AssertUnwindSafe(run)))
        .ok()
        .and_then(|thread| thread.join().ok())
        .and_then(Result::ok)
        .unwrap_or_else(|| Failure::bug().report(wants_json()));
    // Every storage is closed by now.
    std::process::exit(code);
}

fn run() -> i32 {
    let matches = match tool().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let json = matches.get_flag("json");
    let outcome = execute(&matches, json);
    match outcome {
        Ok(()) => 0,
        Err(failure) => failure.report(json),
    }
}

fn execute(matches: &ArgMatches, json: bool) -> Outcome {
    let Some((name, arguments)) = matches.subcommand() else { return Err(Failure::bug()) };
    let Some(entry) = COMMANDS.iter().find(|entry| (entry.command)().get_name() == name) else {
        return Err(Failure::bug());
    };
    let mut output = Output::new(json);
    (entry.run)(&mut output, arguments)?;
    output.finish()
}

fn tool() -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .global(true)
        .help("Writes JSON for scripts: one object, or one a row");
    Command::new("damo")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json)
        .subcommands(COMMANDS.iter().map(|entry| (entry.command)()))
}

/// Prints help or the version, or the error in the arguments.
fn usage(error: &clap::Error) -> i32 {
    if error.use_stderr() && wants_json() {
        return Failure::usage(&in_one_line(&error.render().to_string())).report(true);
    }
    // A reader who closed the pipe has read enough help.
    let _ = error.print();
    if error.use_stderr() { 2 } else { 0 }
}

/// The error in the arguments in clap's words, in one line: all lines before the usage. These say
/// which arguments are missing, what would be accepted, and what may have been meant.
fn in_one_line(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim);
    let told = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    told.filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .trim_start_matches("error: ")
        .to_owned()
}

/// Whether --json is given, for arguments that could not be parsed.
fn wants_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

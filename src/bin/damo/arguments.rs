//! Arguments that several commands share, and opening the storage that they name.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use damo::params::Params;
use damo::storage::Storage;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::failure::{Failure, Outcome};
use super::progress::Progress;

/// A positional path.
pub fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).required(true).value_parser(value_parser!(PathBuf)).help(help)
}

/// An option with a value that the library reads.
pub fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// A group as the user gives it: digits are a number, anything else is a name.
#[derive(Clone, Debug)]
pub enum GroupArgument {
    Number(u16),
    Name(String),
}

/// The group's number or name, as an option.
pub fn group(help: &'static str) -> Arg {
    option("group", "GROUP", help).value_parser(read_group)
}

pub fn read_group(text: &str) -> Result<GroupArgument, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(GroupArgument::Name(text.to_owned()));
    }
    let number =
        text.parse().map_err(|_| "a number from 0 to 65535, or a name, is needed".to_owned())?;
    Ok(GroupArgument::Number(number))
}

impl GroupArgument {
    /// The group's number, looked up by name if needed.
    pub fn find(&self, storage: &Storage) -> Outcome<u16> {
        match self {
            GroupArgument::Number(number) => Ok(*number),
            GroupArgument::Name(name) => Ok(storage.group_named(name)?.id()),
        }
    }
}

/// The group that the option names; None when it is not given.
pub fn get_group(matches: &ArgMatches, storage: &Storage) -> Outcome<Option<u16>> {
    get::<GroupArgument>(matches, "group")?.map(|group| group.find(storage)).transpose()
}

/// A command on the storage DIR.
pub fn on_storage(command: Command) -> Command {
    command
        .arg(path("DIR", "A storage's directory, or a checkpoint"))
        .arg(
            option(
                "ttl",
                "SECONDS",
                "Hides rows that were not updated for so long, as the trainer's TTL does \
                 [default: 0, all are shown]",
            )
            .value_parser(value_parser!(i64))
            .allow_negative_numbers(true),
        )
        .arg(
            option(
                "cache-bytes",
                "BYTES",
                "Memory for rows; 64M and the like are accepted [default: 1G]",
            )
            .value_parser(read_bytes),
        )
}

pub fn get_path<'a>(matches: &'a ArgMatches, name: &str) -> Outcome<&'a Path> {
    get::<PathBuf>(matches, name)?.map(PathBuf::as_path).ok_or_else(Failure::bug)
}

/// The value of an option; None when it is not given.
pub fn get<'a, T: Clone + Send + Sync + 'static>(
    matches: &'a ArgMatches,
    name: &str,
) -> Outcome<Option<&'a T>> {
    matches.try_get_one(name).map_err(|_| Failure::bug())
}

/// Opens the storage DIR, which must be there.
pub fn open(matches: &ArgMatches) -> Outcome<Storage> {
    let (ttl, params) = opening(matches)?;
    let _progress = Progress::under_way("opening");
    Ok(Storage::open_existing(get_path(matches, "DIR")?, ttl, &params)?)
}

/// Raises the limit of open files as far as this process may. A reader holds a descriptor for each
/// SST file, so that the file stays readable when another process merges it away.
fn raise_limit_of_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Opens the storage DIR, which must be there, read-only: nothing in it changes, and another
/// process may have it open.
pub fn look(matches: &ArgMatches) -> Outcome<Storage> {
    let (ttl, mut params) = opening(matches)?;
    params.set("read_only", true)?;
    let dir = get_path(matches, "DIR")?;
    raise_limit_of_files();
    let storage = {
        let _progress = Progress::under_way("opening");
        // A read-only opening creates nothing, and waits for a storage that is just being created.
        Storage::open(dir, ttl, &params)?
    };
    if let Some(seen) = storage.seen().filter(|seen| seen.is_open_elsewhere) {
        let note = format!(
            "'{}' is open in another process; this is what is on disk, as of {} ms since 1970",
            dir.display(),
            seen.as_of_ms
        );
        let line = if matches.get_flag("json") {
            serde_json::json!({"note": {"as_of_ms": seen.as_of_ms, "message": note}}).to_string()
        } else {
            format!("damo: {note}")
        };
        // Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    Ok(storage)
}

/// The TTL and the options that a storage is opened with.
pub fn opening(matches: &ArgMatches) -> Outcome<(i64, Params)> {
    let ttl = get::<i64>(matches, "ttl")?.copied().unwrap_or(0);
    // The tool brings its changes to disk itself, so no journal is needed.
    let mut params = Params::new().with("durability", "checkpoint")?;
    if let Some(bytes) = get::<i64>(matches, "cache-bytes")? {
        params.set("cache_bytes", *bytes)?;
    }
    Ok((ttl, params))
}

/// Reads a number of bytes, with K, M, G or T behind it for powers of 1024.
fn read_bytes(text: &str) -> Result<i64, String> {
    let (digits, power) = match text.to_ascii_uppercase().chars().last() {
        Some('K') => (text.get(..text.len() - 1), 10),
        Some('M') => (text.get(..text.len() - 1), 20),
        Some('G') => (text.get(..text.len() - 1), 30),
        Some('T') => (text.get(..text.len() - 1), 40),
        _ => (Some(text), 0),
    };
    let number = digits.and_then(|digits| digits.parse::<i64>().ok());
    let bytes =
        number.filter(|number| *number >= 0).and_then(|number| number.checked_mul(1 << power));
    bytes.ok_or_else(|| "a number of bytes such as 65536, 64M or 2G is needed".to_owned())
}

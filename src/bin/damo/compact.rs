//! `damo compact`: merges everything on disk into one sorted run.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{on_storage, open};
use super::failure::Outcome;
use super::output::{Output, bytes, seconds};
use super::progress::Progress;

pub fn command() -> Command {
    on_storage(Command::new("compact"))
        .about("Merges everything on disk: gives space back and makes reads faster")
        .after_help(
            "With --ttl the space of rows that have expired comes back, too; they are then gone \
             for good.",
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let storage = open(matches)?;
    let before = storage.stat("bytes_on_disk")?;
    let started = Instant::now();
    {
        let _progress = Progress::under_way("compacting");
        storage.compact()?;
    }
    let took = seconds(started.elapsed());
    let (after, expired) = (storage.stat("bytes_on_disk")?, storage.stat("expired_rows")?);
    if output.is_json() {
        return output.json(&json!({
            "dir": storage.dir().to_string_lossy(),
            "bytes_before": before,
            "bytes_after": after,
            "expired_rows": expired,
            "seconds": took,
        }));
    }
    output.pairs(&[
        ("bytes before", bytes(before)),
        ("bytes after", bytes(after)),
        ("expired rows", super::output::thousands(expired)),
        ("seconds", took.to_string()),
    ])
}

//! `damo stat`: every statistic.

use clap::{ArgMatches, Command};
use damo::storage::Storage;
use serde_json::{Map, Value, json};

use super::arguments::{look, on_storage};
use super::failure::Outcome;
use super::output::{Output, bytes, thousands};

pub fn command() -> Command {
    on_storage(Command::new("stat"))
        .about(
            "Shows every statistic of a storage, and the checkpoint that was made or loaded last",
        )
        .after_help(
            "Counts of what happened are since the storage was opened, which is now: mostly 0. \
             They are of use in a trainer. rows_estimate is RocksDB's; `damo groups --count` \
             counts.",
        )
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let storage = look(matches)?;
    let mut stats = Vec::new();
    for name in Storage::stat_names() {
        stats.push((name, storage.stat(name)?));
    }
    if output.is_json() {
        let stats: Map<String, Value> =
            stats.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let dir = storage.dir().to_string_lossy();
        return output
            .json(&json!({ "dir": dir, "checkpoint": storage.checkpoint_id()?, "stats": stats }));
    }
    let show =
        |name: &str, value| if name.contains("bytes") { bytes(value) } else { thousands(value) };
    let mut pairs: Vec<_> = stats.iter().map(|(name, value)| (*name, show(name, *value))).collect();
    pairs.push(("checkpoint", storage.checkpoint_id()?.unwrap_or_else(|| "-".to_owned())));
    output.pairs(&pairs)
}

//! `damo restore`: replaces the content of a storage by a checkpoint.

use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command};
use damo::storage::Storage;
use serde_json::json;

use super::arguments::{get_path, on_storage, open, opening, path};
use super::failure::Outcome;
use super::output::{Output, seconds, thousands};
use super::progress::Progress;

pub fn command() -> Command {
    let create = Arg::new("create").long("create").action(ArgAction::SetTrue);
    on_storage(Command::new("restore"))
        .about("Replaces everything in a storage by a checkpoint, after verifying that")
        .arg(path("CHECKPOINT", "The checkpoint's directory, which stays as it is"))
        .arg(create.help("Makes DIR if it does not exist"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let (dir, checkpoint) = (get_path(matches, "DIR")?, get_path(matches, "CHECKPOINT")?);
    let is_there = dir.try_exists().map_err(|error| missing(dir, &error))?;
    let is_new = matches.get_flag("create") && !is_there;
    let storage = if is_new {
        // Without the checkpoint no storage is created.
        std::fs::metadata(checkpoint).map_err(|error| missing(checkpoint, &error))?;
        let (ttl, params) = opening(matches)?;
        Storage::open(dir, ttl, &params)?
    } else {
        open(matches)?
    };
    let started = Instant::now();
    let loaded = {
        let _progress = Progress::under_way("verifying and loading the checkpoint");
        storage.load_from_checkpoint(checkpoint)
    };
    if let Err(error) = loaded {
        if is_new {
            // Keeps the storage if the checkpoint is in its place already.
            storage.discard_if_empty();
        }
        return Err(error.into());
    }
    let filters = storage.waiting_filters()? as u64;
    let took = seconds(started.elapsed());
    let groups = storage.groups().len() as u64;
    if output.is_json() {
        return output.json(&json!({
            "dir": dir.to_string_lossy(),
            "checkpoint": checkpoint.to_string_lossy(),
            "groups": groups,
            "filters": filters,
            "seconds": took,
        }));
    }
    output.pairs(&[
        ("dir", dir.display().to_string()),
        ("checkpoint", checkpoint.display().to_string()),
        ("groups", thousands(groups)),
        ("filters (their counts wait)", thousands(filters)),
        ("seconds", took.to_string()),
    ])
}

fn missing(path: &std::path::Path, error: &std::io::Error) -> super::failure::Failure {
    let not_found = error.kind() == std::io::ErrorKind::NotFound;
    let status = if not_found { damo::error::Status::NotFound } else { damo::error::Status::Io };
    super::failure::Failure::new(status, format!("path '{}': {error}", path.display()))
}

//! `damo checkpoint`: copies everything that a storage holds into a directory of its own.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{get_path, look, on_storage, path};
use super::failure::Outcome;
use super::output::{Output, seconds};
use super::progress::Progress;

pub fn command() -> Command {
    on_storage(Command::new("checkpoint"))
        .about(
            "Writes a checkpoint: all rows, groups and steps, to go on from, without the counts of \
             filters that trainers have open; its files of rows are hard links",
        )
        .arg(path("PATH", "The directory; must not exist"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let path = get_path(matches, "PATH")?;
    let storage = look(matches)?;
    let started = Instant::now();
    {
        let _progress = Progress::under_way("writing the checkpoint");
        storage.checkpoint(path)?;
    }
    let took = seconds(started.elapsed());
    if output.is_json() {
        return output.json(&json!({ "path": path.to_string_lossy(), "seconds": took }));
    }
    output.pairs(&[("path", path.display().to_string()), ("seconds", took.to_string())])
}

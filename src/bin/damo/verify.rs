//! `damo verify`: checks that everything on disk is as it was written.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{look, on_storage};
use super::failure::Outcome;
use super::output::{Output, seconds, thousands};
use super::progress::Progress;

pub fn command() -> Command {
    on_storage(Command::new("verify"))
        .about("Reads everything in a storage, compares every checksum and looks at every row")
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let storage = look(matches)?;
    let started = Instant::now();
    let verified = {
        let _progress = Progress::under_way("verifying");
        storage.verify()?
    };
    let took = seconds(started.elapsed());
    if output.is_json() {
        return output.json(&json!({
            "dir": storage.dir().to_string_lossy(),
            "ok": true,
            "rows": verified.rows,
            "groups": verified.groups,
            "seconds": took,
        }));
    }
    output.pairs(&[
        ("rows", thousands(verified.rows)),
        ("groups", thousands(verified.groups)),
        ("seconds", took.to_string()),
        ("result", "everything is as it was written".to_owned()),
    ])
}

//! `damo groups`: what each group was last opened with.

use clap::{Arg, ArgAction, ArgMatches, Command};
use damo::storage::{ClientDescription, GroupDescription, Recipe};
use serde::Serialize;
use serde_json::json;

use super::arguments::{look, on_storage};
use super::failure::Outcome;
use super::output::{Output, number, text, thousands};
use super::progress::Progress;

pub fn command() -> Command {
    let count = Arg::new("count").long("count").action(ArgAction::SetTrue);
    on_storage(Command::new("groups"))
        .about("Shows the groups of a storage and what they were last opened with")
        .arg(count.help("Counts the rows of each group, which reads them all"))
}

pub fn run(output: &mut Output, matches: &ArgMatches) -> Outcome {
    let storage = look(matches)?;
    let counts = matches.get_flag("count");
    let rows_of = if counts {
        let _progress = Progress::under_way("counting");
        Some(storage.row_counts()?)
    } else {
        None
    };
    let (mut objects, mut lines, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for group in storage.describe_groups()? {
        let rows = rows_of.as_ref().map(|rows_of| rows_of.get(&group.group).copied().unwrap_or(0));
        let mut line = vec![
            group.group.to_string(),
            group.name.clone().unwrap_or_else(|| "-".to_owned()),
            group.dim.to_string(),
            group.row_len.to_string(),
            thousands_of(group.step),
        ];
        line.extend(rows.map(thousands));
        line.push(named(&group.optimizer));
        line.push(named(&group.initializer));
        line.push(group.scheduler.as_ref().map_or("-".to_owned(), named));
        line.push(group.max_norm.map_or("-".to_owned(), |norm| norm.to_string()));
        lines.push(line);
        clients.extend(group.clients.iter().map(|client| {
            let ClientDescription { client, sequence, time } = client;
            [group.group.to_string(), client.to_string(), sequence.to_string(), time.to_string()]
                .to_vec()
        }));
        objects.push(Counted { group, rows });
    }
    if output.is_json() {
        return output.json(&json!({ "dir": storage.dir().to_string_lossy(), "groups": objects }));
    }
    let mut headings =
        vec![number("group"), text("name"), number("dim"), number("floats"), number("step")];
    if counts {
        headings.push(number("rows"));
    }
    headings.extend([
        text("optimizer"),
        text("initializer"),
        text("scheduler"),
        number("max_norm"),
    ]);
    output.columns(&headings, &lines)?;
    if clients.is_empty() {
        return Ok(());
    }
    // Callers that number their calls.
    output.line("")?;
    let headings = [number("group"), number("client"), number("sequence"), number("time (ms)")];
    output.columns(&headings, &clients)
}

/// A group as it is printed for scripts.
#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    group: GroupDescription,
    rows: Option<u64>,
}

fn named(named: &Recipe) -> String {
    let params = named.params.to_json();
    if params == "{}" { named.name.clone() } else { format!("{} {params}", named.name) }
}

fn thousands_of(step: i64) -> String {
    let sign = if step < 0 { "-" } else { "" };
    format!("{sign}{}", thousands(step.unsigned_abs()))
}

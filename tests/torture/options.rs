//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::judge::set_patience;

#[derive(Clone, Debug)]
pub struct Options {
    pub campaigns: Vec<&'static str>,
    pub seed: u64,
    /// How long each campaign may take; None for as long as it needs.
    pub time: Option<Duration>,
    /// Random trials of each campaign; None for every case once.
    pub trials: Option<u64>,
    pub only: String,
    pub repeat: Option<String>,
    pub jobs: u64,
    pub scratch: PathBuf,
    pub shim: PathBuf,
    /// Power cuts without mounting anything.
    pub is_unmounted: bool,
    /// Of errors, only those of one call each.
    pub is_once: bool,
}

pub const CAMPAIGNS: [&str; 8] =
    ["kills", "steps", "retries", "power", "histories", "corruption", "errors", "limits"];
/// Of the three minutes that `--quick` takes, in seconds.
const QUICK: [(&str, u64); 8] = [
    ("kills", 30),
    ("steps", 10),
    ("retries", 10),
    ("power", 25),
    ("histories", 30),
    ("corruption", 35),
    ("errors", 35),
    ("limits", 15),
];

fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").help(help).value_parser(value_parser!(u64))
    };
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("scripts/torture")
        .override_usage("scripts/torture [OPTIONS] [CAMPAIGN]...")
        .about(
            "Attacks storages and compares what is left with an exact model of what was \
             promised.",
        )
        .after_help(
            "Each campaign ends with one line: trials, those that had everything that was \
             promised, those that were\nrefused with an error that names the damaged file, and \
             what broke. The exit code is 1 when anything broke.\n\n\
             Without --trials and --seconds a campaign goes through every case once: each \
             system call of each operation.\n\
             With one of them trials are drawn at random from --seed.\n\n\
             Examples:\n  scripts/torture --quick\n  \
             scripts/torture kills --seed 1 --trials 10000\n  \
             scripts/torture errors --only flush:process\n  \
             scripts/torture kills --repeat flush:process:17:0",
        )
        .arg(
            Arg::new("campaigns")
                .value_name("CAMPAIGN")
                .num_args(0..)
                .value_parser(CAMPAIGNS)
                .help("Which campaigns to run [default: all]"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("All campaigns in about three minutes"),
        )
        .arg(
            Arg::new("unmounted")
                .long("unmounted")
                .action(ArgAction::SetTrue)
                .help("Power cuts: cut directories back, even where ext4 may be mounted"),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Errors: each call fails once, not from there on, and no write is short"),
        )
        .arg(number("seed", "Seed of everything that is random").default_value("1"))
        .arg(number("seconds", "Ends each campaign after so many seconds"))
        .arg(number("trials", "Random trials of each campaign"))
        .arg(
            text("only", "TEXT", "Only cases whose name, SCENE:DURABILITY, contains TEXT")
                .default_value(""),
        )
        .arg(text("repeat", "CASE", "One trial again, as a broken one was named"))
        .arg(number(
            "patience",
            "Seconds after which a worker hangs [default: 20]; more on a busy machine",
        ))
        .arg(number("jobs", "Processes that run trials [default: one a core]"))
        .arg(text("scratch", "DIR", "Where storages are made [default: /dev/shm or the system's]"))
        .arg(text("shim", "FILE", "The shim's library").required(true).hide(true))
}

impl Options {
    pub fn read() -> Options {
        let mut found = command().get_matches();
        let mut number = |name: &str| found.remove_one::<u64>(name);
        let (seed, seconds, trials, jobs) =
            (number("seed"), number("seconds"), number("trials"), number("jobs"));
        number("patience").into_iter().for_each(set_patience);
        let mut text = |name: &str| found.remove_one::<String>(name);
        let (only, repeat, scratch, shim) =
            (text("only"), text("repeat"), text("scratch"), text("shim"));
        let chosen: Vec<String> =
            found.remove_many("campaigns").map(Iterator::collect).unwrap_or_default();
        let campaigns = CAMPAIGNS
            .into_iter()
            .filter(|name| chosen.is_empty() || chosen.iter().any(|c| c == name));
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let campaigns: Vec<&'static str> = campaigns.collect();
        if repeat.is_some() && campaigns.len() != 1 {
            command()
                .error(
                    ErrorKind::MissingRequiredArgument,
                    "--repeat needs the name of its campaign",
                )
                .exit();
        }
        Options {
            campaigns,
            seed: seed.unwrap_or(1),
            time: seconds.map(Duration::from_secs),
            trials,
            only: only.unwrap_or_default(),
            repeat,
            jobs: jobs.unwrap_or(cores).max(1),
            scratch: scratch.map_or_else(default_scratch, PathBuf::from),
            shim: shim.map(PathBuf::from).unwrap_or_default(),
            is_unmounted: found.get_flag("unmounted"),
            is_once: found.get_flag("once"),
        }
        .quick(found.get_flag("quick"))
    }

    fn quick(self, is_quick: bool) -> Options {
        if is_quick { Options { time: self.time.or(Some(Duration::ZERO)), ..self } } else { self }
    }

    /// How long this campaign may take.
    pub fn time_for(&self, campaign: &str) -> Option<Duration> {
        let quick = QUICK.iter().find(|(name, _)| *name == campaign).map(|(_, seconds)| *seconds);
        self.time.map(
            |time| if time.is_zero() { Duration::from_secs(quick.unwrap_or(30)) } else { time },
        )
    }

    /// Whether trials are drawn at random.
    pub fn is_random(&self) -> bool {
        self.trials.is_some() || self.time.is_some()
    }
}

/// A tmpfs if there is one: trials are many and small.
fn default_scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

//! Campaigns that attack storages: kills, kills of steps over many groups, also of steps that are
//! sent again, power cuts, histories in which rows expire and the clock jumps, corruption, errors
//! of system calls, limits. Whatever is left is opened and compared, row by row, with a model of
//! what docs/durability.md promises.
//!
//! scripts/torture builds and runs this. The driver never opens a storage itself: it forks workers
//! that do, and fresh processes that look at what the workers left. A preloaded library (shim.c)
//! makes their system calls fail.
//!
//! Workers stand for the programs that link damo, most of which are not written in Rust. So this
//! program has C's `main`, and not Rust's: that would have each thread map a stack for its signal
//! handler, and end the process where it cannot.

#![no_main]

mod beside;
mod call;
mod control;
mod corruption;
mod cut_back;
mod damage;
mod disk;
mod engine;
mod errors;
mod examine;
mod groups;
mod headers;
mod histories;
mod import_file;
mod inquest;
mod judge;
mod kills;
mod lanes;
mod limits;
mod model;
mod options;
mod power;
mod retries;
mod scenes;
mod script;
mod sessions;
mod stage;
#[path = "../common/steps.rs"]
mod step_history;
mod steps;
mod subjects;
mod system;
mod tally;
mod timeline;

use std::ffi::c_int;
use std::os::unix::process::CommandExt;
use std::process::Command;

use control::Control;
use lanes::Campaign;
use options::Options;

static CAMPAIGNS: [Campaign; 8] = [
    Campaign {
        name: "kills",
        exhaustive: kills::exhaustive,
        trial: kills::trial,
        repeat: kills::repeat,
    },
    Campaign {
        name: "steps",
        exhaustive: steps::exhaustive,
        trial: steps::trial,
        repeat: steps::repeat,
    },
    Campaign {
        name: "retries",
        exhaustive: retries::exhaustive,
        trial: retries::trial,
        repeat: retries::repeat,
    },
    Campaign {
        name: "power",
        exhaustive: power::exhaustive,
        trial: power::trial,
        repeat: power::repeat,
    },
    Campaign {
        name: "histories",
        exhaustive: histories::exhaustive,
        trial: histories::trial,
        repeat: histories::repeat,
    },
    Campaign {
        name: "corruption",
        exhaustive: corruption::exhaustive,
        trial: corruption::trial,
        repeat: corruption::repeat,
    },
    Campaign {
        name: "errors",
        exhaustive: errors::exhaustive,
        trial: errors::trial,
        repeat: errors::repeat,
    },
    Campaign {
        name: "limits",
        exhaustive: limits::exhaustive,
        trial: limits::trial,
        repeat: limits::repeat,
    },
];

/// 0 when nothing broke, else 1; 2 when the shim cannot be loaded.
// SAFETY: no other function has this name, and the arguments that C hands over are left alone.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let mut options = Options::read();
    let Some(control) = Control::attach() else { return start_again(&options) };
    // A folder of this run's own, without anything that another one left.
    options.scratch = options.scratch.join(format!("damo-torture-{}", std::process::id()));
    let mut is_broken = false;
    for campaign in CAMPAIGNS.iter().filter(|campaign| options.campaigns.contains(&campaign.name)) {
        is_broken |= lanes::run(campaign, &options, control).is_broken();
    }
    if options.repeat.is_none() {
        let _ = std::fs::remove_dir_all(&options.scratch);
    }
    c_int::from(is_broken)
}

/// Runs this program with the shim in front of the C library.
fn start_again(options: &Options) -> c_int {
    if std::env::var_os("LD_PRELOAD").is_some() {
        eprintln!("scripts/torture: the shim '{}' cannot be preloaded", options.shim.display());
        return 2;
    }
    let program = std::env::current_exe().expect("the program knows its own path");
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env("LD_PRELOAD", &options.shim)
        .exec();
    eprintln!("scripts/torture: {error}");
    2
}

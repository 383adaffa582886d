//! Shows the progress of long work, on stderr and only when that is a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar or spinner; dropped, it is removed.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar, which `update` moves.
    pub fn of(what: &'static str, unit: Unit) -> Progress {
        let template = match unit {
            Unit::Rows => "{msg} [{wide_bar}] {human_pos}/{human_len} rows, {per_sec}, {eta} left",
            Unit::Bytes => "{msg} [{wide_bar}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        };
        Progress::new(what, template)
    }

    /// A spinner, for work of unknown length.
    pub fn under_way(what: &'static str) -> Progress {
        let progress = Progress::new(what, "{spinner} {msg} {elapsed}");
        if !progress.0.is_hidden() {
            progress.0.enable_steady_tick(Duration::from_millis(200));
        }
        progress
    }

    fn new(what: &'static str, template: &str) -> Progress {
        let is_shown = stderr().is_terminal();
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Progress(bar)
    }

    pub fn update(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }
}

pub enum Unit {
    Rows,
    Bytes,
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

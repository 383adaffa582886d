//! What became of trials: counted, and told of where something broke.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The outcome of one trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Everything that was promised is there.
    Survived,
    /// The damage was told of, by an error that names the file.
    Refused,
    /// The kind of failure, and what was seen.
    Broken(&'static str, String),
}

pub const LOST: &str = "lost or changed rows";
pub const CLOSED: &str = "does not open";
pub const HANG: &str = "hangs";
pub const CRASH: &str = "crashes";
pub const UNNAMED: &str = "refusals without the file's name";
pub const STUCK: &str = "work does not go on";
pub const FILES: &str = "wrong checkpoints, dumps or filters";
pub const WRONG: &str = "calls that say what is not so";

/// Counts of a campaign.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub tried: u64,
    pub survived: u64,
    pub refused: u64,
    pub broken: BTreeMap<String, u64>,
    /// What else was counted: calls that met their fate, by kind of trial.
    pub notes: BTreeMap<String, u64>,
    #[serde(skip)]
    shown: BTreeMap<String, u64>,
}

/// How many broken trials of one kind a lane shows.
const MOST_SHOWN: u64 = 20;

impl Tally {
    pub fn add(&mut self, verdict: &Verdict, campaign: &str, repeat: &str) {
        self.tried += 1;
        match verdict {
            Verdict::Survived => self.survived += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::Broken(kind, what) => {
                *self.broken.entry((*kind).to_owned()).or_default() += 1;
                let shown = self.shown.entry((*kind).to_owned()).or_default();
                *shown += 1;
                if *shown <= MOST_SHOWN {
                    let mut what = what.replace('\n', " ");
                    if let Some((at, _)) = what.char_indices().nth(900) {
                        what.truncate(at);
                    }
                    println!(
                        "BROKEN ({kind}): {what}\n   again: scripts/torture {campaign} {repeat}"
                    );
                }
            }
        }
    }

    pub fn note(&mut self, what: &str) {
        *self.notes.entry(what.to_owned()).or_default() += 1;
    }

    pub fn merge(&mut self, other: Tally) {
        self.tried += other.tried;
        self.survived += other.survived;
        self.refused += other.refused;
        for (into, from) in [(&mut self.broken, other.broken), (&mut self.notes, other.notes)] {
            from.into_iter().for_each(|(what, count)| *into.entry(what).or_default() += count);
        }
    }

    pub fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// The one line that a campaign ends with.
    pub fn summary(&self, campaign: &str, seconds: u64) -> String {
        let broken: u64 = self.broken.values().sum();
        let list = |counts: &BTreeMap<String, u64>| {
            let counts: Vec<String> =
                counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
            if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
        };
        format!(
            "{campaign}: tried {}, survived {}, refused {}, broken {broken}{}; {seconds} s{}",
            self.tried,
            self.survived,
            self.refused,
            list(&self.broken),
            list(&self.notes)
        )
    }
}

//! What an import tells: how many records came in, and why the others did not.

use serde::Serialize;

/// Why a record was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its group is not one of this storage's.
    UnknownGroup,
    /// Its value names another group or key than its key does.
    KeyMismatch,
    /// Its dim is not the group's.
    WrongDim,
    /// It has neither the weights alone nor the weights and the whole state of the group's optimizer.
    WrongLength,
    /// One of its floats is NaN or infinite.
    NotFinite,
    /// Its update_time or update_num is negative or too large, or they are in another order than in the other records.
    BadTime,
    /// It was last updated longer ago than the storage's time to live.
    Expired,
}

/// Records that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub reason: Refusal,
    pub records: u64,
    /// What was wrong with the first of them.
    pub first: String,
}

/// In which order a file has a row's update_time and update_num.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldOrder {
    /// As older releases wrote it.
    TimeFirst,
    /// As later releases wrote it.
    NumFirst,
    /// No record tells; taken as older releases wrote it.
    Assumed,
}

/// What became of a file's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Records in the file.
    pub records: u64,
    /// Those that are rows now; of a key that is there twice each counts, and the last is the row.
    pub imported: u64,
    /// Of these, rows without state, which begin with zeros.
    pub without_state: u64,
    pub order: FieldOrder,
    /// One entry a reason, the first that came up first.
    pub refused: Vec<Refused>,
}

impl Imported {
    /// Records that were left out.
    pub fn refused_records(&self) -> u64 {
        self.refused.iter().map(|refused| refused.records).sum()
    }

    /// As a JSON object.
    pub fn to_json(&self) -> String {
        // Numbers and strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn refuse(&mut self, reason: Refusal, describe: impl FnOnce() -> String) {
        match self.refused.iter_mut().find(|refused| refused.reason == reason) {
            Some(refused) => refused.records += 1,
            None => self.refused.push(Refused { reason, records: 1, first: describe() }),
        }
    }
}

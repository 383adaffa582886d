//! The report of an import: how many records came in, and why the others did not.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use crate::error::{Error, Status};

/// Why a record was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its group is not one of this storage's.
    UnknownGroup,
    /// Its value has another group or key than its key has.
    KeyMismatch,
    /// Its dim is not the group's.
    WrongDim,
    /// Its floats are neither the weights alone nor the weights and the whole state of the group's
    /// optimizer.
    WrongLength,
    /// One of its floats is NaN or infinite.
    NotFinite,
    /// A sum or mean of squares in its optimizer's state is negative.
    NegativeSquare,
    /// Its update_time or update_num is negative or too large, or the two are in another order than
    /// in the other records.
    BadTime,
    /// It was last updated longer ago than the storage's TTL.
    Expired,
}

impl Refusal {
    /// The word for it in JSON.
    fn word(self) -> String {
        let word = serde_json::to_value(self).unwrap_or_default();
        word.as_str().unwrap_or_default().to_owned()
    }
}

/// Records that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The reason.
    pub reason: Refusal,
    /// How many they were.
    pub records: u64,
    /// What was wrong with the first of them.
    pub first: String,
}

/// The order of update_time and update_num in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldOrder {
    /// The order of older releases.
    TimeFirst,
    /// The order of later releases.
    NumFirst,
    /// No record tells; the order of older releases is assumed.
    Assumed,
    /// A dump has neither.
    Absent,
}

/// The layout of a checkpoint's values: how many bytes come before the floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 32 bytes: all releases but the last.
    Short,
    /// 40 bytes: release 1.1.12.
    Long,
}

impl Layout {
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Layout::Short => 32,
            Layout::Long => 40,
        }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A checkpoint, with its layout.
    Checkpoint(Layout),
    /// A dump with a header of fixed width.
    Classic,
    /// A dump whose header begins with the number of groups.
    Counted,
}

impl Format {
    /// The name in messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            Format::Checkpoint(_) => "checkpoint",
            Format::Classic => "classic dump",
            Format::Counted => "counted dump",
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Format::Checkpoint(_) => "checkpoint",
            Format::Classic => "classic",
            Format::Counted => "counted",
        })
    }
}

/// What became of a file's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Records in the file.
    pub records: u64,
    /// Records that became rows. If a key comes twice, both count, and the last one is the row.
    /// After an error this is at most the number of records that became rows before it.
    pub imported: u64,
    /// Of these, records without state. Their rows begin as inserted ones do.
    pub without_state: u64,
    /// The order in which the file has update_time and update_num.
    pub order: FieldOrder,
    /// What the file was.
    pub format: Format,
    /// Bytes of a checkpoint's values before their floats, 32 or 40; 0 for a dump.
    pub value_header: u64,
    /// Records of other groups than the one that was asked for.
    pub other_groups: u64,
    /// One element a reason, in the order in which the reasons came up.
    pub refused: Vec<Refused>,
    /// Some of the other groups' numbers, for messages.
    #[serde(skip)]
    others: BTreeSet<i32>,
}

/// How many of the other groups a message names.
const NAMED_GROUPS: usize = 8;

impl Imported {
    pub(super) fn new(format: Format, order: FieldOrder, records: u64) -> Imported {
        let value_header = match format {
            Format::Checkpoint(layout) => layout.bytes(),
            _ => 0,
        };
        Imported {
            records,
            imported: 0,
            without_state: 0,
            order,
            format,
            value_header,
            other_groups: 0,
            refused: Vec::new(),
            others: BTreeSet::new(),
        }
    }

    /// The error for a file with records of which none could be taken; None otherwise. `only` is
    /// the group that was asked for.
    pub(super) fn is_in_vain(&self, only: Option<u16>) -> Option<Error> {
        if self.imported > 0 || self.records == 0 {
            return None;
        }
        if let Some(group) = only.filter(|_| self.records == self.other_groups) {
            return Some(Error::invalid(format!(
                "it is a {}, and none of its {} records is of group {group}, which was asked for; \
                 they are of {}",
                self.name(),
                self.records,
                self.named_others()
            )));
        }
        let most = self.refused.iter().max_by_key(|refused| refused.records)?;
        let status = match most.reason {
            Refusal::KeyMismatch
            | Refusal::NotFinite
            | Refusal::NegativeSquare
            | Refusal::BadTime => Status::Corruption,
            _ => Status::InvalidArgument,
        };
        let reasons: Vec<String> = self
            .refused
            .iter()
            .map(|refused| {
                format!("{} {}: {}", refused.records, refused.reason.word(), refused.first)
            })
            .collect();
        let message = format!(
            "it is a {}, and none of its {} records could be taken. {}",
            self.name(),
            self.records - self.other_groups,
            reasons.join(". ")
        );
        Some(Error::new(status, message))
    }

    /// The file's name in messages.
    fn name(&self) -> String {
        match self.value_header {
            0 => self.format.name().to_owned(),
            bytes => format!("{} with value headers of {bytes} bytes", self.format.name()),
        }
    }

    fn named_others(&self) -> String {
        let named: Vec<_> = self.others.iter().take(NAMED_GROUPS).map(i32::to_string).collect();
        let more = if self.others.len() > NAMED_GROUPS { " and others" } else { "" };
        let noun = if self.others.len() == 1 { "group" } else { "groups" };
        format!("{noun} {}{more}", named.join(", "))
    }

    /// Counts a record of another group than the one that was asked for.
    pub(super) fn leave_to_others(&mut self, group: i32) {
        self.other_groups += 1;
        if self.others.len() <= NAMED_GROUPS {
            self.others.insert(group);
        }
    }

    /// How many records were left out.
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

//! Looks at a storage after a stop, in a fresh process, and compares it with what was promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::engine::{Opening, Places};
use crate::examine::{
    Examination, Refusal, admitted, check_filter, examine, examine_files, followed_up,
};
use crate::model::Model;
use crate::script::Op;
use crate::system::{End, in_child};
use crate::tally::{CLOSED, CRASH, FILES, HANG, LOST, Verdict};
use crate::timeline::{Promise, Timeline, find_world};

/// In seconds.
static PATIENCE: AtomicU64 = AtomicU64::new(20);

/// A worker that takes longer than this hangs: an opening takes milliseconds.
pub fn patience() -> Duration {
    Duration::from_secs(PATIENCE.load(SeqCst))
}

pub fn set_patience(seconds: u64) {
    PATIENCE.store(seconds, SeqCst);
}

/// What a child said, or how it broke.
pub fn answer<T: serde::de::DeserializeOwned>(end: End) -> Result<T, Verdict> {
    let broken = |kind, what: String| Err(Verdict::Broken(kind, what));
    match end {
        End::Returned(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Verdict::Broken(CRASH, format!("no answer: {error}"))),
        End::Hung => broken(HANG, "no answer in time".to_owned()),
        End::Panicked(what) => broken(CRASH, format!("panic: {what}")),
        End::Signal(signal) => broken(CRASH, format!("signal {signal}")),
        End::Exit(code) => broken(CRASH, format!("exit code {code}")),
    }
}

pub fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is sent has no maps with strange keys")
}

/// Opens, reads and works in a fresh process.
pub fn look(places: &Places, opening: Opening) -> Result<Result<Examination, Refusal>, Verdict> {
    answer(in_child(patience(), || encode(&examine(places, opening))))
}

/// Judges a storage after a stop, with `under_way` not acknowledged. Returns what was found, to go
/// on from.
pub fn judge(
    places: &Places,
    opening: Opening,
    timeline: &Timeline,
    promise: Promise,
    under_way: Option<&Op>,
) -> Result<Model, Verdict> {
    let examination = match look(places, opening)? {
        Ok(examination) => examination,
        Err(refusal) => return Err(Verdict::Broken(CLOSED, refusal.to_string())),
    };
    find_world(&timeline.worlds(promise, under_way), &examination.found)
        .map_err(|why| Verdict::Broken(LOST, why))?;
    if !examination.troubles.is_empty() {
        return Err(Verdict::Broken(LOST, examination.troubles.join("; ")));
    }
    debug_assert_eq!(examination.after, followed_up(&examination.found));
    Ok(examination.after)
}

/// Judges checkpoints, dumps and the filter.
pub fn judge_files(
    places: &Places,
    opening: Opening,
    timeline: &Timeline,
    under_way: Option<&Op>,
) -> Result<(), Verdict> {
    files(places, opening, timeline, &timeline.filter_counts(false, under_way))
}

/// As `judge_files`, but the filter has what was synced, and some of what came later.
pub fn judge_files_after_power(
    places: &Places,
    opening: Opening,
    timeline: &Timeline,
    under_way: Option<&Op>,
) -> Result<(), Verdict> {
    files(places, opening, timeline, &timeline.filter_counts(true, under_way))
}

fn files(
    places: &Places,
    opening: Opening,
    timeline: &Timeline,
    counts: &[BTreeMap<i64, u32>; 2],
) -> Result<(), Verdict> {
    let troubles: Vec<String> = answer(in_child(patience(), || {
        let mut troubles = examine_files(places, opening, timeline);
        if places.filter().exists() {
            match admitted(places) {
                Ok(admitted) => troubles.extend(check_filter(&admitted, counts)),
                Err(error) => troubles.push(format!("the filter: {error:?}")),
            }
        }
        encode(&troubles)
    }))?;
    if troubles.is_empty() { Ok(()) } else { Err(Verdict::Broken(FILES, troubles.join("; "))) }
}

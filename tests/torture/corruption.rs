//! Corruption: files of storages that were closed or killed, of checkpoints, tables, increments,
//! filters and imports are damaged. What opens has exactly the rows that it had; anything else is
//! refused, by an error that names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;

use crate::damage::{Damage, files, kind};
use crate::engine;
use crate::engine::DURABILITIES;
use crate::examine::Refusal;
use crate::headers::{content_len, header_bytes, is_mapped};
use crate::judge::{answer, encode};
use crate::lanes::Lane;
use crate::script::random;
use crate::subjects::{SUBJECTS, Subject, Used, check, use_it};
use crate::system::in_child;
use crate::tally::{UNNAMED, Verdict};
use crate::timeline::Promise;

/// Ten times what opening takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the header of the journal's written files, which each one has before calls go to it.
const JOURNAL_HEADER: usize = 24;

/// Every bit of every header, every file cut, emptied, doubled, deleted and exchanged.
pub fn exhaustive(lane: &mut Lane) {
    let mut number = 0;
    for (name, subject) in SUBJECTS {
        for durability in DURABILITIES {
            let (places, _) = subject.set_up(lane, durability);
            let dir = subject.dir(&places);
            let all: Vec<PathBuf> =
                files(&dir).into_iter().filter(|file| subject.has(file)).collect();
            let mut cases = Vec::new();
            for file in &all {
                let bytes = fs::read(dir.join(file)).expect("the file was listed");
                for damage in every_damage(file, &bytes, &all) {
                    cases.push((file.clone(), damage));
                }
            }
            for (file, damage) in cases {
                number += 1;
                let case = format!("{name}:{durability}:{}:{}", file.display(), damage.spec());
                if !lane.is_mine(number) || !lane.is_wanted(&case) {
                    continue;
                }
                if lane.is_over() {
                    return;
                }
                let verdict = one(lane, subject, durability, &file, &damage);
                lane.record(&verdict, &format!("--repeat '{case}'"));
            }
        }
    }
}

fn every_damage(file: &Path, bytes: &[u8], all: &[PathBuf]) -> Vec<Damage> {
    let bytes = &bytes[..content_len(bytes)];
    let mut every =
        vec![Damage::Deleted, Damage::Emptied, Damage::Doubled, Damage::Zeros(0, bytes.len())];
    for at in header_bytes(file, bytes) {
        every.extend((0..8).map(|bit| Damage::Bit { at, bit }));
    }
    let step = (bytes.len() / 64).max(1);
    every.extend((1..bytes.len()).step_by(step).map(Damage::Cut));
    every.extend((0..bytes.len()).step_by(step).map(|at| Damage::Zeros(at, step.max(64))));
    every.extend(
        (1..8).filter(|less| *less < bytes.len()).map(|less| Damage::Cut(bytes.len() - less)),
    );
    let others = all.iter().filter(|other| *other != file && kind(other) == kind(file));
    every.extend(
        others.flat_map(|other| [Damage::Swapped(other.clone()), Damage::Replaced(other.clone())]),
    );
    every
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x6461_6d61_6765, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    // Storages more often than what is beside them.
    let (name, subject) =
        SUBJECTS[[0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7][random.random_range(0..14)]];
    if !lane.is_wanted(&format!("{name}:{durability}")) {
        return None;
    }
    let (places, _) = subject.set_up(lane, durability);
    let dir = subject.dir(&places);
    let mut all: Vec<PathBuf> = files(&dir).into_iter().filter(|file| subject.has(file)).collect();
    // Tables are many, the others few: each kind as often.
    let mut kinds: Vec<&str> = all.iter().map(|file| kind(file)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let chosen = kinds[random.random_range(0..kinds.len())];
    let of_kind: Vec<&PathBuf> = all.iter().filter(|file| kind(file) == chosen).collect();
    let file = of_kind[random.random_range(0..of_kind.len())].clone();
    all.retain(|other| *other != file);
    let len = fs::read(dir.join(&file)).map_or(0, |bytes| content_len(&bytes));
    let damage = Damage::any(&mut random, len, &all);
    Some(one(lane, subject, durability, &file, &damage))
}

/// `SUBJECT:DURABILITY:FILE:DAMAGE`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, case: &str) -> Verdict {
    let parts: Vec<&str> = case.splitn(4, ':').collect();
    let [subject, durability, file, damage] = parts[..] else {
        panic!("SUBJECT:DURABILITY:FILE:DAMAGE is needed")
    };
    let subject = SUBJECTS.iter().find(|known| known.0 == subject).expect("a subject").1;
    let durability = engine::durability(durability);
    one(lane, subject, durability, Path::new(file), &Damage::parse(damage).expect("a damage"))
}

fn one(
    lane: &mut Lane,
    subject: Subject,
    durability: &'static str,
    file: &Path,
    damage: &Damage,
) -> Verdict {
    let (places, timeline) = subject.set_up(lane, durability);
    let dir = subject.dir(&places);
    let is_last_journal = kind(file) == "journal"
        && files(&dir)
            .iter()
            .rfind(|other| kind(other) == "journal")
            .is_some_and(|last| last == file)
        // A mapped file says where it ends.
        && !fs::read(dir.join(file)).is_ok_and(|bytes| is_mapped(&bytes));
    let is_behind_header = !matches!(damage, Damage::Emptied | Damage::Cut(..JOURNAL_HEADER));
    // A filter that is not there is made anew: that is its contract.
    if (subject, damage) == (Subject::Filter, &Damage::Deleted) || !damage.make(&dir, file) {
        return Verdict::Survived;
    }
    lane.tally.note(&format!("{} files", kind(file)));
    let opening = Subject::opening(durability);
    let promise = match lane.stage.base(subject.start(), opening).promise() {
        // A record that is not whole at the journal's end is what a killed process leaves.
        Promise::Calls if is_last_journal && damage.is_a_shorter_end() && is_behind_header => {
            Promise::Prefix
        }
        promise => promise,
    };
    let end = in_child(TIMEOUT, || encode(&use_it(subject, &places, opening)));
    let judged = answer::<Result<Used, Refusal>>(end).and_then(|used| match used {
        Ok(used) => {
            check(subject, &timeline, promise, &used)?;
            if let Used::Taken(Some(refusal), ..) = used {
                named(&refusal, damage, file)
            } else {
                Ok(Verdict::Survived)
            }
        }
        Err(refusal) => named(&refusal, damage, file),
    });
    match judged {
        Ok(verdict) => verdict,
        Err(Verdict::Broken(kind, what)) => {
            let what = format!("{subject:?} {durability}, {} {damage}: {what}", file.display());
            Verdict::Broken(kind, what)
        }
        Err(other) => other,
    }
}

/// A refusal is right if it names what is damaged.
fn named(refusal: &Refusal, damage: &Damage, file: &Path) -> Result<Verdict, Verdict> {
    if damage.names(file).iter().any(|name| refusal.message.contains(name.as_str())) {
        return Ok(Verdict::Refused);
    }
    Err(Verdict::Broken(UNNAMED, refusal.to_string()))
}

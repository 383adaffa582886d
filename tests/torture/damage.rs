//! Damage to files: which file, what is done to it, and what may come of it.

use std::fs;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What is done to a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Damage {
    /// One bit is flipped.
    Bit {
        at: usize,
        bit: u32,
    },
    /// The file ends here.
    Cut(usize),
    /// Zeros from here, so many.
    Zeros(usize, usize),
    /// Random bytes from here.
    Noise(usize, Vec<u8>),
    Deleted,
    Emptied,
    /// The file, and the same once more.
    Doubled,
    /// A part of it is in another place, and the other way round.
    Moved(usize, usize, usize),
    /// It and another file have each other's contents.
    Swapped(PathBuf),
    /// It has the contents of another file.
    Replaced(PathBuf),
}

/// Every file below a directory, by its path in it, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the scratch directory can be read") {
            let path = entry.expect("the scratch directory can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(dir) {
                found.push(name.to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The kind of a file, by its name.
pub fn kind(file: &Path) -> &'static str {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "CURRENT" => "CURRENT",
        "IDENTITY" => "IDENTITY",
        "checkpoint.json" => "checkpoint.json",
        "filters.json" => "filters.json",
        name if name.ends_with(".sst") => "sst",
        name if name.ends_with(".log") => "log",
        name if name.ends_with(".journal") => "journal",
        name if name.starts_with("MANIFEST") => "MANIFEST",
        name if name.starts_with("OPTIONS") => "OPTIONS",
        name if name.starts_with("LOG") => "LOG",
        name if name.starts_with("LOCK") || name == ".damo-lock" => "lock",
        name if name.ends_with(".filter") || name == "filter" => "filter",
        name if name.starts_with('.') || name.starts_with("damo") || name == "FILES" => "list",
        name if name.starts_with("table") => "table",
        name if name.starts_with("increment") => "increment",
        name if name.starts_with("import") => "import",
        name if name.starts_with("classic") => "classic",
        _ => "other",
    }
}

/// Files that hold nothing: whatever is in them, rows are not concerned.
pub fn is_idle(file: &Path) -> bool {
    matches!(kind(file), "LOG" | "lock")
}

impl Damage {
    /// Any damage of a file; half of the bits are in its first bytes, where headers are, or its
    /// last.
    pub fn any(random: &mut ChaCha8Rng, len: usize, others: &[PathBuf]) -> Damage {
        let other = |random: &mut ChaCha8Rng| others[random.random_range(0..others.len())].clone();
        let at = match random.random_range(0..4) {
            _ if len == 0 => 0,
            0 => random.random_range(0..len.min(128)),
            1 => len - 1 - random.random_range(0..len.min(128)),
            _ => random.random_range(0..len),
        };
        let some = 1 + random.random_range(0..4096_usize.min(len.max(2) - 1));
        match random.random_range(0..20) {
            0..9 if len > 0 => Damage::Bit { at, bit: random.random_range(0..8) },
            9..12 if len > 0 => Damage::Cut(at),
            12..14 if len > 0 => Damage::Zeros(at, some),
            14..16 if len > 0 => {
                Damage::Noise(at, (0..some.min(512)).map(|_| random.random()).collect())
            }
            16 if len > 1 => Damage::Moved(at, random.random_range(0..len), some.min(256)),
            17 => Damage::Deleted,
            18 => [Damage::Emptied, Damage::Doubled][random.random_range(0..2)].clone(),
            _ if others.is_empty() => Damage::Deleted,
            _ if random.random() => Damage::Swapped(other(random)),
            _ => Damage::Replaced(other(random)),
        }
    }

    /// Does it; false if the files are what they were.
    pub fn make(&self, dir: &Path, file: &Path) -> bool {
        let path = dir.join(file);
        let before = fs::read(&path).expect("the file was listed");
        let mut after = before.clone();
        let read = |other: &Path| fs::read(dir.join(other)).expect("the file was listed");
        match self {
            Damage::Bit { at, bit } => after[*at] ^= 1 << bit,
            Damage::Cut(len) => after.truncate(*len),
            Damage::Zeros(from, len) => {
                let to = (from + len).min(after.len());
                after[*from..to].fill(0);
            }
            Damage::Noise(from, bytes) => {
                let len = bytes.len().min(after.len() - from);
                after[*from..from + len].copy_from_slice(&bytes[..len]);
            }
            Damage::Deleted => {
                fs::remove_file(&path).expect("the file was listed");
                return true;
            }
            Damage::Emptied => after.clear(),
            Damage::Doubled => after.extend_from_slice(&before),
            Damage::Moved(from, to, len) => {
                let len = (*len).min(after.len() - from.max(to)).min(from.abs_diff(*to));
                (0..len).for_each(|index| after.swap(from + index, to + index));
            }
            Damage::Swapped(other) => {
                after = read(other);
                fs::write(dir.join(other), &before).expect("the scratch directory has room");
            }
            Damage::Replaced(other) => after = read(other),
        }
        let is_changed = after != before;
        fs::write(&path, after).expect("the scratch directory has room");
        is_changed
    }

    /// As `parse` reads it; none for what only random trials do.
    pub fn spec(&self) -> String {
        match self {
            Damage::Bit { at, bit } => format!("bit@{at}+{bit}"),
            Damage::Cut(len) => format!("cut@{len}"),
            Damage::Zeros(at, len) => format!("zeros@{at}+{len}"),
            Damage::Swapped(other) => format!("swapped={}", other.display()),
            Damage::Replaced(other) => format!("replaced={}", other.display()),
            Damage::Deleted => "deleted".to_owned(),
            Damage::Emptied => "emptied".to_owned(),
            Damage::Doubled => "doubled".to_owned(),
            Damage::Noise(..) | Damage::Moved(..) => String::new(),
        }
    }

    pub fn parse(spec: &str) -> Option<Damage> {
        let pair = |text: &str| {
            let (at, more) = text.split_once('+')?;
            Some((at.parse::<usize>().ok()?, more.parse::<usize>().ok()?))
        };
        match spec.split_once(['@', '=']) {
            Some(("bit", rest)) => pair(rest).map(|(at, bit)| Damage::Bit { at, bit: bit as u32 }),
            Some(("cut", rest)) => rest.parse().ok().map(Damage::Cut),
            Some(("zeros", rest)) => pair(rest).map(|(at, len)| Damage::Zeros(at, len)),
            Some(("swapped", rest)) => Some(Damage::Swapped(rest.into())),
            Some(("replaced", rest)) => Some(Damage::Replaced(rest.into())),
            _ => [Damage::Deleted, Damage::Emptied, Damage::Doubled]
                .into_iter()
                .find(|one| one.spec() == spec),
        }
    }

    /// What a process that is killed while it appends to a file leaves: a part of it.
    pub fn is_a_shorter_end(&self) -> bool {
        matches!(self, Damage::Cut(_) | Damage::Emptied)
    }

    /// What a refusal may name: the files that are concerned, or the folder of journals if one is
    /// gone.
    pub fn names(&self, file: &Path) -> Vec<String> {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Damage::Swapped(other) | Damage::Replaced(other) => vec![name(file), name(other)],
            Damage::Deleted if kind(file) == "journal" => vec!["/journal'".to_owned(), name(file)],
            _ => vec![name(file)],
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Noise(at, bytes) => write!(formatter, "{} random bytes at {at}", bytes.len()),
            Damage::Bit { at, bit } => write!(formatter, "bit {bit} of byte {at}"),
            other => write!(formatter, "{other:?}"),
        }
    }
}

//! The substitute for a power cut where no file system may be mounted: a directory as it was, and
//! what a worker has done to it since (record.c). What was synced stays; of what was not, a part:
//! writes in any order, so that there are holes of zeros, and entries of directories up to some
//! moment.
//!
//! Stricter than ext4: the name of a new file is only kept by syncing its directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::control::kind;

/// A file or directory.
#[derive(Clone, Default)]
struct Node {
    /// As the worker saw it: None for a file.
    entries: Option<BTreeMap<String, usize>>,
    /// As it is on disk.
    kept: BTreeMap<String, usize>,
    data: Vec<u8>,
    /// Since it was last synced.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
    /// It is at least so long.
    Extend(usize),
}

/// One name set or removed, in a directory.
type Entry = (usize, String, Option<usize>);

/// A directory as it was when recording began. Node 0 is the directory itself.
pub struct Recording {
    nodes: Vec<Node>,
    /// Changes of names that were not synced, in their order; a rename has two.
    names: Vec<Vec<Entry>>,
}

impl Recording {
    pub fn begin(root: &Path) -> Recording {
        let mut recording = Recording { nodes: Vec::new(), names: Vec::new() };
        recording.load(root);
        recording
    }

    fn load(&mut self, path: &Path) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node::default());
        if !path.is_dir() {
            self.nodes[number].data = fs::read(path).expect("the scratch directory can be read");
            return number;
        }
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).expect("the scratch directory can be read") {
            let entry = entry.expect("the scratch directory can be read");
            entries
                .insert(entry.file_name().to_string_lossy().into_owned(), self.load(&entry.path()));
        }
        self.nodes[number].kept = entries.clone();
        self.nodes[number].entries = Some(entries);
        number
    }

    /// Makes `root` what may be left of it. `log` has what was done.
    pub fn cut_back(mut self, root: &Path, log: &Path, random: &mut ChaCha8Rng) {
        let bytes = fs::read(log).unwrap_or_default();
        let mut at = 0;
        while let Some(record) = Record::read(&bytes, &mut at) {
            self.make(root, &record);
        }
        let kept = random.random_range(0..=self.names.len());
        for entry in self.names.drain(..kept).collect::<Vec<_>>().into_iter().flatten() {
            self.keep(entry);
        }
        // A filter is changed through memory, which nobody can record: its file is as far as it
        // came.
        let filter = root.join("trial").join("filter");
        let counts = fs::read(&filter).ok();
        let _ = fs::remove_dir_all(root);
        self.write(0, root, random);
        if let (Some(counts), true) = (counts, filter.exists()) {
            fs::write(&filter, counts).expect("the scratch directory has room");
        }
    }

    /// The directory that a path is in, and its name there.
    fn parent(&self, root: &Path, path: &str) -> Option<(usize, String)> {
        let inside = Path::new(path).strip_prefix(root).ok()?;
        let mut parts: Vec<String> =
            inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let name = parts.pop()?;
        let mut node = 0;
        for part in parts {
            node = *self.nodes[node].entries.as_ref()?.get(&part)?;
        }
        Some((node, name))
    }

    fn find(&self, root: &Path, path: &str) -> Option<usize> {
        if Path::new(path) == root {
            return Some(0);
        }
        let (parent, name) = self.parent(root, path)?;
        self.nodes[parent].entries.as_ref()?.get(&name).copied()
    }

    fn make(&mut self, root: &Path, record: &Record) {
        let is = |name| record.kind == kind(name);
        let node = self.find(root, &record.path);
        if is("create") || is("mkdir") {
            let Some((parent, name)) = self.parent(root, &record.path) else { return };
            match node {
                Some(node) if record.offset == 0 => self.change(node, Change::Truncate(0)),
                Some(_) => {}
                None => {
                    let number = self.nodes.len();
                    let entries = is("mkdir").then(BTreeMap::new);
                    self.nodes.push(Node { entries, ..Node::default() });
                    self.rename(vec![(parent, name, Some(number))]);
                }
            }
        } else if is("rename") || is("link") {
            let (Some(to), Some(from)) =
                (self.parent(root, &record.path), self.parent(root, &record.other))
            else {
                return;
            };
            let Some(number) = self.find(root, &record.other) else { return };
            let mut entries = vec![(to.0, to.1, Some(number))];
            if is("rename") {
                // An exchange puts something in the place of the old name.
                let other = if record.offset == 0 { None } else { node };
                entries.insert(0, (from.0, from.1, other));
            }
            self.rename(entries);
        } else if is("remove") {
            if let Some((parent, name)) = self.parent(root, &record.path) {
                self.rename(vec![(parent, name, None)]);
            }
        } else if let Some(node) = node {
            if is("write") {
                self.change(node, Change::Write(record.offset as usize, record.data.clone()));
            } else if is("truncate") {
                self.change(node, Change::Truncate(record.offset as usize));
            } else if is("allocate") {
                self.change(node, Change::Extend(record.offset as usize));
            } else if is("sync") {
                self.sync(node);
            }
        }
    }

    fn change(&mut self, node: usize, change: Change) {
        self.nodes[node].pending.push(change);
    }

    fn rename(&mut self, entries: Vec<Entry>) {
        for (parent, name, node) in &entries {
            let Some(names) = &mut self.nodes[*parent].entries else { continue };
            match node {
                Some(node) => drop(names.insert(name.clone(), *node)),
                None => drop(names.remove(name)),
            }
        }
        self.names.push(entries);
    }

    fn sync(&mut self, node: usize) {
        if self.nodes[node].entries.is_none() {
            let node = &mut self.nodes[node];
            node.pending.drain(..).for_each(|change| apply(&mut node.data, change));
            return;
        }
        // What concerns this directory; both halves of a rename go together.
        let (kept, rest) = std::mem::take(&mut self.names)
            .into_iter()
            .partition::<Vec<_>, _>(|entries| entries.iter().any(|(parent, ..)| *parent == node));
        self.names = rest;
        kept.into_iter().flatten().for_each(|entry| self.keep(entry));
    }

    fn keep(&mut self, (parent, name, node): Entry) {
        match node {
            Some(node) => drop(self.nodes[parent].kept.insert(name, node)),
            None => drop(self.nodes[parent].kept.remove(&name)),
        }
    }

    fn write(&self, number: usize, path: &Path, random: &mut ChaCha8Rng) {
        let node = &self.nodes[number];
        if node.entries.is_some() {
            fs::create_dir_all(path).expect("the scratch directory has room");
            node.kept.iter().for_each(|(name, node)| self.write(*node, &path.join(name), random));
            return;
        }
        let mut data = node.data.clone();
        let luck = random.random_range(0..3);
        let prefix = random.random_range(0..=node.pending.len());
        for (index, change) in node.pending.iter().enumerate() {
            let is_kept = match luck {
                0 => false,
                1 => index < prefix,
                _ => random.random(),
            };
            if is_kept {
                apply(&mut data, change.clone());
            }
        }
        fs::write(path, data).expect("the scratch directory has room");
    }
}

fn apply(data: &mut Vec<u8>, change: Change) {
    match change {
        Change::Write(at, bytes) => {
            let end = at + bytes.len();
            data.resize(data.len().max(end), 0);
            data[at..end].copy_from_slice(&bytes);
        }
        Change::Truncate(len) => data.resize(len, 0),
        Change::Extend(len) => data.resize(data.len().max(len), 0),
    }
}

/// As record.c writes it.
struct Record {
    kind: u32,
    path: String,
    other: String,
    offset: i64,
    data: Vec<u8>,
}

impl Record {
    fn read(bytes: &[u8], at: &mut usize) -> Option<Record> {
        const HEAD: usize = 32;
        let head = bytes.get(*at..*at + HEAD)?;
        let word = |from: usize| {
            u32::from_ne_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]])
        };
        let long = |from: usize| Some(i64::from_ne_bytes(head[from..from + 8].try_into().ok()?));
        let (path_len, other_len) = (word(4) as usize, word(8) as usize);
        let (data_len, offset) = (long(16)? as usize, long(24)?);
        let mut next = *at + HEAD;
        let mut take = |len: usize| {
            let part = bytes.get(next..next + len)?;
            next += len;
            Some(part.to_vec())
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (path, other, data) = (text(take(path_len)?), text(take(other_len)?), take(data_len)?);
        *at = next;
        Some(Record { kind: word(0), path, other, offset, data })
    }
}

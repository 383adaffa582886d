//! Admission: which files lookups open, one after the other, as far as memory and descriptors have
//! room.
//!
//! Files come in the order in which a key is looked for. The first one without room and all that
//! follow are not opened: in the oldest run, those of the largest keys.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, Builder};

use super::lookup_files::{Failures, Leveled, LookupFiles, Use};
use super::lookups::Lookups;
use super::sst::{Bounds, OpenFile, Passing, SstLookup, SstRows};
use crate::files::regular;
use crate::locks::Mutex;

/// An open file of which only the head was read. The error says what becomes of a file that was not
/// opened; None when it is gone.
type Head = Result<(SstRows, Passing), Option<Use>>;
/// A file whose filter is to be read.
type Unread = (PathBuf, SstRows, Passing);

/// Open files, and the bytes of memory that they take.
#[derive(Clone, Copy, Default)]
struct Held {
    files: usize,
    bytes: usize,
}

impl Held {
    fn by<'a>(files: impl Iterator<Item = &'a (Bounds, Use)>) -> Held {
        files.fold(Held::default(), |held, (_, file)| Held {
            files: held.files + usize::from(matches!(file, Use::Open(_))),
            bytes: held.bytes + file.bytes(),
        })
    }
}

pub(super) struct Admission<'a> {
    lookups: &'a Lookups,
    /// What the previous list says about files that are listed again.
    known: HashMap<PathBuf, (Bounds, Use)>,
    /// The heads that were read of files that are not added yet.
    heads: HashMap<PathBuf, Head>,
    /// What has become of files that were opened ahead.
    ahead: HashMap<PathBuf, Use>,
    files: Vec<Leveled>,
    /// How many of these files are open, and the bytes of memory that they take.
    open: usize,
    bytes: usize,
    /// Files that only the previous list has.
    gone: Held,
    /// Files that both lists have.
    kept: Held,
    /// Files that were opened for this list.
    new: Held,
    /// A file had no room.
    is_full: bool,
    /// Bytes of the files that have no room.
    left: u64,
    _opening: Opening<'a>,
}

/// Ends the count of what is read for a list. One list is made at a time.
struct Opening<'a>(&'a Lookups);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening_bytes.store(0, Ordering::Relaxed);
    }
}

impl<'a> Admission<'a> {
    /// `listed` are the files that will be added.
    pub(super) fn new(
        lookups: &'a Lookups,
        before: Option<Arc<LookupFiles>>,
        listed: &[Leveled],
    ) -> Admission<'a> {
        let mut known = before.map(|before| before.known()).unwrap_or_default();
        let mut again = HashMap::new();
        for file in listed {
            if known.get(&file.path).is_some_and(|(bounds, _)| *bounds == file.bounds)
                && let Some(found) = known.remove(&file.path)
            {
                again.insert(file.path.clone(), found);
            }
        }
        let (gone, kept) = (Held::by(known.values()), Held::by(again.values()));
        Admission {
            lookups,
            known: again,
            heads: HashMap::new(),
            ahead: HashMap::new(),
            files: Vec::new(),
            open: 0,
            bytes: 0,
            gone,
            kept,
            new: Held::default(),
            is_full: false,
            left: 0,
            _opening: Opening(lookups),
        }
    }

    /// About the bytes of the files that will have no room. Files' heads say how much memory they
    /// take, so it reads no filter.
    pub(super) fn will_leave(&mut self, listed: &[Leveled]) -> u64 {
        let (mut open, mut bytes, mut left) = (0, 0_usize, 0);
        for file in listed.iter().take_while(|_| !self.lookups.is_stopped()) {
            let needed = match self.known.get(&file.path).map(|(_, known)| known) {
                Some(Use::Open(open)) => open.bytes(),
                Some(Use::NoRoom(bytes)) if *bytes > 0 => *bytes,
                Some(Use::Refused) => continue,
                Some(Use::Unopened(failures)) if failures.pauses() => continue,
                _ if left > 0 => 0,
                _ => {
                    let head = self.open_head(file);
                    let needed = head.as_ref().ok().map(|(rows, _)| bytes_of(rows));
                    self.heads.insert(file.path.clone(), head);
                    let Some(needed) = needed else { continue };
                    needed
                }
            };
            open += 1;
            bytes = bytes.saturating_add(needed);
            if left > 0 || open > self.lookups.most_files || bytes > self.lookups.room {
                left += file.bounds.len;
            }
        }
        left
    }

    /// Reads the filters of files whose heads were read, on so many threads: as far as they have
    /// room without files of the previous list being closed.
    pub(super) fn read_ahead(&mut self, listed: &[Leveled], threads: usize) {
        let mut unread: VecDeque<Unread> = VecDeque::new();
        let mut bytes = self.gone.bytes + self.kept.bytes + self.new.bytes;
        for file in listed {
            let Some(head) = self.heads.remove(&file.path) else { continue };
            let needed = head.as_ref().map_or(0, |(rows, _)| bytes_of(rows));
            bytes = bytes.saturating_add(needed);
            match head {
                Ok((rows, passing)) if bytes <= self.lookups.room => {
                    unread.push_back((file.path.clone(), rows, passing));
                }
                head => {
                    self.heads.insert(file.path.clone(), head);
                }
            }
        }
        let others = threads.min(unread.len()).saturating_sub(1);
        let (unread, ahead) = (Mutex::new(unread), Mutex::new(HashMap::new()));
        let work = || {
            while !self.lookups.is_stopped()
                && let Some((path, rows, passing)) = pop(&unread)
            {
                ahead.lock().insert(path, read(self.lookups, rows, &passing));
            }
        };
        thread::scope(|scope| {
            for number in 1..=others {
                let builder = Builder::new().name(format!("damo-opening-{number}"));
                // Where no thread can be made, those that there are read all filters.
                let _ = builder.spawn_scoped(scope, work);
            }
            work();
        });
        self.ahead = ahead.into_inner();
        self.new.bytes += self.ahead.values().map(Use::bytes).sum::<usize>();
    }

    /// Adds the next file, open if possible. False when a merge has deleted it since it was listed.
    pub(super) fn add(&mut self, mut file: Leveled) -> bool {
        let known = self.known.remove(&file.path).map(|(_, known)| known);
        file.state = match known {
            Some(Use::Open(open)) => match self.has_room(open.bytes()) {
                true => Use::Open(open),
                false => Use::NoRoom(open.bytes()),
            },
            Some(Use::NoRoom(bytes)) if !self.has_room(bytes) => Use::NoRoom(bytes),
            Some(Use::Refused) => Use::Refused,
            Some(Use::Unopened(failures)) if failures.pauses() => Use::Unopened(failures.waited()),
            // How many bytes it needs is looked at once there is room again.
            _ if self.is_full => Use::NoRoom(0),
            known => match (self.open(&file), known) {
                (Some(Use::Unopened(_)), Some(Use::Unopened(before))) => {
                    Use::Unopened(before.failed())
                }
                (Some(Use::Unopened(before)), _) => Use::Unopened(before.failed()),
                (Some(state), _) => state,
                (None, _) => return false,
            },
        };
        match &file.state {
            Use::Open(open) => {
                self.open += 1;
                self.bytes += open.bytes();
            }
            Use::NoRoom(_) => {
                self.is_full = true;
                self.left += file.bounds.len;
            }
            Use::Refused | Use::Unopened(_) => {}
        }
        self.files.push(file);
        true
    }

    /// All files, and the bytes of those that have no room.
    pub(super) fn end(self) -> (Vec<Leveled>, u64) {
        (self.files, self.left)
    }

    fn has_room(&self, bytes: usize) -> bool {
        !self.is_full
            && self.open < self.lookups.most_files
            && self.bytes.checked_add(bytes).is_some_and(|sum| sum <= self.lookups.room)
    }

    /// Opens a file. None when it is gone.
    fn open(&mut self, file: &Leveled) -> Option<Use> {
        if let Some(state) = self.ahead.remove(&file.path) {
            return Some(self.with_room(state));
        }
        let head = self.heads.remove(&file.path);
        let (rows, passing) = match head.unwrap_or_else(|| self.open_head(file)) {
            Ok(opened) => opened,
            Err(state) => return state,
        };
        let needed = bytes_of(&rows);
        if !self.has_room(needed) {
            return Some(Use::NoRoom(needed));
        }
        let all = self.gone.bytes + self.kept.bytes + self.new.bytes;
        if all.saturating_add(needed) > self.lookups.room {
            self.close_gone();
        }
        let state = self.with_room(read(self.lookups, rows, &passing));
        self.new.bytes += state.bytes();
        Some(state)
    }

    /// A file that was opened, if it has room.
    fn with_room(&self, state: Use) -> Use {
        match state {
            Use::Open(open) if !self.has_room(open.bytes()) => Use::NoRoom(open.bytes()),
            state => state,
        }
    }

    /// Opens a file, and reads its head.
    fn open_head(&mut self, file: &Leveled) -> Head {
        let all = self.gone.files + self.kept.files + self.new.files + 1;
        if all > self.lookups.most_descriptors {
            self.close_gone();
        }
        let head = open_head(file);
        self.new.files += usize::from(head.is_ok());
        head
    }

    /// Closes the files that only the previous list has. Call it when both lists together would
    /// take too much memory or too many descriptors. Loads ask RocksDB until the new list is made.
    fn close_gone(&mut self) {
        if self.gone.files > 0 {
            let files = self.lookups.known.lock().files.take();
            self.lookups.retire(files);
            self.lookups.close_retired();
            self.gone = Held::default();
        }
    }
}

/// Opens a file, and reads what it says of itself.
fn open_head(file: &Leveled) -> Head {
    let opened = regular::open(&file.path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => None,
        _ => Some(unopened()),
    })?;
    let source = OpenFile::new(opened).map_err(|_| Some(unopened()))?;
    let passing = source.passing();
    let rows = SstRows::open(file.path.clone(), Box::new(source), file.bounds.clone());
    let rows = rows.map_err(|_| Some(refused(&passing)))?;
    Ok((rows, passing))
}

fn pop(unread: &Mutex<VecDeque<Unread>>) -> Option<Unread> {
    unread.lock().pop_front()
}

/// Reads the fences and the filter of a file.
fn read(lookups: &Lookups, rows: SstRows, passing: &Passing) -> Use {
    #[cfg(test)]
    {
        drop(lookups.pause.lock());
        lookups.filters_read.fetch_add(1, Ordering::Relaxed);
    }
    let Ok(lookup) = SstLookup::new(rows) else { return refused(passing) };
    lookups.opening_bytes.fetch_add(lookup.bytes(), Ordering::Relaxed);
    Use::Open(Arc::new(lookup))
}

/// What becomes of a file that was refused. The next list tries it again if the disk or the memory
/// has failed.
fn refused(passing: &Passing) -> Use {
    if passing.is_noted() { unopened() } else { Use::Refused }
}

fn unopened() -> Use {
    Use::Unopened(Failures::default())
}

fn bytes_of(rows: &SstRows) -> usize {
    usize::try_from(SstLookup::bytes_of(rows)).unwrap_or(usize::MAX)
}

//! Random operations on a shard against a plain map: index, slab, free slots, counts and budget
//! agree after each.

use std::collections::{HashMap, HashSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use super::*;
use crate::cache::resident::GroupCounts;

/// The pin in the flags of the model.
const PINNED: u8 = 8;

const ROW_LEN: usize = 3;
const KEYS: i64 = 1000;
/// Chunks of 4, 8 and then 16 rows of 44 bytes.
const CHUNKS: (usize, usize) = (200, 720);
const CHUNK_ROWS: usize = 16;
/// About 130 rows and their index: few enough that the clock passes every row four times before it
/// gives up.
const BUDGET: usize = 7 << 10;

/// Operations after which a row cannot be evicted: mark dirty, pin, begin to write.
const PRESSING: [u32; 3] = [2, 4, 8];

/// The expected state of a resident row.
struct Row {
    flags: u8,
    floats: [f32; ROW_LEN],
}

impl Row {
    fn may_go(&self) -> bool {
        self.flags & (DIRTY | WRITING | PINNED) == 0
    }
}

struct Checked {
    shard: Shard,
    rows: HashMap<i64, Row>,
    evictions: u64,
    /// A row that is not absent has been evicted.
    lost_rows: bool,
    /// Floats that no row has had.
    next_float: f32,
}

impl Checked {
    fn new() -> Checked {
        let budget = Arc::new(Budget::new(BUDGET));
        budget.add_group();
        let group = GroupCounts {
            bytes: AtomicUsize::new(0),
            is_complete: AtomicBool::new(true),
            evictions: AtomicU64::new(0),
            kept_bytes: AtomicUsize::new(0),
        };
        let slab = Slab::new(ROW_LEN, CHUNKS.0, CHUNKS.1);
        let shard = Shard::new(Arc::new(Resident::new(slab, Arc::new(group))), budget);
        Checked { shard, rows: HashMap::new(), evictions: 0, lost_rows: false, next_float: 1.0 }
    }

    fn place(&self, key: i64) -> Place {
        self.shard.find(hash(key), key).unwrap()
    }

    /// Takes evicted rows out of the map and checks that each could be evicted.
    fn note_evictions(&mut self) {
        let Checked { shard, rows, .. } = self;
        let gone: Vec<i64> =
            rows.keys().copied().filter(|key| shard.find(hash(*key), *key).is_none()).collect();
        for key in gone {
            let row = self.rows.remove(&key).unwrap();
            assert!(row.may_go(), "key {key} was evicted with flags {}", row.flags);
            self.evictions += 1;
            self.lost_rows |= row.flags & ABSENT == 0;
        }
    }

    fn insert(&mut self, key: i64, full: Full) -> bool {
        let place = self.shard.insert(hash(key), key, full).unwrap();
        self.note_evictions();
        let Some(place) = place else {
            assert!(full == Full::Refuse && !self.rows.values().any(Row::may_go), "there was room");
            return false;
        };
        self.rows.insert(key, Row { flags: USED, floats: [0.0; ROW_LEN] });
        assert!(self.shard.slot(place).has(ABSENT), "a row is there before it has been filled in");
        self.shard.hold(place).set_absent(false);
        self.fill(place, key);
        true
    }

    fn fill(&mut self, place: Place, key: i64) {
        self.next_float += 1.0;
        self.shard.hold(place).floats_mut().fill(self.next_float);
        self.rows.get_mut(&key).unwrap().floats = [self.next_float; ROW_LEN];
    }

    /// Something that a caller or the writer does with a resident row.
    fn use_row(&mut self, key: i64, what: u32) {
        let place = self.place(key);
        // Where the writer last saw the row: here, elsewhere, or nowhere.
        let stale = [place, Place::FIRST, Place::NOT_RESIDENT][key as usize % 3];
        let flags = self.rows[&key].flags;
        let set = match what {
            0 | 1 => {
                self.shard.slot(place).touch();
                flags
            }
            2 | 3 => {
                self.fill(place, key);
                self.shard.mark_dirty(&mut self.shard.hold(place));
                flags | DIRTY
            }
            4 => {
                // Several calls may have it pinned.
                let more = if flags & PINNED == 0 { 1 + key as u8 % 2 } else { 0 };
                (0..more).for_each(|_| self.shard.pin(place));
                flags | PINNED
            }
            5 | 6 => {
                while self.shard.slot(place).is_pinned() {
                    self.shard.unpin(place);
                }
                flags & !PINNED
            }
            7 => {
                self.shard.hold(place).set_absent(flags & ABSENT == 0);
                flags ^ ABSENT
            }
            8 | 9 => {
                let begun = self.shard.begin_write(key, stale).is_some();
                assert_eq!(begun, flags & DIRTY != 0);
                if begun { flags & !DIRTY | WRITING } else { flags }
            }
            10 | 11 => {
                self.shard.end_write(key, stale, true);
                flags & !WRITING
            }
            _ => {
                self.shard.end_write(key, stale, false);
                if flags & WRITING == 0 { flags } else { flags & !WRITING | DIRTY }
            }
        };
        self.rows.get_mut(&key).unwrap().flags = set;
    }

    fn give_back(&mut self) -> bool {
        let (len, bytes) = (self.shard.slab().len(), self.shard.budget.used());
        let given = self.shard.give_back();
        self.note_evictions();
        assert_eq!(given, self.shard.slab().len() < len);
        assert_eq!(given, self.shard.budget.used() < bytes);
        given
    }

    fn check(&self) {
        let Checked { shard, rows, .. } = self;
        let mut places = HashSet::new();
        for (key, row) in rows {
            let place = self.place(*key);
            let held = shard.hold(place);
            assert_eq!((held.key(), held.floats()), (*key, &row.floats[..]));
            for flag in [USED, DIRTY, WRITING, ABSENT] {
                assert_eq!(held.has(flag), row.flags & flag != 0, "flag {flag} of key {key}");
            }
            assert_eq!(held.is_pinned(), row.flags & PINNED != 0, "pin of key {key}");
            assert!(places.insert(place), "two keys in {place:?}");
        }
        for place in &shard.free {
            assert!(!shard.slot(*place).has(USED), "{place:?} is free and used");
            assert!(places.insert(*place), "{place:?} is free twice, or free and used");
        }
        assert_eq!(places.len(), shard.slab().len(), "slots are neither used nor free");
        assert_eq!(shard.index().entries(), rows.len());
        assert_eq!(shard.counts.rows.load(Ordering::Relaxed), rows.len());
        let mut dirty: Vec<i64> =
            rows.iter().filter(|(_, row)| row.flags & DIRTY != 0).map(|(key, _)| *key).collect();
        assert_eq!(shard.counts.dirty.load(Ordering::Relaxed), dirty.len());
        let mut listed = Vec::new();
        shard.dirty_keys(MAX_USES, &mut listed).unwrap();
        dirty.sort_unstable();
        let keys = |listed: &mut Vec<(i64, Place)>| {
            assert!(listed.iter().all(|(key, place)| *place == self.place(*key)));
            listed.sort_unstable();
            listed.drain(..).map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&mut listed), dirty);
        let counts = shard.dirty_by_uses();
        assert_eq!(counts.iter().sum::<usize>(), dirty.len());
        shard.dirty_keys(0, &mut listed).unwrap();
        dirty.retain(|key| shard.slot(self.place(*key)).is_cold());
        assert_eq!((keys(&mut listed), counts[0]), (dirty.clone(), dirty.len()));
        let bytes = shard.slab().bytes_of(shard.slab().len()) + shard.index().bytes();
        assert_eq!(
            (shard.budget.used(), shard.group.bytes.load(Ordering::Relaxed)),
            (bytes, bytes)
        );
        assert_eq!(shard.group.evictions.load(Ordering::Relaxed), self.evictions);
        assert_eq!(shard.group.is_complete.load(Ordering::Relaxed), !self.lost_rows);
    }
}

#[test]
fn index_slab_counts_and_budget_agree_after_every_operation() {
    let (mut refused, mut given) = (0, 0);
    for seed in 0..5 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut checked = Checked::new();
        // Phases with few and with many rows that cannot be evicted.
        for operation in 0..9000 {
            let pressed = operation / 1500 % 2 == 1;
            let mut keys =
                (0..30).map(|_| random.random_range(0..KEYS)).collect::<Vec<_>>().into_iter();
            match random.random_range(0..100) {
                0..50 => {
                    if let Some(key) = keys.find(|key| !checked.rows.contains_key(key)) {
                        let full = if random.random_range(0..400) == 0 {
                            Full::Grow
                        } else {
                            Full::Refuse
                        };
                        refused += u32::from(!checked.insert(key, full));
                    }
                }
                50..54 => given += u32::from(checked.give_back()),
                _ => {
                    if let Some(key) = keys.find(|key| checked.rows.contains_key(key)) {
                        let what = random.random_range(0..13);
                        checked
                            .use_row(key, if pressed { PRESSING[what as usize % 3] } else { what });
                    }
                }
            }
            checked.check();
        }
        assert!(checked.evictions > 100, "{}", checked.evictions);
        let keys: Vec<i64> = checked.rows.keys().copied().collect();
        for key in keys {
            // Unpin the row and write it.
            [6, 10, 8, 10].into_iter().for_each(|what| checked.use_row(key, what));
        }
        while checked.give_back() {
            checked.check();
        }
        assert!(checked.rows.is_empty());
        assert_eq!(checked.shard.slab().len(), 0);
        assert_eq!(checked.shard.budget.used(), checked.shard.index().bytes());
        assert!(checked.insert(1, Full::Refuse), "an emptied shard takes rows again");
        checked.check();
    }
    assert!(refused > 200 && given > 50, "refused {refused}, given back {given}");
}

#[test]
fn a_row_that_was_used_outlives_rows_that_were_not() {
    let mut checked = Checked::new();
    assert!(checked.insert(0, Full::Refuse));
    for key in 1..2000 {
        checked.shard.slot(checked.place(0)).touch();
        assert!(checked.insert(key, Full::Refuse));
        assert!(checked.rows.contains_key(&0), "evicted by key {key}");
    }
    assert!(checked.evictions > 1500);
}

/// Rows would move and be evicted in vain.
#[test]
fn a_chunk_whose_rows_have_no_place_elsewhere_stays_as_it_is() {
    let mut checked = Checked::new();
    for key in 0..KEYS {
        if !checked.insert(key, Full::Refuse) {
            break;
        }
        checked.use_row(key, 2);
    }
    let write = |checked: &mut Checked, key| {
        checked.use_row(key, 8);
        checked.use_row(key, 10);
    };
    let start = checked.shard.slab().start_of_last();
    let mut below: Vec<i64> = checked.rows.keys().copied().collect();
    below.retain(|key| checked.place(*key) < start);
    let (first, others) = below[..CHUNK_ROWS].split_at(3);
    first.iter().for_each(|key| write(&mut checked, *key));
    assert!(!checked.give_back(), "3 places for {CHUNK_ROWS} dirty rows");
    checked.check();
    assert_eq!(checked.evictions, 0);
    others.iter().for_each(|key| write(&mut checked, *key));
    assert!(checked.give_back(), "each dirty row of the last chunk has a place");
    checked.check();
    assert_eq!(checked.evictions, CHUNK_ROWS as u64);
}

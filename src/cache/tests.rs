//! Threads change rows without the shard's lock, while others bring rows in, evict and move them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const KEYS: i64 = 400;
/// The changes of each thread, at least and at most.
const TURNS: u64 = 30_000;
const MAX_TURNS: u64 = 100 * TURNS;
/// Chunks that must have been given back meanwhile.
const MOVED: u64 = 10;

/// A step as a small call takes it; with the lock where the row is missed.
fn step(cache: &GroupCache, key: i64, waits: bool) {
    let (resident, guard) = (cache.resident(hash(key)), crossbeam_epoch::pin());
    let change = |mut row: Row<'_>| {
        let updates = row.count_update();
        row.floats_mut().fill(updates as f32);
        resident.mark_dirty(&mut row);
    };
    let held = match waits {
        true => resident.hold(key, &guard).map_or(Hold::Missed, Hold::Row),
        false => resident.try_hold(Place::FIRST, key, &guard),
    };
    match held {
        Hold::Row(row) => change(row),
        Hold::Busy | Hold::Missed => {
            let shard = cache.lock_for(hash(key));
            change(shard.hold(shard.find(hash(key), key).unwrap()));
        }
    }
}

/// Makes rows that stay, which are dirty, and others.
fn fill(cache: &GroupCache) {
    // Rows that may go come first, so that the others can be moved to their places.
    for key in (KEYS..4 * KEYS).chain(0..KEYS) {
        let mut shard = cache.lock_for(hash(key));
        let place = shard.insert(hash(key), key, Full::Grow).unwrap().unwrap();
        let mut row = shard.hold(place);
        if key < KEYS {
            row.set_absent(false);
            // Dirty rows are not evicted, so each is there to the end.
            shard.mark_dirty(&mut row);
        }
    }
}

#[test]
fn no_change_is_lost_while_rows_come_go_and_move() {
    let budget = Arc::new(Budget::new(96 << 10));
    let cache = GroupCache::new(3, true, &budget).unwrap();
    fill(&cache);
    let counts: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let (is_done, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|seed| {
                let (cache, counts, moved) = (&cache, &counts, &moved);
                scope.spawn(move || {
                    let mut random = ChaCha8Rng::seed_from_u64(seed);
                    let goes_on =
                        |turn: &u64| *turn < TURNS || moved.load(Ordering::Relaxed) < MOVED;
                    for turn in (0..MAX_TURNS).take_while(goes_on) {
                        let key = random.random_range(0..KEYS);
                        step(cache, key, turn % 2 == 0);
                        counts[key as usize].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut floats = [0.0; 3];
            let mut random = ChaCha8Rng::seed_from_u64(9);
            while !is_done.load(Ordering::Acquire) {
                let key = random.random_range(0..KEYS);
                let guard = crossbeam_epoch::pin();
                if cache.resident(hash(key)).read(Place::FIRST, key, 0, &mut floats, &guard) {
                    assert!(floats.iter().all(|float| *float == floats[0]), "torn: {floats:?}");
                }
            }
        });
        scope.spawn(|| {
            // Rows that nobody keeps fill the cache up to another chunk; then that is given back.
            for key in (4 * KEYS..).take_while(|_| !is_done.load(Ordering::Acquire)) {
                let mut shard = cache.lock_for(hash(key));
                shard.insert(hash(key), key, Full::Grow).unwrap();
                if key % 50 == 0 {
                    moved.fetch_add(u64::from(shard.give_back()), Ordering::Relaxed);
                }
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        is_done.store(true, Ordering::Release);
    });
    for (key, count) in (0..).zip(&counts) {
        let shard = cache.lock_for(hash(key));
        let row = shard.hold(shard.find(hash(key), key).unwrap());
        let count = count.load(Ordering::Relaxed);
        assert_eq!((row.updates(), row.floats()[0]), (count, count as f32), "key {key}");
    }
    assert_eq!(cache.dirty_rows(), KEYS as usize);
    assert!(moved.load(Ordering::Relaxed) >= MOVED, "{moved:?} chunks were given back");
}

//! Turns: the order in which large calls change the rows of a shard.
//!
//! When a call gets its sequence number, it draws a ticket at each shard that it has keys in. It
//! changes the shard's rows when its ticket's turn has come. So calls change each row in the order
//! of their sequence numbers, while other calls work in other shards.
//!
//! A call waits only for calls that have drawn before it, so calls never wait in a circle.

use std::hint;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::cache::MAX_SHARDS;
use crate::kill_points::{Point, pass};
use crate::locks::{Condvar, Mutex};
use crate::stripes::Apart;

/// How often a call looks for its turn at once, and how often after that with its core offered to
/// others each time. Then it sleeps.
const LOOKS: usize = 128;
const YIELDS: usize = 16;

/// A ticket for each shard.
pub(super) type Tickets = [u64; MAX_SHARDS];

/// The turns of a group's shards.
pub(super) struct Lanes {
    lanes: [Apart<Lane>; MAX_SHARDS],
    /// Calls that have drawn and have not finished.
    under_way: AtomicUsize,
}

/// Whose turn it is in a shard.
#[derive(Default)]
struct Lane {
    turn: AtomicU64,
    sleepers: AtomicUsize,
    asleep: Mutex<()>,
    changed: Condvar,
}

/// What a call has drawn. Dropping this passes all turns that it has not passed yet.
pub(crate) struct Turns<'a> {
    lanes: &'a Lanes,
    drawn: Tickets,
    /// Shards, as bits, whose turn has not been passed.
    left: AtomicU64,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes { lanes: std::array::from_fn(|_| Apart::default()), under_way: AtomicUsize::new(0) }
    }
}

impl Lanes {
    /// Draws tickets at the shards that are set in `shards`. `next` has the next tickets.
    pub(super) fn draw(&self, next: &mut Tickets, shards: u64) -> Turns<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let drawn = *next;
        bits(shards).for_each(|shard| next[shard] += 1);
        Turns { lanes: self, drawn, left: AtomicU64::new(shards) }
    }

    /// Whether no call is under way that has drawn. This stays so while nobody can draw.
    pub(super) fn are_free(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    /// Waits until no call that has drawn is under way, but a moment at most.
    pub(super) fn await_freedom(&self) {
        for look in 0..LOOKS + YIELDS {
            if self.are_free() {
                return;
            }
            if look < LOOKS { hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

impl Turns<'_> {
    /// Whether this call's turn has come at all of its shards.
    pub(crate) fn have_come(&self) -> bool {
        let is_now = |shard: usize| self.lanes.lanes[shard].0.turn.load(Ordering::Acquire);
        bits(self.left.load(Ordering::Relaxed)).all(|shard| is_now(shard) == self.drawn[shard])
    }

    /// Waits for this call's turn at each of the shards.
    pub(crate) fn wait(&self, shards: u64) {
        bits(shards).for_each(|shard| self.lanes.lanes[shard].0.wait(self.drawn[shard]));
    }

    /// Lets the next call change rows of the shards.
    pub(crate) fn pass(&self, shards: u64) {
        self.left.fetch_and(!shards, Ordering::Relaxed);
        bits(shards).for_each(|shard| self.lanes.lanes[shard].0.pass());
        pass(Point::TurnPassed);
    }
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        // In their order, even after an error or a panic: the next call's turn comes after this.
        let left = *self.left.get_mut();
        self.wait(left);
        self.pass(left);
        self.lanes.under_way.fetch_sub(1, Ordering::Release);
    }
}

impl Lane {
    fn wait(&self, number: u64) {
        for look in 0..LOOKS + YIELDS {
            if self.turn.load(Ordering::Acquire) == number {
                return;
            }
            if look < LOOKS { hint::spin_loop() } else { thread::yield_now() }
        }
        let mut asleep = self.asleep.lock();
        // In one order with `pass`: one of the two sees what the other has done.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.turn.load(Ordering::SeqCst) != number {
            self.changed.wait(&mut asleep);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    fn pass(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.asleep.lock());
            self.changed.notify_all();
        }
    }
}

/// The numbers of the bits that are set, ascending.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (bit < MAX_SHARDS).then_some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_numbered() {
        for (set, numbers) in [(0, &[][..]), (1, &[0]), (1 << 63 | 5, &[0, 2, 63])] {
            assert!(bits(set).eq(numbers.iter().copied()));
        }
    }

    /// Each shard has a list of the calls that came to it: all have the order of the draws.
    #[test]
    fn calls_come_to_each_shard_in_the_order_of_their_draws() {
        let (lanes, next) = (Lanes::default(), Mutex::new([0; MAX_SHARDS]));
        let calls: Vec<Mutex<Vec<usize>>> = (0..MAX_SHARDS).map(|_| Mutex::default()).collect();
        let drawn = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..6u64 {
                let (lanes, next, calls, drawn) = (&lanes, &next, &calls, &drawn);
                scope.spawn(move || {
                    for round in 0..400u64 {
                        let shards = (caller + 1).wrapping_mul(round ^ 0x9e37_79b9_7f4a_7c15);
                        let (call, turns) = {
                            let mut next = next.lock();
                            let call = drawn.fetch_add(1, Ordering::Relaxed);
                            (call, lanes.draw(&mut next, shards))
                        };
                        // A call that fails passes its turns in order, too.
                        if round % 7 == 0 {
                            continue;
                        }
                        for shard in bits(shards) {
                            turns.wait(1 << shard);
                            calls[shard].try_lock().unwrap().push(call);
                            turns.pass(1 << shard);
                        }
                    }
                });
            }
        });
        assert!(lanes.are_free());
        for calls in calls {
            let calls = calls.into_inner();
            assert!(calls.is_sorted() && !calls.is_empty());
        }
    }
}

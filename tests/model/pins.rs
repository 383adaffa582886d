//! Pins that are held over some calls, and then committed or forgotten.

use damo::embedding::{Conflicts, Pin};
use damo::error::Status;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::history::{Aside, change};
use crate::reference::{Engine, Reference, bits};

/// The pins of a session.
#[derive(Default)]
pub struct Pins {
    held: Vec<One>,
    /// How many were committed, refused, and forgotten.
    pub committed: usize,
    pub refused: usize,
    pub forgotten: usize,
}

struct One {
    group: usize,
    pin: Pin,
    /// The distinct keys, with the rows as they were.
    pinned: Vec<(i64, Vec<f32>)>,
    /// The call before which it is committed or forgotten.
    end: u64,
}

impl Pins {
    /// Pins rows in one of four calls, for up to 12 calls.
    pub fn pin(
        &mut self,
        random: &mut ChaCha8Rng,
        engine: &Engine,
        models: &[Reference],
        index: u64,
    ) {
        // Commits of up to 256 keys go on beside other calls.
        let drawn = Aside::draw(random, [0..40, 200..256, 256..900]);
        let Some(Aside { group, face, keys }) = drawn else { return };
        let embedding = &engine.groups[group][face];
        let mut pin = embedding.new_pin();
        embedding.pin_rows(&keys, &mut pin).unwrap();
        let pinned = models[group].pin(&keys);
        for (key, before) in &pinned {
            let position = keys.iter().position(|given| given == key).unwrap();
            let range = pin.range_of(position).unwrap();
            assert!(bits(&pin.rows_mut()[range]) == bits(before), "pinned before call {index}");
            assert_eq!(pin.is_new(position), models[group].row(*key).is_none());
        }
        self.held.push(One { group, pin, pinned, end: index + random.random_range(0..12) });
    }

    /// Commits those that are due, or forgets them.
    pub fn finish(&mut self, random: &mut ChaCha8Rng, models: &mut [Reference], index: u64) {
        for mut one in self.held.extract_if(.., |one| one.end <= index) {
            if random.random_range(0..5) == 0 {
                self.forgotten += 1;
                continue;
            }
            let change = change(random);
            let conflicts = [Conflicts::Add, Conflicts::Refuse][random.random_range(0..2)];
            one.pin.rows_mut().iter_mut().for_each(|float| *float += change);
            let refuses = conflicts == Conflicts::Refuse;
            let outcome = one.pin.commit(conflicts);
            match models[one.group].commit(&one.pinned, change, refuses) {
                true => {
                    outcome.unwrap();
                    self.committed += 1;
                }
                false => {
                    assert_eq!(outcome.unwrap_err().status(), Status::Busy, "before call {index}");
                    self.refused += 1;
                }
            }
        }
    }

    /// Forgets all: their storage is closed.
    pub fn forget(&mut self) {
        self.forgotten += self.held.len();
        self.held.clear();
    }
}

//! Lookups that are begun some calls before they are finished.

use damo::embedding::Lookup;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::history::{Aside, SPECS};
use crate::reference::{Engine, Reference, bits};

/// The lookups that have been begun in a session.
#[derive(Default)]
pub struct Begun {
    lookups: Vec<One>,
    /// Keys of finished lookups.
    pub keys: usize,
    /// Those that finishing has written.
    pub written: usize,
}

struct One {
    group: usize,
    face: usize,
    keys: Vec<i64>,
    lookup: Lookup,
    weights: Vec<f32>,
    /// The call before which it is finished.
    end: u64,
}

impl Begun {
    /// Begins a lookup in one of four calls, to be finished within 12. It writes what a peek does.
    pub fn begin(
        &mut self,
        random: &mut ChaCha8Rng,
        engine: &Engine,
        models: &[Reference],
        index: u64,
    ) {
        let drawn = Aside::draw(random, [0..200, 250..262, 262..1500]);
        let Some(Aside { group, face, keys }) = drawn else { return };
        let mut weights = vec![f32::NAN; keys.len() * SPECS[group].dim];
        let lookup = engine.groups[group][face].begin_lookup(&keys, &mut weights).unwrap();
        let expected = models[group].peek(&keys).0;
        assert!(bits(&weights) == bits(&expected), "a lookup that begins before call {index}");
        let end = index + random.random_range(0..12);
        self.lookups.push(One { group, face, keys, lookup, weights, end });
    }

    /// Finishes those that are due, and compares them with lookups.
    pub fn finish(&mut self, engine: &Engine, models: &mut [Reference], index: u64) {
        for mut one in self.lookups.extract_if(.., |one| one.end <= index) {
            let before = one.weights.clone();
            let mut positions = vec![-1; one.keys.len()];
            let changed = engine.groups[one.group][one.face]
                .finish_lookup(&mut one.lookup, &mut one.weights, &mut positions)
                .unwrap();
            let expected = models[one.group].lookup(&one.keys);
            assert!(bits(&one.weights) == bits(&expected), "a begun lookup, before call {index}");
            let positions = &positions[..changed];
            assert!(positions.is_sorted_by(|a, b| a < b));
            let dim = SPECS[one.group].dim;
            let rows = before.chunks_exact(dim).zip(one.weights.chunks_exact(dim));
            for (position, (before, after)) in (0..).zip(rows) {
                let is_told = positions.binary_search(&position).is_ok();
                assert!(is_told || bits(before) == bits(after), "position {position}");
            }
            self.keys += one.keys.len();
            self.written += changed;
        }
    }

    /// Forgets all: their embeddings are closed.
    pub fn forget(&mut self) {
        self.lookups.clear();
    }
}

//! A session, in a process of its own: opens what an earlier one has left, finds out what it is,
//! and goes on with the history.

use std::fs;
use std::path::Path;

use super::engine::{Engine, Outcome, at};
use super::look;
use super::past::{Opening, Past};
use super::script::Act;
use super::state::State;
use super::travel::write_state;
use crate::control::Board;
use crate::engine::Places;

/// Characters of an act that are shown.
const SHOWN: usize = 400;

/// What a worker is to do.
pub struct Session<'a> {
    pub places: &'a Places,
    pub past: Past,
    pub opening: Opening,
    pub acts: &'a [Act],
    /// Looks with `read_only` before it opens the storage.
    pub looks_first: bool,
    /// Where the state is written that was found.
    pub resolved: &'a Path,
    /// Says what it does.
    pub is_told: bool,
}

impl Session<'_> {
    /// Makes everything, and leaves the storage open. `before` is called first, `between` once the
    /// storage is open and everything is found.
    pub fn run(
        mut self,
        board: &Board,
        before: impl FnOnce(),
        between: impl FnOnce(),
    ) -> Outcome<Engine> {
        if self.looks_first {
            self.look_first()?;
        }
        before();
        board.start(0);
        let mut engine = Engine::open(self.places, self.opening)?;
        let found = self.find(&mut engine)?;
        write_state(self.resolved, &found);
        self.past.resolve(found);
        look::everything(&engine, self.past.now())
            .map_err(|why| format!("after opening: {why}"))?;
        board.acknowledge(0);
        between();
        for (index, act) in self.acts.iter().enumerate() {
            if self.is_told {
                let shown: String = format!("{act:?}").chars().take(SHOWN).collect();
                eprintln!("{index:3} at {}: {shown}", self.past.now().now);
            }
            board.start(index + 1);
            let place = |why: String| format!("act {index}, {}: {why}", act.name());
            engine.make(act, &self.past).map_err(place)?;
            self.past.acknowledge(act, self.opening);
            board.acknowledge(index + 1);
        }
        Ok(engine)
    }

    /// Looking sees what opening will see, and changes no byte.
    fn look_first(&self) -> Outcome {
        if !self.past.is_there {
            return Ok(());
        }
        let dir = self.places.storage();
        let before = look::files(&dir);
        let opening = Opening { clock: self.past.latest, ..self.opening };
        look::look_only(self.places, opening, |found, ttl_ms| {
            let found = self.past.find_world(found, self.past.latest, ttl_ms);
            found.map(drop).map_err(|why| format!("read_only, after the stop: {why}"))
        })?;
        let after = look::files(&dir);
        let is_changed = |path: &&std::path::PathBuf| before.get(*path) != after.get(*path);
        match before.keys().chain(after.keys()).find(is_changed) {
            Some(path) => {
                Err(format!("read_only: the file '{}' differs afterwards", path.display()))
            }
            None => Ok(()),
        }
    }

    /// Which of the states that there may be was found.
    fn find(&self, engine: &mut Engine) -> Outcome<State> {
        let (past, opening) = (&self.past, self.opening);
        let now = engine.now();
        let (least, most) = (past.recorded.max(opening.clock), past.latest.max(opening.clock));
        if !(least..=most).contains(&now) {
            return Err(format!(
                "the time differs: it is {now} after opening, and {} was on record, {} the latest, \
                 and the clock says {}",
                past.recorded, past.latest, opening.clock
            ));
        }
        let seen = engine.look()?;
        let read = look::read(&engine.inside().storage, &seen)?;
        if let Some(key) = seen
            .rows
            .keys()
            .chain(read.rows.keys())
            .find(|key| seen.rows.get(key) != read.rows.get(key))
        {
            return Err(format!(
                "memory and disk differ: key {key:?}, record says {:?}, iterate {:?}",
                seen.rows.get(key),
                read.rows.get(key)
            ));
        }
        let mut state = past.find_world(&read, now, opening.ttl_ms)?;
        if past.is_filter_in_doubt {
            // What the operation under way has counted is not known, so the filter is made anew.
            let _ = fs::remove_file(self.places.filter());
            let _ = fs::remove_dir_all(self.places.storage().join("filters"));
            state.counts.clear();
            state.waiting = super::filters::Copies::default();
        }
        engine.inside().storage.verify().map_err(at("verify"))?;
        Ok(state)
    }
}

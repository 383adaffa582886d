//! Appending to a mapped segment: a call begins by reserving its bytes under the lock, copies them,
//! without the lock if they are many, and is published once all calls before it are.
//!
//! Publishing stores the segment's end word. What lies behind it is room: a process killed while it
//! copied leaves a call there that had not returned.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::begun::{Begun, Entries, InOrder, Left, Transfer};
use super::entry::{ConfigEntry, ENTRY_HEADER_LEN, Head, encode_end, encode_head, end_word};
use super::mapped::{ALWAYS_COPIED, Flight, Mapped, SEGMENT_BYTES};
use super::names::failed;
use super::payload::Payload;
use super::shared::{Shared, State};
use super::write::write_all_at;
use crate::error::{Error, Result};
use crate::kill_points::{Point, pass};
use crate::locks::MutexGuard;
use crate::memory::{reserve, room_for};
use crate::seqno::Seqno;

/// Memory for what is noted of a call as it gets its number.
struct Memory {
    configs: Vec<ConfigEntry>,
    begins: Vec<u64>,
}

/// Entries up to this length are copied with the lock held. The copy is short, and whoever
/// publishes the call before publishes these, too.
const COPIED_AT_ONCE: u64 = 4 << 10;

impl Shared {
    /// Begins a call: gives it a sequence number and a place. [`Begun::finish`] is due then.
    pub(super) fn begin<'a>(
        &'a self,
        head: &Head,
        payload: &'a Payload<'a>,
        order: &dyn InOrder,
    ) -> Result<Begun<'a>> {
        let mut state = self.state.lock();
        loop {
            state.check_no_doubt()?;
            if state.current.mapped.is_none() {
                let head = order.complete(head)?;
                let written = state.append_written(self, &head, payload);
                return written
                    .map(|seqno| Begun::done(self, seqno))
                    .inspect_err(|_| order.take_back());
            }
            if let Some(begun) = self.begin_mapped(&mut state, head, payload, order)? {
                if state.is_low() {
                    self.is_low.store(true, Ordering::Relaxed);
                }
                return Ok(begun);
            }
        }
    }

    /// Begins a call in the current segment, which is mapped. None when the call had to wait, make
    /// room or begin the next segment: try again.
    ///
    /// # Errors
    /// `IO`. The call is then not in the journal.
    fn begin_mapped<'a>(
        &'a self,
        state: &mut MutexGuard<'_, State>,
        head: &Head,
        payload: &'a Payload<'a>,
        order: &dyn InOrder,
    ) -> Result<Option<Begun<'a>>> {
        let Some(mapped) = &state.current.mapped else { return Ok(None) };
        if let Some((_, error)) = &mapped.failure {
            return Err(error.clone());
        }
        if mapped.reserved >= SEGMENT_BYTES {
            return self.rotate_when_quiet(state).map(|()| None);
        }
        let (len, new_configs) = state.len_of(head, payload)?;
        let (needed, ready) = (mapped.reserved + len, mapped.ready);
        // The entry that ends the segment has room, too.
        let needed = needed + ENTRY_HEADER_LEN as u64;
        if needed > ready {
            return self.make_room(state, needed).map(|()| None);
        }
        let memory = state.set_memory_aside(new_configs)?;
        let mut entries = state.reserve(&order.complete(head)?, payload, memory);
        let Some(mapped) = &mut state.current.mapped else { return Ok(None) };
        let (seqno, begins, end) = (entries.seqno, entries.begins(), entries.at + entries.len);
        pass(Point::EntryReserved);
        let is_written = entries.len <= COPIED_AT_ONCE;
        if is_written {
            entries.copy(&mapped.map);
            if mapped.flights.is_empty() {
                state.publish(self, end, seqno);
                return Ok(Some(Begun::done(self, seqno)));
            }
        }
        // One that is written already is published by whoever publishes the call before it.
        mapped.flights.push_back(Flight { seqno, begins, end, is_written });
        let (map, file) = (Arc::clone(&mapped.map), Arc::clone(&state.current.file));
        let left = Left { entries, map, file, is_written };
        Ok(Some(Begun { journal: self, seqno, left: Some(left) }))
    }

    /// Publishes a call, once all calls before it are, or takes it back.
    pub(super) fn land(
        &self,
        seqno: Seqno,
        outcome: io::Result<()>,
        order: &dyn InOrder,
    ) -> Result<()> {
        let state = &mut self.state.lock();
        state.note_outcome(seqno, outcome);
        state.publish_written(self);
        state.end_failure(self);
        self.changed.notify_all();
        loop {
            if self.last.load(Ordering::Acquire) >= seqno {
                return Ok(());
            }
            if let Some(error) = state.failure_of(seqno) {
                order.take_back();
                state.take_back(self);
                self.changed.notify_all();
                return Err(error);
            }
            self.changed.wait(state);
        }
    }

    /// Begins the next segment, or waits for calls under way in this one.
    fn rotate_when_quiet(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        match state.is_quiet() {
            true => state.rotate(self),
            false => {
                self.changed.wait(state);
                Ok(())
            }
        }
    }
}

impl State {
    /// Whether nobody is at work in the current segment without the lock.
    pub(super) fn is_quiet(&self) -> bool {
        !self.room.is_preparing && self.current.mapped.as_ref().is_none_or(Mapped::is_quiet)
    }

    /// The bytes of a call's entries, and how many of these are of configurations.
    pub(super) fn len_of(&self, head: &Head, payload: &Payload<'_>) -> Result<(u64, usize)> {
        let (mut len, mut new) = (ENTRY_HEADER_LEN as u64 + payload.sum.1, 0);
        for config in payload.configs_with(head) {
            let (_, description) = self.config(*config)?;
            if !self.current.configs.contains(config) {
                len += (ENTRY_HEADER_LEN + description.len()) as u64;
                new += 1;
            }
        }
        Ok((len, new))
    }

    /// Sets memory aside for a call's entries, so many of them of configurations. Once the call has
    /// its number, nothing fails for want of memory.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn set_memory_aside(&mut self, new_configs: usize) -> Result<Memory> {
        reserve(&mut self.current.configs, new_configs)?;
        let flights = self.current.mapped.as_mut().map(|mapped| mapped.flights.try_reserve(1));
        if flights.is_some_and(|reserved| reserved.is_err()) {
            return Err(Error::out_of_memory("a call under way cannot be noted".to_owned()));
        }
        Ok(Memory { configs: room_for(new_configs)?, begins: room_for(new_configs)? })
    }

    /// Reserves the bytes of a call, for which there is room, and gives it its sequence number.
    fn reserve<'a>(
        &mut self,
        head: &Head,
        payload: &'a Payload<'a>,
        Memory { mut configs, begins }: Memory,
    ) -> Entries<'a> {
        let seqno = self.given.next();
        let mut len = ENTRY_HEADER_LEN as u64 + payload.sum.1;
        self.add_new_configs(head, payload, seqno, &mut configs);
        self.current.configs.extend(configs.iter().map(|(config, ..)| *config));
        len += configs.iter().map(|(_, head, text)| (head.len() + text.len()) as u64).sum::<u64>();
        self.given = seqno;
        let (at, way) = self.current.mapped.as_mut().map_or((0, Transfer::Written), |mapped| {
            let at = mapped.reserved;
            mapped.reserved += len;
            let way = match len <= ALWAYS_COPIED as u64 {
                true => Transfer::Copied,
                false if mapped.reserved <= mapped.filled.min(mapped.map.len()) => {
                    Transfer::CopiedByMany
                }
                false => Transfer::Written,
            };
            if way != Transfer::Written {
                mapped.copied_to = mapped.reserved;
            }
            (at, way)
        });
        match way {
            Transfer::Copied => {
                self.room.copied += len;
                self.room.taken.copied += len;
            }
            Transfer::CopiedByMany | Transfer::Written => self.room.taken.written += len,
        }
        let head = encode_head(head, seqno, payload.sum);
        Entries { configs, begins, head, payload, seqno, at, len, way }
    }

    /// Makes everything up to `end` part of the journal; `last` is the last call in it.
    pub(super) fn publish(&mut self, journal: &Shared, end: u64, last: Seqno) {
        let Some(mapped) = &self.current.mapped else { return };
        pass(Point::EntryCopied);
        mapped.map.store_end(end_word(end, mapped.first));
        pass(Point::EntryPublished);
        journal.bytes.fetch_add(end - self.current.len, Ordering::Relaxed);
        self.current.len = end;
        journal.last.store(last, Ordering::Release);
    }

    fn note_outcome(&mut self, seqno: Seqno, outcome: io::Result<()>) {
        let Some(mapped) = &mut self.current.mapped else { return };
        match outcome {
            Ok(()) => {
                let flight = mapped.flights.iter_mut().find(|flight| flight.seqno == seqno);
                flight.into_iter().for_each(|flight| flight.is_written = true);
            }
            Err(error) if mapped.failure.as_ref().is_none_or(|(first, _)| seqno < *first) => {
                let error = failed("written", &self.current.path, &error);
                mapped.failure = Some((seqno, error));
            }
            Err(_) => {}
        }
    }

    /// Publishes the calls that are written, up to the first that is not.
    fn publish_written(&mut self, journal: &Shared) {
        let Some(mapped) = &mut self.current.mapped else { return };
        let mut last = None;
        while let Some(flight) = mapped.flights.front()
            && flight.is_written
        {
            last = Some((flight.end, flight.seqno));
            mapped.flights.pop_front();
        }
        if let Some((end, seqno)) = last {
            self.publish(journal, end, seqno);
        }
    }

    /// The error of a call that fails, or that lies behind one.
    fn failure_of(&self, seqno: Seqno) -> Option<Error> {
        let (first, error) = self.current.mapped.as_ref()?.failure.as_ref()?;
        (seqno >= *first).then(|| error.clone())
    }

    /// Notes that a call knows that it fails.
    fn take_back(&mut self, journal: &Shared) {
        let Some(mapped) = self.current.mapped.as_mut() else { return };
        mapped.told += 1;
        self.end_failure(journal);
    }

    /// Gives the bytes and the sequence numbers of calls that fail back, once each of them knows
    /// it and no call before them is under way.
    fn end_failure(&mut self, journal: &Shared) {
        let Some(mapped) = &mut self.current.mapped else { return };
        if mapped.failure.is_none() || mapped.told < mapped.flights.len() {
            return;
        }
        let begins = mapped.flights.drain(..).map(|flight| flight.begins);
        for at in begins.flat_map(|(of_configs, own)| of_configs.into_iter().chain([own])) {
            // A later call may end where one of these begins. After the machine has stopped, this
            // one must not be taken for the next. Where no zeros can be written either, it is.
            let zeros = [0; ENTRY_HEADER_LEN];
            let _ = write_all_at(&self.current.file, &mut [IoSlice::new(&zeros)], at);
        }
        (mapped.failure, mapped.told) = (None, 0);
        mapped.reserved = self.current.len;
        self.current.configs.clear();
        self.given = journal.last.load(Ordering::Acquire);
    }

    /// Ends a mapped segment before call `next`; no call is under way in it. Its room stays: the
    /// disk may take 700 ms to free a few megabytes, and calls would wait for that.
    ///
    /// # Errors
    /// `IO`. The segment goes on.
    pub(super) fn end_mapped(&mut self, journal: &Shared, next: Seqno) -> Result<()> {
        let Some(mapped) = &mut self.current.mapped else { return Ok(()) };
        let (at, entry) = (mapped.reserved, encode_end(next));
        // A last call may reach beyond the mapping.
        write_all_at(&self.current.file, &mut [IoSlice::new(&entry)], at)
            .map_err(|error| failed("written", &self.current.path, &error))?;
        mapped.reserved += ENTRY_HEADER_LEN as u64;
        let end = mapped.reserved;
        self.publish(journal, end, next.previous());
        Ok(())
    }
}

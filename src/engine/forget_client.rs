//! Forgets a client: its next call counts as its first one.

use std::io::IoSlice;

use super::Engine;
use crate::error::Result;
use crate::journal::{CallKind, Head, Payload, encode_forget};
use crate::memory::room_for;

impl Engine {
    /// Forgets a client in all groups. Returns whether any knew it.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`. No group has forgotten it.
    pub(crate) fn forget_client(&self, client: u64) -> Result<bool> {
        let mut groups = self.groups();
        groups.retain(|group| group.clients.has(client));
        let Some(first) = groups.first() else { return Ok(false) };
        self.wait_for_journal()?;
        // By ascending number, as a training step does. No call of the client is under way then.
        let mut guards = room_for(groups.len())?;
        for group in &groups {
            guards.push(group.begin_write()?);
        }
        let stepping = self.stepping.read();
        if let Some(journal) = self.journal() {
            let numbers: Vec<u16> = groups.iter().map(|group| group.id()).collect();
            let (kind, group, time) = (CallKind::Forget, first.id(), self.now_ms());
            let config = journal.announce(group, first.config().to_json()?);
            let head = Head { kind, group, config, step: 0, time, rate: 0.0 };
            let payload = encode_forget(client, &numbers)?;
            journal.append(&head, &Payload::new(&[IoSlice::new(&payload)]))?;
        }
        groups.iter().for_each(|group| group.clients.forget(client));
        drop((stepping, guards));
        self.rows_changed();
        Ok(true)
    }
}

//! Add: counts keys.

use super::counters::CounterConfig;
use super::hash::CounterPlace;
use super::{Filter, salt};
use crate::error::{Error, Result};

impl Filter {
    /// Adds `num` to the count of `key` in `group`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a group above 65535; `FORKED`.
    pub fn add(&self, group: u32, key: i64, num: u32) -> Result<()> {
        let opened = self.begin()?;
        let blocks = opened.map.blocks();
        let place = CounterPlace::new(salt(group)?, key, blocks.len());
        self.counter_config(opened.header.per_key).add(
            &blocks[place.block],
            place,
            num,
            &self.locks,
        );
        self.note_change();
        Ok(())
    }

    /// Adds `num` to the count of each of `keys`, once for each time it is given.
    ///
    /// # Errors
    /// As [`Filter::add`]; nothing was added.
    pub fn add_batch(&self, group: u32, keys: &[i64], num: u32) -> Result<()> {
        let opened = self.begin()?;
        let counters = self.counter_config(opened.header.per_key);
        opened.each(salt(group)?, keys, |_, _, block, place| {
            counters.add(block, place, num, &self.locks);
        });
        self.note_change();
        Ok(())
    }

    /// Adds its count to each of `keys`, once for each time it is given.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is not a count for each key; as [`Filter::add`]. Nothing was
    /// added.
    pub fn add_counts(&self, group: u32, keys: &[i64], nums: &[u32]) -> Result<()> {
        if nums.len() != keys.len() {
            return Err(Error::invalid(format!(
                "nums has {} counts and keys_len is {}; one a key is needed",
                nums.len(),
                keys.len()
            )));
        }
        let opened = self.begin()?;
        let counters = self.counter_config(opened.header.per_key);
        opened.each(salt(group)?, keys, |index, _, block, place| {
            counters.add(block, place, nums[index], &self.locks);
        });
        self.note_change();
        Ok(())
    }

    /// Adds 1 for each occurrence of a key, then writes one byte a key to `admitted`: 1 for keys
    /// whose count has reached `count`, 0 for the others. `skipped` is not counted; its byte
    /// becomes 0. `occurrences` has a number for each key: how often it counts each time it is
    /// given; None: once.
    ///
    /// # Errors
    /// As [`Filter::check_batch`]; nothing was added.
    pub fn count(
        &self,
        group: u32,
        (keys, occurrences): (&[i64], Option<&[u32]>),
        skipped: Option<i64>,
        admitted: &mut [u8],
    ) -> Result<()> {
        super::check::check_lengths(keys.len(), admitted.len())?;
        let opened = self.begin()?;
        let counters = self.counter_config(opened.header.per_key);
        let salt = salt(group)?;
        let mut missing = 0usize;
        opened.each(salt, keys, |index, key, block, place| {
            let num = occurrences.map_or(1, |numbers| numbers[index]);
            let is_admitted = Some(key) != skipped && counters.add(block, place, num, &self.locks);
            admitted[index] = u8::from(is_admitted);
            missing += usize::from(!is_admitted);
        });
        self.note_change();
        if missing == 0 {
            return Ok(());
        }
        // If a later occurrence was admitted, the earlier ones of the same call are, too.
        let blocks = opened.map.blocks();
        for (admitted, key) in admitted.iter_mut().zip(keys) {
            if *admitted == 0 && Some(*key) != skipped {
                let place = CounterPlace::new(salt, *key, blocks.len());
                *admitted = u8::from(counters.is_admitted(&blocks[place.block], place));
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn counter_config(&self, per_key: u32) -> CounterConfig {
        CounterConfig { per_key: per_key as usize, count: self.options.count }
    }
}

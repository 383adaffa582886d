//! A clock for tests.

use super::Storage;
use crate::error::{Error, Result};
use crate::rocks::row;

impl Storage {
    /// Sets the clock by which rows expire, in milliseconds since 1970; 0 sets the system's. The
    /// storage's time does not go back with it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` beyond what rows can have; `FORKED`, `EXITING`.
    pub fn set_clock_for_test(&self, now_ms: u64) -> Result<()> {
        let _call = self.begin_call()?;
        if now_ms > row::MAX_TIME {
            let most = row::MAX_TIME;
            return Err(Error::invalid(format!(
                "time_ms is {now_ms}; a number from 0 to {most} is needed"
            )));
        }
        self.engine().expiry.set_now_ms(now_ms);
        Ok(())
    }
}

//! Rows in text and JSON.

use damo::storage::Record;
use serde::Serialize;

/// A row, as JSON shows it.
#[derive(Serialize)]
pub struct Row<'a> {
    group: u16,
    key: i64,
    update_time: u64,
    update_num: u64,
    dim: usize,
    weights: &'a [f32],
    state: &'a [f32],
}

impl<'a> From<&'a Record> for Row<'a> {
    fn from(record: &'a Record) -> Row<'a> {
        let (weights, state) =
            record.data.split_at_checked(record.dim).unwrap_or((record.data.as_slice(), &[]));
        let Record { group, key, update_time, update_num, dim, .. } = *record;
        Row { group, key, update_time, update_num, dim, weights, state }
    }
}

impl Row<'_> {
    pub fn weights(&self) -> String {
        floats(self.weights)
    }

    pub fn state(&self) -> String {
        if self.state.is_empty() { "none".to_owned() } else { floats(self.state) }
    }

    /// The leading weights.
    pub fn first_weights(&self, count: usize) -> String {
        match self.weights.get(..count) {
            Some(first) if first.len() < self.weights.len() => format!("{} ...", floats(first)),
            _ => self.weights(),
        }
    }
}

/// Floats with as few digits as tell each from its neighbours.
fn floats(floats: &[f32]) -> String {
    floats.iter().map(|float| format!("{float:?}")).collect::<Vec<_>>().join(" ")
}

/// Milliseconds since 1970 as a date and a time, UTC.
pub fn date(ms: u64) -> String {
    let (days, ms_of_day) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    // Howard Hinnant, chrono-compatible low-level date algorithms: civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00.000");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(date(1_720_000_000_123), "2024-07-03 09:46:40.123");
        assert_eq!(date(4_102_444_799_999), "2099-12-31 23:59:59.999");
    }
}

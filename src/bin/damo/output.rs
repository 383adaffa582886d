//! The output of commands on stdout: aligned text for people, JSON for scripts.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use super::failure::{Failure, Outcome};

pub struct Output {
    writer: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Output {
        Output { writer: BufWriter::new(io::stdout()), json }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn line(&mut self, text: &str) -> Outcome {
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// One line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.writer, value)
            .map_err(|error| Failure::from(io::Error::from(error)))?;
        Ok(writeln!(self.writer)?)
    }

    /// Names and values, one pair a line.
    pub fn pairs(&mut self, pairs: &[(&str, String)]) -> Outcome {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        pairs
            .iter()
            .try_for_each(|(name, value)| self.line(format!("{name:width$}  {value}").trim_end()))
    }

    /// Columns under their headings; those of numbers are right-aligned.
    pub fn columns(&mut self, headings: &[Column], rows: &[Vec<String>]) -> Outcome {
        let width = |column: usize, heading: &str| {
            let cells =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(heading.len())
        };
        let widths: Vec<usize> = headings
            .iter()
            .enumerate()
            .map(|(index, heading)| width(index, heading.name))
            .collect();
        let mut write = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, heading), width) in cells.zip(headings).zip(&widths) {
                let (gap, width) = (if line.is_empty() { "" } else { "  " }, *width);
                line += &match heading.is_number {
                    true => format!("{gap}{cell:>width$}"),
                    false => format!("{gap}{cell:width$}"),
                };
            }
            self.line(line.trim_end())
        };
        write(&mut headings.iter().map(|heading| heading.name))?;
        rows.iter().try_for_each(|row| write(&mut row.iter().map(String::as_str)))
    }

    pub fn finish(&mut self) -> Outcome {
        Ok(self.writer.flush()?)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The output before an error is shown, too.
        let _ = self.writer.flush();
    }
}

pub struct Column {
    name: &'static str,
    is_number: bool,
}

pub const fn number(name: &'static str) -> Column {
    Column { name, is_number: true }
}

pub const fn text(name: &'static str) -> Column {
    Column { name, is_number: false }
}

/// A number with thousands separators.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of bytes, exact and in the largest fitting unit.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut amount, mut unit) = (number as f64, "");
    for larger in UNITS {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if unit.is_empty() {
        thousands(number)
    } else {
        format!("{} ({amount:.1} {unit})", thousands(number))
    }
}

pub fn seconds(took: std::time::Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The count a second; 0 when it took no time.
pub fn rate(count: u64, took: std::time::Duration) -> u64 {
    let seconds = took.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 }
}

//! Dumps of a session: they hold what the model holds, and increments add up to full dumps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use damo::params::Value;
use damo::storage::{DumpOptions, Dumped};
use damo::table::{Table, merge};

use crate::model::SPECS;
use crate::session::{Session, assert_same};
use crate::storage::{params, text};

impl Session {
    fn dump(&self, name: &str, condition: &[(&str, Value)]) -> (PathBuf, Dumped) {
        let path = self.folder.path().join(name);
        let options = DumpOptions::read(&params(condition)).unwrap();
        let dumped = self.storage().dump(&path, options, |_, _| true).unwrap();
        (path, dumped)
    }

    /// A table has all of the model's weights and no others. Increments follow it.
    pub fn dump_table(&mut self) {
        let (path, dumped) = self.dump("base", &[("format", text("table"))]);
        self.since = Some(dumped.number);
        self.compare_table(&path);
    }

    fn compare_table(&self, path: &Path) {
        let table = Table::open(path).unwrap();
        for (group, spec) in SPECS.iter().enumerate() {
            let (keys, rows): (Vec<i64>, Vec<_>) = self.model.rows(group).unzip();
            assert_eq!(
                table.rows(spec.group.into()).unwrap(),
                keys.len() as u64,
                "rows of {}",
                spec.group
            );
            let (mut weights, mut found) =
                (vec![f32::NAN; keys.len() * spec.dim], vec![9; keys.len()]);
            table.lookup(spec.group.into(), &keys, &mut weights, Some(&mut found)).unwrap();
            assert!(found.iter().all(|found| *found == 1), "{found:?} of {keys:?}");
            let expected: Vec<f32> =
                rows.iter().flat_map(|row| row.data[..spec.dim].to_vec()).collect();
            assert_same(&weights, &expected, "a row of a table");
        }
    }

    /// An increment, merged with the dump that it follows, is the full dump, byte for byte.
    pub fn dump_increment(&mut self) {
        let Some(since) = self.since else { return };
        let table = ("format", text("table"));
        let (increment, _) =
            self.dump("increment", &[table.clone(), ("since", Value::Int(since as i64))]);
        let (full, dumped) = self.dump("full", &[table]);
        let (base, merged) = (self.folder.path().join("base"), self.folder.path().join("merged"));
        merge(&base, &increment, &merged).unwrap();
        self.compare_table(&merged);
        let read = |path| std::fs::read(path).unwrap();
        assert!(read(&merged) == read(&full), "base and increment are not the full dump");
        std::fs::rename(&merged, &base).unwrap();
        self.since = Some(dumped.number);
    }

    /// An increment to a dump from before a clear is refused, with a message that says what to do.
    pub(crate) fn refuse_increment(&self, since: u64) {
        let condition = [("format", text("table")), ("since", Value::Int(since as i64))];
        let options = DumpOptions::read(&params(&condition)).unwrap();
        let path = self.folder.path().join("refused");
        let error = self.storage().dump(&path, options, |_, _| true).unwrap_err();
        assert!(error.message().contains("was cleared") && !path.exists(), "{error}");
    }

    /// A classic dump has the model's weights.
    pub fn dump_classic(&mut self) {
        const GROUPS: usize = 701;
        let (path, _) = self.dump("classic", &[("header_groups", Value::Int(GROUPS as i64))]);
        let bytes = std::fs::read(path).unwrap();
        let (header, mut rest) = bytes.split_at(12 * GROUPS);
        let mut found: BTreeMap<(u16, i64), Vec<f32>> = BTreeMap::new();
        while let Some((key, row)) = rest.split_first_chunk() {
            let (group, row) = row.split_first_chunk().expect("a group");
            let group = i32::from_le_bytes(*group) as usize;
            let dim =
                i32::from_le_bytes(header[4 * group..4 * group + 4].try_into().unwrap()) as usize;
            let (weights, next) = row.split_at(4 * dim);
            rest = next;
            let weights =
                weights.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let before = found.insert((group as u16, i64::from_le_bytes(*key)), weights);
            assert_eq!(before, None, "a key comes once");
        }
        let rows = SPECS.iter().enumerate().flat_map(|(group, spec)| {
            self.model
                .rows(group)
                .map(|(key, row)| ((spec.group, key), row.data[..spec.dim].to_vec()))
        });
        assert_eq!(found, rows.collect());
    }
}

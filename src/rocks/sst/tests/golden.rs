//! The files of tests/golden/sst: small ones that have all that damo's files may have.

use std::path::Path;

use super::parts::{Part, parts_of};
use super::*;
use crate::rocks::sst::SstLookup;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sst")
}

const NAMES: [(&str, bool); 2] = [("one-level.sst", false), ("two-levels.sst", true)];

#[test]
#[ignore = "writes tests/golden/sst, once a format: DAMO_WRITE_FIXTURES=1 and --ignored"]
fn write_golden_files() {
    if std::env::var_os("DAMO_WRITE_FIXTURES").is_none() {
        return;
    }
    for (name, has_two_levels) in NAMES {
        let database = Database::new(has_two_levels);
        let small = "{block_size=200;metadata_block_size=64;}";
        database.rocks.db.set_options(&[("block_based_table_factory", small)]).unwrap();
        let mut random = random(60);
        let mut first = rows(&mut random, 1, 40, &[11, 30]);
        first.values_mut().take(20).for_each(|value| value.as_mut().unwrap().fill(7));
        first.extend(rows(&mut random, 2, 10, &[11]));
        database.add(&first);
        // Old versions stay, and what has deleted them.
        let _snapshot = database.rocks.db.snapshot();
        database.clear(2);
        database.rocks.flush().unwrap();
        first.values_mut().step_by(3).for_each(|value| *value = None);
        database.add(&first.into_iter().step_by(2).collect());
        database.add(&rows(&mut random, 3, 5, &[11]));
        let (_, _, bytes) = database.merged_file();
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(folder().join(name), bytes).unwrap();
    }
}

#[test]
fn golden_files_have_all_that_files_may_have() {
    for (name, has_two_levels) in NAMES {
        let path = folder().join(name);
        let bytes = regular::read(&path).unwrap();
        let bounds = Bounds {
            len: bytes.len() as u64,
            first: vec![0; key::KEY_LEN],
            last: vec![u8::MAX; key::KEY_LEN + 1],
            first_seqno: 0,
            last_seqno: 0,
        };
        let file = in_memory(&path, &bounds, bytes).unwrap();
        let entries = entries(&file, 0).unwrap();
        let is_old = |pair: &[(u128, u64, bool, Vec<u8>)]| pair[0].0 == pair[1].0;
        assert!(entries.windows(2).any(is_old) && entries.iter().any(|entry| entry.2), "{name}");
        assert_eq!(file.deleted.len(), 1, "{name}");
        let parts = parts_of(&file);
        let count = |kind| parts.iter().filter(|(part, _)| *part == kind).count();
        assert!(count(Part::Rows) > 4, "{name}");
        let is_divided = [Part::Index, Part::Filter].map(|kind| count(kind) > 1);
        assert_eq!(is_divided, [has_two_levels; 2], "{name}");
        SstLookup::new(file).unwrap();
    }
}

//! `damo import`: files of the earlier implementation.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::open;
use crate::{failure, fill, human, json};

/// A file of the earlier implementation: three rows of sgd in the group, of which the second has a
/// NaN.
fn old_file(path: &Path, group: i32) {
    let mut file = 3_i64.to_le_bytes().to_vec();
    for (key, weight) in [(100_i64, 1.0_f32), (101, f32::NAN), (102, 3.0)] {
        let packed = [group.to_le_bytes().as_slice(), &key.to_le_bytes()].concat();
        file.extend(12_u64.to_le_bytes());
        file.extend(&packed);
        file.extend(40_u64.to_le_bytes());
        file.extend(&packed);
        file.extend(1_720_000_000_000_i64.to_le_bytes());
        file.extend(5_i64.to_le_bytes());
        file.extend(2_i32.to_le_bytes());
        file.extend([weight, 4.0].map(f32::to_le_bytes).concat());
    }
    fs::write(path, file).unwrap();
}

#[test]
fn files_of_the_earlier_implementation_are_imported() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    old_file(&dir.join("old"), 7);
    let report = human(dir, &["import", "t", "old"]);
    assert!(
        report.contains("time_first")
            && report.contains("not_finite        1  record 1 (group 7 key 101)"),
        "{report}"
    );
    let report = json(dir, &["import", "t", "old"]);
    assert_eq!((&report["records"], &report["imported"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&report["refused"][0]["reason"], &report["refused"][0]["records"]),
        (&json!("not_finite"), &json!(1))
    );
    let row = json(dir, &["get", "t", "7", "102"]);
    assert_eq!((&row["weights"], &row["update_num"]), (&json!([3.0, 4.0]), &json!(5)));
    assert!(
        human(dir, &["get", "t", "7", "102"])
            .contains("1720000000000 (2024-07-03 09:46:40.000 UTC)")
    );
    let whole = fs::read(dir.join("old")).unwrap();
    fs::write(dir.join("cut"), &whole[..whole.len() - 1]).unwrap();
    failure(dir, 5, &["import", "t", "cut"]);
    failure(dir, 3, &["import", "t", "nowhere"]);
    failure(dir, 2, &["import", "t", "t"]);
}

#[test]
fn a_counted_dump_is_written_and_imported() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    fill(&dir.join("other"));
    let dumped = json(dir, &["dump", "t", "d", "--format", "counted"]);
    for arguments in [vec![], vec!["--format", "counted"], vec!["--group", "7"]] {
        let all = [vec!["import", "other", "d"], arguments.clone()].concat();
        let report = json(dir, &all);
        assert_eq!((&report["format"], &report["order"]), (&json!("counted"), &json!("absent")));
        let others = report["other_groups"].as_u64().unwrap();
        assert_eq!(report["imported"].as_u64().unwrap() + others, dumped["rows"].as_u64().unwrap());
        assert_eq!(others > 0, arguments.contains(&"--group"));
        let told = human(dir, &all);
        let told =
            told.lines().find(|line| line.starts_with("other_groups")).unwrap().replace(',', "");
        assert!(told.ends_with(&format!(" {others}")), "{told}");
    }
    failure(dir, 5, &["import", "other", "d", "--format", "classic"]);
    failure(dir, 2, &["import", "other", "d", "--format", "tabular"]);
    failure(dir, 2, &["dump", "t", "d", "--format", "counted", "--header-groups", "8"]);
}

#[test]
fn an_import_that_takes_nothing_fails() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    old_file(&dir.join("old"), 99);
    let before = human(dir, &["rows", "t", "--json"]);
    let said = failure(dir, 2, &["import", "t", "old"]);
    assert!(
        said.contains("none of its 3 records") && said.contains("group 99 is not registered"),
        "{said}"
    );
    assert_eq!(human(dir, &["rows", "t", "--json"]), before);
}

#[test]
fn an_import_that_was_killed_is_made_whole_by_another() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    const ROWS: i64 = 400_000;
    let mut file = ROWS.to_le_bytes().to_vec();
    for key in 0..ROWS {
        let packed = [3_i32.to_le_bytes().as_slice(), &(key * 3).to_le_bytes()].concat();
        file.extend(12_u64.to_le_bytes());
        file.extend(&packed);
        file.extend(56_u64.to_le_bytes());
        file.extend(&packed);
        file.extend([key, 1_720_000_000_000].map(i64::to_le_bytes).concat());
        file.extend(2_i32.to_le_bytes());
        file.extend([key as f32, 1.0, 2.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat());
    }
    fs::write(dir.join("old"), file).unwrap();
    for pause in [20, 60, 120] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(["import", "t", "old", "--cache-bytes", "1M"])
            .current_dir(dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        // Rows that were imported are whole, the others are as they were.
        let storage = open(&dir.join("t"));
        let mut rows = storage.rows(Some(3)).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            let is_imported =
                row.data[1..] == [1.0, 2.0, 3.0, 4.0, 5.0] && row.data[0] == (row.key / 3) as f32;
            assert!(
                is_imported && row.update_num == row.key as u64 / 3 || row.update_num == 1,
                "{row:?}"
            );
        }
    }
    assert_eq!(json(dir, &["import", "t", "old", "--cache-bytes", "1M"])["imported"], json!(ROWS));
    // 200 of the rows that were there have keys of the file.
    assert_eq!(json(dir, &["verify", "t"])["rows"], json!(ROWS + 1202 - 200));
    assert_eq!(json(dir, &["get", "t", "3", "300"])["weights"], json!([100.0, 1.0]));
}

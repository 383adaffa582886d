//! The command-line tool as people and scripts run it: every command, both outputs, every exit code.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{initializer, open, optimizer};
use damo::embedding::Embedding;
use damo::params::Params;
use damo::storage::Storage;
use serde_json::{Value, json};

const DIM: usize = 2;

fn damo(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_damo")).args(arguments).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a command that must succeed writes for people.
fn human(dir: &Path, arguments: &[&str]) -> String {
    let output = damo(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing on stderr that is no terminal");
    text(&output.stdout).to_owned()
}

/// What a command that must succeed writes for scripts.
fn json(dir: &Path, arguments: &[&str]) -> Value {
    let line = human(dir, &[arguments, &["--json"]].concat());
    assert_eq!(line.lines().count(), 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

/// The message of a command that must fail, which is the same for people and for scripts.
fn failure(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let plain = damo(dir, arguments);
    let message = text(&plain.stderr).to_owned();
    assert_eq!(plain.status.code(), Some(code), "{arguments:?}: {message}");
    let scripted = damo(dir, &[arguments, &["--json"]].concat());
    assert_eq!(scripted.status.code(), Some(code));
    let error: Value = serde_json::from_slice(&scripted.stderr).unwrap();
    let words = error["error"]["message"].as_str().unwrap();
    assert!(error["error"]["status"].is_string());
    if code == 2 {
        // Clap's has lines.
        let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(in_one_line(&message).contains(&in_one_line(words)), "{message} / {words}");
    } else {
        assert_eq!(message.trim_end(), format!("damo: {words}"));
    }
    assert!(scripted.stdout.is_empty() && plain.stdout.is_empty());
    message
}

fn embedding(storage: &Storage, name: &str, group: u32) -> Embedding {
    let (optimizer, ones) = (optimizer(name, &[]), initializer("ones", &[]));
    let options = Params::new();
    let options = if group == 7 { options.with("name", "user").unwrap() } else { options };
    Embedding::new(storage.clone(), optimizer, ones, DIM, group, &options).unwrap()
}

/// A storage with 1200 rows of adam in group 3, and 2 of sgd in group 7, which is called "user".
fn fill(dir: &Path) {
    let storage = open(dir);
    let (adam, sgd) = (embedding(&storage, "adam", 3), embedding(&storage, "sgd", 7));
    let keys: Vec<i64> = (-600..600).collect();
    adam.apply_gradients(&keys, &vec![0.5; keys.len() * DIM]).unwrap();
    sgd.insert(&[-9, 9], &[0.25, -1.5, 2.0, 3.0]).unwrap();
}

/// A file of the earlier implementation: three rows of sgd in the group, of which the second has a NaN.
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
fn storages_can_be_looked_into() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));

    let stat = human(dir, &["stat", "t"]);
    assert!(stat.lines().any(|line| line.split_whitespace().eq(["groups", "2"])), "{stat}");
    assert!(stat.lines().any(|line| line.split_whitespace().eq(["rows_estimate", "1,202"])), "{stat}");
    let stat = json(dir, &["stat", "t"]);
    assert_eq!((&stat["stats"]["groups"], &stat["stats"]["rows_estimate"]), (&json!(2), &json!(1202)));
    assert!(stat["dir"].as_str().unwrap().ends_with("/t"));
    assert_eq!(stat["stats"].as_object().unwrap().len(), Storage::stat_names().len());

    let groups = human(dir, &["groups", "t", "--count", "--cache-bytes", "64M"]);
    let lines: Vec<Vec<&str>> = groups.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["3", "-", "2", "6", "1", "1,200", "adam", "ones", "-"]);
    assert_eq!(lines[2], ["7", "user", "2", "2", "0", "2", "sgd", "ones", "-"]);
    let groups = json(dir, &["groups", "t"]);
    assert_eq!(groups["groups"][0]["optimizer"], json!({ "name": "adam", "params": {} }));
    assert_eq!((&groups["groups"][1]["row_len"], &groups["groups"][1]["rows"]), (&json!(2), &Value::Null));

    let row = human(dir, &["get", "t", "7", "-9"]);
    assert!(row.contains("weights      0.25 -1.5\n") && row.contains("state        none\n"), "{row}");
    let row = json(dir, &["get", "t", "3", "-600"]);
    assert_eq!((&row["group"], &row["key"], &row["update_num"]), (&json!(3), &json!(-600), &json!(1)));
    assert_eq!((row["weights"].as_array().unwrap().len(), row["state"].as_array().unwrap().len()), (2, 4));
    assert!(row["update_time"].as_u64().unwrap() > 1_700_000_000_000);

    let rows = human(dir, &["rows", "t", "--limit", "3"]);
    assert_eq!(rows.lines().count(), 4);
    assert!(rows.lines().nth(1).unwrap().split_whitespace().take(2).eq(["3", "-600"]), "{rows}");
    let rows = human(dir, &["rows", "t", "--json"]);
    assert_eq!(rows.lines().count(), 1202);
    let rows = human(dir, &["rows", "t", "--json", "--group", "7"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (rows.len(), &rows[0]["weights"], &rows[1]["weights"]),
        (2, &json!([0.25, -1.5]), &json!([2.0, 3.0]))
    );
    assert_eq!(human(dir, &["rows", "t", "--json", "--group", "user"]).lines().count(), 2);
    assert_eq!(json(dir, &["get", "t", "user", "9"])["weights"], json!([2.0, 3.0]));
    failure(dir, 3, &["get", "t", "users", "9"]);
    let groups = json(dir, &["groups", "t"]);
    assert_eq!((&groups["groups"][0]["name"], &groups["groups"][1]["name"]), (&Value::Null, &json!("user")));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(human(dir, &["rows", "t", "--json", "--ttl", "1"]), "");

    assert!(human(dir, &["verify", "t"]).contains("everything is as it was written"));
    let verified = json(dir, &["verify", "t"]);
    assert_eq!(
        (&verified["ok"], &verified["rows"], &verified["groups"]),
        (&json!(true), &json!(1202), &json!(2))
    );
    assert!(human(dir, &["compact", "t"]).contains("bytes after"));
    assert!(json(dir, &["compact", "t"])["bytes_after"].as_u64().unwrap() > 0);
}

#[test]
fn dumps_increments_and_serving_tables_go_together() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    assert!(
        human(dir, &["dump", "t", "classic", "--group", "3", "--header-groups", "128"]).contains("1,200")
    );
    assert_eq!(fs::metadata(dir.join("classic")).unwrap().len(), 128 * 12 + 1200 * (12 + 4 * DIM as u64));
    let base = json(dir, &["dump", "t", "base", "--format", "table", "--value-type", "float16"]);
    assert_eq!((&base["rows"], &base["path"]), (&json!(1202), &json!("base")));
    let rare =
        json(dir, &["dump", "t", "rare", "--format", "table", "--min-count", "1", "--expire-days", "2.5"]);
    assert_eq!(rare["rows"], json!(1200));

    {
        let storage = open(&dir.join("t"));
        let sgd = embedding(&storage, "sgd", 7);
        sgd.apply_gradients(&[10], &[1.0, 1.0]).unwrap();
        sgd.delete(&[9]).unwrap();
    }
    let since = base["number"].to_string();
    let dump = ["dump", "t", "more", "--format", "table", "--value-type", "float16", "--since", &since];
    let more = json(dir, &dump);
    assert_eq!(more["removed"], json!(1), "{more}");
    let merged = json(dir, &["merge", "base", "more", "new"]);
    assert_eq!(merged["rows"], json!(1202));
    assert!(human(dir, &["merge", "base", "more", "new2"]).contains("1,202"));
    assert_eq!(fs::read(dir.join("new")).unwrap(), fs::read(dir.join("new2")).unwrap());

    let check = human(dir, &["serve-check", "new"]);
    assert!(check.contains("float16") && check.contains("rows/s") && check.contains("1,202"), "{check}");
    let check = json(dir, &["serve-check", "new"]);
    assert_eq!(
        (&check["rows"], &check["number"], &check["ok"]),
        (&json!(1202), &more["number"], &json!(true))
    );
    assert_eq!(check["groups"][1], json!({ "group": 7, "dim": 2, "rows": 2 }));

    let mut bytes = fs::read(dir.join("new")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(dir.join("flipped"), bytes).unwrap();
    assert!(failure(dir, 5, &["serve-check", "flipped"]).contains("some bytes have changed"));
    failure(dir, 2, &["serve-check", "more"]);
    failure(dir, 2, &["serve-check", "classic"]);
    failure(dir, 3, &["serve-check", "nothing"]);
    failure(dir, 2, &["merge", "more", "base", "new3"]);
    failure(dir, 3, &["dump", "t", "more", "--format", "table", "--since", "987654321"]);
    failure(dir, 3, &["dump", "t", "more", "--group", "4"]);
    assert!(failure(dir, 2, &["dump", "t", "x", "--value-type", "int8"]).contains("value_type"));
    failure(dir, 2, &["dump", "t", "x", "--format", "table", "--value-type", "int4"]);
    failure(dir, 2, &["dump", "t", "x", "--min-count", "-1"]);
    assert!(!dir.join("x").exists());
}

#[test]
fn checkpoints_are_made_and_restored() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    assert_eq!(json(dir, &["checkpoint", "t", "cp"])["path"], json!("cp"));
    assert!(human(dir, &["checkpoint", "t", "cp2"]).contains("cp2"));
    assert!(failure(dir, 6, &["checkpoint", "t", "cp"]).contains("exists"));
    failure(dir, 3, &["restore", "new", "cp"]);
    assert!(!dir.join("new").exists());
    failure(dir, 3, &["restore", "new", "nowhere", "--create"]);
    assert!(!dir.join("new").exists());
    let restored = json(dir, &["restore", "new", "cp", "--create"]);
    assert_eq!((&restored["groups"], &restored["filters"]), (&json!(2), &json!(0)));
    assert!(human(dir, &["restore", "new", "cp2"]).contains("groups"));
    let rows = |from: &str| human(dir, &["rows", from, "--json"]);
    assert_eq!(rows("new"), rows("t"));
    fs::remove_file(dir.join("cp2/CURRENT")).unwrap();
    failure(dir, 5, &["restore", "new", "cp2"]);
    assert_eq!(rows("new"), rows("t"));
    failure(dir, 5, &["restore", "fresh", "cp2", "--create"]);
    assert!(!dir.join("fresh").exists());
}

#[test]
fn files_of_the_earlier_implementation_are_imported() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    old_file(&dir.join("old"), 7);
    let report = human(dir, &["import", "t", "old"]);
    assert!(
        report.contains("time_first") && report.contains("not_finite        1  record 1 (group 7 key 101)"),
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
    assert!(human(dir, &["get", "t", "7", "102"]).contains("1720000000000 (2024-07-03 09:46:40.000 UTC)"));
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
        let told = told.lines().find(|line| line.starts_with("other_groups")).unwrap().replace(',', "");
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
    assert!(said.contains("none of its 3 records") && said.contains("group 99 is not registered"), "{said}");
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
        // Rows that came in are whole, the others are as they were.
        let storage = open(&dir.join("t"));
        let mut rows = storage.rows(Some(3)).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            let is_imported =
                row.data[1..] == [1.0, 2.0, 3.0, 4.0, 5.0] && row.data[0] == (row.key / 3) as f32;
            assert!(is_imported && row.update_num == row.key as u64 / 3 || row.update_num == 1, "{row:?}");
        }
    }
    assert_eq!(json(dir, &["import", "t", "old", "--cache-bytes", "1M"])["imported"], json!(ROWS));
    // Of the rows that were there, 200 have keys of the file.
    assert_eq!(json(dir, &["verify", "t"])["rows"], json!(ROWS + 1202 - 200));
    assert_eq!(json(dir, &["get", "t", "3", "300"])["weights"], json!([100.0, 1.0]));
}

#[test]
fn every_exit_code_means_something() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    // 2: usage.
    failure(dir, 2, &["stat"]);
    failure(dir, 2, &["stat", "t", "--tll", "4"]);
    failure(dir, 2, &["frobnicate", "t"]);
    failure(dir, 2, &["get", "t", "65536", "1"]);
    failure(dir, 2, &["get", "t", "1", "one"]);
    failure(dir, 2, &["stat", "t", "--cache-bytes", "1Q"]);
    assert!(failure(dir, 2, &["stat", "t", "--cache-bytes", "1K"]).contains("cache_bytes"));
    assert!(failure(dir, 2, &["stat", "t", "--ttl", "-1"]).contains("ttl_seconds is -1"));
    fs::write(dir.join("file"), "x").unwrap();
    failure(dir, 2, &["stat", "file"]);
    fs::create_dir(dir.join("foreign")).unwrap();
    fs::write(dir.join("foreign/notes.txt"), "x").unwrap();
    failure(dir, 2, &["stat", "foreign"]);
    // 3: not there; nothing is made.
    for command in ["stat", "groups", "rows", "verify", "compact"] {
        assert!(failure(dir, 3, &[command, "nowhere"]).contains("does not exist"));
    }
    failure(dir, 3, &["dump", "nowhere", "x"]);
    failure(dir, 3, &["checkpoint", "nowhere", "x"]);
    failure(dir, 3, &["import", "nowhere", "file"]);
    assert!(!dir.join("nowhere").exists());
    fs::create_dir(dir.join("empty")).unwrap();
    assert!(failure(dir, 3, &["stat", "empty"]).contains("holds no damo storage"));
    assert_eq!(fs::read_dir(dir.join("empty")).unwrap().count(), 0);
    assert!(failure(dir, 3, &["get", "t", "3", "600"]).contains("key 600 has no row in group 3"));
    assert!(failure(dir, 3, &["get", "t", "4", "1"]).contains("registered are: 3, 7"));
    failure(dir, 3, &["rows", "t", "--group", "4"]);
    // 1: no code of its own.
    failure(dir, 1, &["dump", "t", "missing/folder/dump"]);
    // 4: in use.
    {
        let _open = open(&dir.join("t"));
        assert!(failure(dir, 4, &["compact", "t"]).contains("in another process"));
        let output = damo(dir, &["stat", "t"]);
        assert_eq!(output.status.code(), Some(0));
        let notice = text(&output.stderr);
        assert!(notice.contains("'t' is open in another process") && notice.contains(" as of 1"), "{notice}");
    }
    // 5: damaged.
    let table = fs::read_dir(dir.join("t")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let table = table.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[1000] ^= 1;
    fs::write(&table, bytes).unwrap();
    failure(dir, 5, &["verify", "t"]);
}

#[test]
fn scripts_are_told_what_is_wrong_with_their_arguments() {
    let scratch = tempfile::tempdir().unwrap();
    fill(&scratch.path().join("t"));
    let told: [(&[&str], &[&str]); 8] = [
        (&["get", "a", "u"], &["required arguments were not provided", "<KEY>"]),
        (&["get"], &["<DIR> <GROUP> <KEY>"]),
        (&["restore", "t"], &["<CHECKPOINT>"]),
        (&["stat", "t", "--tll", "4"], &["unexpected argument '--tll'", "'--ttl'"]),
        (&["stats", "t"], &["unrecognized subcommand 'stats'", "'stat'"]),
        (&["rows", "t", "--limit", "many"], &["'many'", "--limit", "invalid digit"]),
        (&["get", "t", "3", "1", "2"], &["unexpected argument '2'"]),
        (&[], &["requires a subcommand", "groups", "serve-check"]),
    ];
    for (arguments, words) in told {
        let output = damo(scratch.path(), &[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1);
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
        let message = error["error"]["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message}");
        }
        assert!(!message.contains("Usage:") && !message.starts_with("error"), "{message}");
    }
}

#[test]
fn unsigned_keys_keep_their_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    {
        let storage = open(&dir.join("t"));
        let keys = [-1, i64::MIN, i64::MAX, 0];
        embedding(&storage, "sgd", 3).insert(&keys, &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]).unwrap();
    }
    for (given, key, weight) in [
        ("18446744073709551615", -1, 1.0),
        ("-1", -1, 1.0),
        ("9223372036854775808", i64::MIN, 2.0),
        ("9223372036854775807", i64::MAX, 3.0),
        ("-0", 0, 4.0),
    ] {
        let row = json(dir, &["get", "t", "3", given]);
        assert_eq!((&row["key"], &row["weights"][0]), (&json!(key), &json!(weight)), "{given}");
    }
    for wrong in ["18446744073709551616", "-9223372036854775809", "1.0", "0x1", ""] {
        let words = failure(dir, 2, &["get", "t", "3", wrong]);
        assert!(words.contains("from -9223372036854775808 to 18446744073709551615"), "{words}");
    }
}

#[test]
fn rows_of_many_groups_are_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let rows = |group: i64| group % 4;
    {
        let storage = open(&dir.join("t"));
        for group in (0..300).map(|place| place * 7) {
            let options = Params::new();
            let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
            let opened = Embedding::new(storage.clone(), sgd, ones, 1, group, &options).unwrap();
            let keys: Vec<i64> = (0..rows(i64::from(group))).collect();
            opened.insert(&keys, &vec![1.0; keys.len()]).unwrap();
        }
    }
    let counted = json(dir, &["groups", "t", "--count"]);
    let groups = counted["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 300);
    for (place, group) in (0..).zip(groups) {
        assert_eq!((&group["group"], &group["rows"]), (&json!(place * 7), &json!(rows(place * 7))));
    }
    // With a TTL those that have expired are not counted: none has.
    assert_eq!(json(dir, &["groups", "t", "--count", "--ttl", "86400"]), counted);
}

/// Bytes and times of change of everything in a storage.
fn state(dir: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        found.push((folder.clone(), fs::metadata(&folder).unwrap().modified().unwrap(), Vec::new()));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let changed = fs::metadata(&path).unwrap().modified().unwrap();
                found.push((path.clone(), changed, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn looking_changes_not_one_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    {
        let storage = open(&dir.join("t"));
        storage.set_clock_for_test(1_700_000_000_000).unwrap();
        let embedding = embedding(&storage, "sgd", 3);
        // Files that wait to be merged, with rows that any TTL has expired.
        for key in 0..9 {
            embedding.insert(&[key, 100], &[1.0; 2 * DIM]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(dir.join("c")).unwrap();
    }
    let before = [state(&dir.join("t")), state(&dir.join("c"))];
    fs::create_dir(dir.join("tmp")).unwrap();
    for name in ["t", "c"] {
        for (number, ttl) in ["0", "5"].into_iter().enumerate() {
            let copy = format!("copy-{name}-{number}");
            let commands = [
                &["stat", name][..],
                &["groups", name, "--count"],
                &["get", name, "3", "100"],
                &["rows", name],
                &["verify", name],
                &["dump", name, "dump"],
                &["checkpoint", name, &copy],
            ];
            for command in commands {
                let output = Command::new(env!("CARGO_BIN_EXE_damo"))
                    .args(command)
                    .args(["--ttl", ttl])
                    .current_dir(dir)
                    .env("TMPDIR", dir.join("tmp"))
                    .output()
                    .unwrap();
                let expected = if command[0] == "get" && ttl == "5" { 3 } else { 0 };
                assert_eq!(output.status.code(), Some(expected), "{command:?}: {}", text(&output.stderr));
                assert!([state(&dir.join("t")), state(&dir.join("c"))] == before, "{command:?}");
                assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0, "{command:?}");
            }
            assert_eq!(json(dir, &["verify", &copy])["rows"], 10);
        }
    }
}

#[test]
fn help_says_what_there_is() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let help = human(dir, &["--help"]);
    for word in ["stat", "serve-check", "Exit codes", "--json"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(human(dir, &["rows", "--help"]).contains("--limit"));
    assert_eq!(human(dir, &["--version"]), format!("damo {}\n", env!("CARGO_PKG_VERSION")));
    let bare = damo(dir, &[]);
    assert_eq!(bare.status.code(), Some(2));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let scratch = tempfile::tempdir().unwrap();
    fill(&scratch.path().join("t"));
    for flag in ["--ttl=0", "--json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(["rows", "t", flag])
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut words = String::new();
        child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        assert_eq!((child.wait().unwrap().code(), words.as_str()), (Some(0), ""));
    }
    // Full, as a disk can be.
    let full = Command::new(env!("CARGO_BIN_EXE_damo"))
        .args(["rows", "t"])
        .current_dir(scratch.path())
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).starts_with("damo: stdout cannot be written"), "{}", text(&full.stderr));
}

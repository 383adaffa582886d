//! Commands that read a storage: what they print for people and for scripts.

use std::fs;
use std::process::Command;

use damo::embedding::Embedding;
use damo::params::Params;
use damo::storage::Storage;
use serde_json::{Value, json};

use crate::common::{bytes_and_times, initializer, open, optimizer};
use crate::{DIM, embedding, failure, fill, human, json, text};

#[test]
fn storages_can_be_looked_into() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));

    let stat = human(dir, &["stat", "t"]);
    assert!(stat.lines().any(|line| line.split_whitespace().eq(["groups", "2"])), "{stat}");
    assert!(
        stat.lines().any(|line| line.split_whitespace().eq(["rows_estimate", "1,202"])),
        "{stat}"
    );
    let stat = json(dir, &["stat", "t"]);
    assert_eq!(
        (&stat["stats"]["groups"], &stat["stats"]["rows_estimate"]),
        (&json!(2), &json!(1202))
    );
    assert!(stat["dir"].as_str().unwrap().ends_with("/t"));
    assert_eq!(stat["stats"].as_object().unwrap().len(), Storage::stat_names().len());

    let groups = human(dir, &["groups", "t", "--count", "--cache-bytes", "64M"]);
    let lines: Vec<Vec<&str>> =
        groups.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["3", "-", "2", "6", "1", "1,200", "adam", "ones", "-", "-"]);
    assert_eq!(lines[2], ["7", "user", "2", "2", "0", "2", "sgd", "ones", "-", "8.5"]);
    let groups = json(dir, &["groups", "t"]);
    assert_eq!(groups["groups"][0]["optimizer"], json!({ "name": "adam", "params": {} }));
    assert_eq!(
        (&groups["groups"][1]["row_len"], &groups["groups"][1]["rows"]),
        (&json!(2), &Value::Null)
    );

    let row = human(dir, &["get", "t", "7", "-9"]);
    assert!(
        row.contains("weights      0.25 -1.5\n") && row.contains("state        none\n"),
        "{row}"
    );
    let row = json(dir, &["get", "t", "3", "-600"]);
    assert_eq!(
        (&row["group"], &row["key"], &row["update_num"]),
        (&json!(3), &json!(-600), &json!(1))
    );
    assert_eq!(
        (row["weights"].as_array().unwrap().len(), row["state"].as_array().unwrap().len()),
        (2, 4)
    );
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
    assert_eq!(
        (&groups["groups"][0]["name"], &groups["groups"][1]["name"]),
        (&Value::Null, &json!("user"))
    );
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
    // With a TTL expired rows are not counted; none has expired.
    assert_eq!(json(dir, &["groups", "t", "--count", "--ttl", "86400"]), counted);
}

#[test]
fn looking_changes_not_one_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    {
        let storage = open(&dir.join("t"));
        storage.set_clock_for_test(1_700_000_000_000).unwrap();
        let embedding = embedding(&storage, "sgd", 3);
        // Files that wait to be merged; their rows have expired under any TTL.
        for key in 0..9 {
            embedding.insert(&[key, 100], &[1.0; 2 * DIM]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(dir.join("c")).unwrap();
    }
    let before = [bytes_and_times(&dir.join("t")), bytes_and_times(&dir.join("c"))];
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
                assert_eq!(
                    output.status.code(),
                    Some(expected),
                    "{command:?}: {}",
                    text(&output.stderr)
                );
                assert!(
                    [bytes_and_times(&dir.join("t")), bytes_and_times(&dir.join("c"))] == before,
                    "{command:?}"
                );
                assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0, "{command:?}");
            }
            assert_eq!(json(dir, &["verify", &copy])["rows"], 10);
        }
    }
}

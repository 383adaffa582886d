//! Commands that write files and read them: dumps, serving tables, checkpoints.

use std::fs;

use serde_json::json;

use crate::common::open;
use crate::{DIM, embedding, failure, fill, human, json};

#[test]
fn dumps_increments_and_serving_tables_go_together() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    assert!(
        human(dir, &["dump", "t", "classic", "--group", "3", "--header-groups", "128"])
            .contains("1,200")
    );
    assert_eq!(
        fs::metadata(dir.join("classic")).unwrap().len(),
        128 * 12 + 1200 * (12 + 4 * DIM as u64)
    );
    let base = json(dir, &["dump", "t", "base", "--format", "table", "--value-type", "float16"]);
    assert_eq!((&base["rows"], &base["path"]), (&json!(1202), &json!("base")));
    let rare = json(
        dir,
        &["dump", "t", "rare", "--format", "table", "--min-count", "1", "--expire-days", "2.5"],
    );
    assert_eq!(rare["rows"], json!(1200));

    {
        let storage = open(&dir.join("t"));
        let sgd = embedding(&storage, "sgd", 7);
        sgd.apply_gradients(&[10], &[1.0, 1.0]).unwrap();
        sgd.delete(&[9]).unwrap();
    }
    let since = base["number"].to_string();
    let dump =
        ["dump", "t", "more", "--format", "table", "--value-type", "float16", "--since", &since];
    let more = json(dir, &dump);
    assert_eq!(more["removed"], json!(1), "{more}");
    let merged = json(dir, &["merge", "base", "more", "new"]);
    assert_eq!(merged["rows"], json!(1202));
    assert!(human(dir, &["merge", "base", "more", "new2"]).contains("1,202"));
    assert_eq!(fs::read(dir.join("new")).unwrap(), fs::read(dir.join("new2")).unwrap());

    let check = human(dir, &["serve-check", "new"]);
    assert!(
        check.contains("float16") && check.contains("rows/s") && check.contains("1,202"),
        "{check}"
    );
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

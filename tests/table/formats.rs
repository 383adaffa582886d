//! docs/formats.md is right about serving tables and dumps: its readers in Python read what the
//! writers write. The writers write the same bytes as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use damo::table::{ClassicWriter, Table, ValueType, Writer, merge};

use crate::content::{self, Content, look, options, weight, write};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tables").join(name)
}

#[test]
fn tables_are_written_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut content = Content::default();
    content.set(0, 1, vec![0.5, -0.5]);
    content.set(0, 2, vec![1.5, 2.5]);
    content.set(0, -7, vec![4.0, 8.0]);
    content.declare(7, 3);
    write(&path("base.table"), &content, ValueType::Float32, 1, None);
    let dims = content.dims();
    let options = options(ValueType::Float32, 2, Some(1), &dims);
    let mut writer = Writer::create(&path("increment.table"), &options).unwrap();
    writer.remove_keys(0, &[-7]).unwrap();
    writer.add_rows(0, &[2], &[3.0, 3.0]).unwrap();
    writer.add_rows(7, &[5], &[1.0, 2.0, 3.0]).unwrap();
    writer.finish().unwrap();
    merge(&path("base.table"), &path("increment.table"), &path("merged.table")).unwrap();
    for name in ["base.table", "increment.table", "merged.table"] {
        if std::env::var_os("DAMO_UPDATE").is_some() {
            fs::copy(path(name), golden(name)).unwrap();
        }
        assert!(
            fs::read(path(name)).unwrap() == fs::read(golden(name)).unwrap_or_default(),
            "{name} is written otherwise than before: a change of format needs a new version"
        );
    }
    assert_eq!(
        look(&Table::open(&golden("merged.table")).unwrap(), 0, &[2, -7]),
        (vec![3.0, 3.0, 0.0, 0.0], vec![1, 0])
    );
}

/// The Python code of a section of docs/formats.md.
fn code(section: &str) -> String {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md")).unwrap();
    let section = text.split(&format!("\n## {section}")).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    section.split("```python\n").nth(1).expect("its code").split("```").next().unwrap().to_owned()
}

/// Runs code on a file, with DAMO_PYTHON or a python3 from PATH or the system; None without NumPy.
fn python(code: &str, path: &Path) -> Option<String> {
    let given = std::env::var("DAMO_PYTHON").ok();
    let candidates = given.iter().map(String::as_str).chain(["python3", "/usr/bin/python3"]);
    let has_numpy = |python: &&str| {
        let imported = Command::new(python).args(["-c", "import numpy"]).output();
        imported.is_ok_and(|output| output.status.success())
    };
    let Some(python) = candidates.into_iter().find(has_numpy) else {
        eprintln!(
            "skipped: no python3 with NumPy was found (apt-get install python3-numpy, or set \
             DAMO_PYTHON)"
        );
        return None;
    };
    let output = Command::new(python).args(["-c", code]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_documented_reader_reads_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut content = Content::default();
    for row in 0..1000 {
        content.set(
            2,
            (row - 500) * 1_000_000_007,
            (0..5).map(|column| weight(row as usize, column)).collect(),
        );
    }
    content.declare(3, 4);
    content.set(65_535, i64::MIN, vec![0.25; 300]);
    for value_type in content::TYPES {
        write(&path, &content, value_type, 77, None);
        // Prints every row in a form that can be compared.
        let check = "\nimport sys\nheader, groups = read_table(sys.argv[1])\n\
             print(header['number'], header['since'])\n\
             for group, (keys, weights, removed) in groups.items():\n    \
             print(group, weights.shape[1], len(keys), len(removed))\n    \
             for key, row in zip(keys, weights): \
             print(key, *(int(w.view('<u4')) for w in row.astype('<f4')))\n";
        let Some(printed) = python(&(code("Serving table") + check), &path) else { return };
        let table = Table::open(&path).unwrap();
        let mut expected = "77 None\n".to_owned();
        for (group, (dim, rows)) in &content.groups {
            expected += &format!("{group} {dim} {} 0\n", rows.len());
            for key in rows.keys() {
                let bits: Vec<String> = look(&table, u32::from(*group), &[*key])
                    .0
                    .iter()
                    .map(|weight| weight.to_bits().to_string())
                    .collect();
                expected += &format!("{key} {}\n", bits.join(" "));
            }
        }
        assert!(printed == expected, "{value_type:?}");
    }
    let check = "\nimport sys\nheader, groups = read_table(sys.argv[1])\n\
         print(header['number'], header['since'])\n\
         for group, found in groups.items(): print(group, *(part.tolist() for part in found))\n";
    let printed = python(&(code("Serving table") + check), &golden("increment.table")).unwrap();
    assert_eq!(printed, "2 1\n0 [2] [[3.0, 3.0]] [-7]\n7 [5] [[1.0, 2.0, 3.0]] []\n");
    // It finds keys with the index, too.
    let check = "\nimport sys\nprint([find(sys.argv[1], 0, key) for key in (1, 2, -7, 3)])\n";
    let printed = python(&(code("Serving table") + check), &golden("merged.table")).unwrap();
    assert_eq!(printed, "[0, 1, None, None]\n");
}

#[test]
fn the_documented_reader_reads_classic_dumps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    for header_groups in [128, 256, 1024] {
        let groups = [(0, 3), (5, 1), (127, 40)];
        let mut writer = ClassicWriter::create(&path, header_groups, &groups).unwrap();
        let keys: Vec<i64> = (-50..50).map(|key| key * 3_000_000_019).collect();
        let weights: Vec<f32> = (0..300).map(|at| weight(at, 0)).collect();
        writer.add_rows(0, &keys, &weights).unwrap();
        writer.add_rows(5, &[i64::MAX], &[0.125]).unwrap();
        let summary = writer.finish().unwrap();
        assert_eq!(summary.rows, 101);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, summary.bytes);
        assert_eq!(bytes.len(), header_groups * 12 + 100 * (12 + 12) + 12 + 4);
        let check = format!(
            "\nimport sys\n\
             for group, (keys, weights) in \
             read_classic(sys.argv[1], {header_groups}).items():\n    \
             print(group, weights.shape)\n    \
             for key, row in zip(keys, weights): \
             print(key, *(int(w.view('<u4')) for w in row))\n"
        );
        let Some(printed) = python(&(code("Classic dump") + &check), &path) else { return };
        let mut expected = "0 (100, 3)\n".to_owned();
        for (key, row) in keys.iter().zip(weights.chunks(3)) {
            let bits: Vec<String> = row.iter().map(|weight| weight.to_bits().to_string()).collect();
            expected += &format!("{key} {}\n", bits.join(" "));
        }
        expected += &format!("5 (1, 1)\n{} {}\n127 (0, 40)\n", i64::MAX, 0.125_f32.to_bits());
        assert_eq!(printed, expected);
    }
}

#[test]
fn the_documented_reader_reads_counted_dumps_and_those_of_wheels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    // Groups in any order, with numbers beyond any classic header, and one without rows.
    let mut writer = ClassicWriter::create_counted(&path, &[(65_535, 1), (0, 3), (7, 40)]).unwrap();
    writer.add_rows(65_535, &[i64::MIN, 5], &[0.125, -0.5]).unwrap();
    writer.add_rows(0, &[-1], &[1.0, 2.0, 3.0]).unwrap();
    assert!(writer.add_rows(1, &[1], &[1.0]).is_err());
    let summary = writer.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((summary.rows, summary.bytes), (3, bytes.len() as u64));
    assert_eq!(bytes.len(), 4 + 3 * 16 + 2 * 16 + 24);
    let head: Vec<i32> =
        bytes[..28].as_chunks().0.iter().map(|four| i32::from_le_bytes(*four)).collect();
    assert_eq!(head, [3, 0, 7, 65_535, 3, 40, 1]);
    let check = "\nimport sys\nfor group, rows in sorted(read_counted(sys.argv[1]).items()):\n    \
                 print(group, [(key, row.tolist()) for key, row in sorted(rows.items())])\n";
    let script = code("Counted dump") + check;
    let Some(printed) = python(&script, &path) else { return };
    let expected =
        format!("0 [(-1, [1.0, 2.0, 3.0])]\n7 []\n65535 [({}, [0.125]), (5, [-0.5])]\n", i64::MIN);
    assert_eq!(printed, expected);
    // A file of damo-embedding.
    let theirs =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures/1.0.6/sgd3.dump");
    let printed = python(&script, &theirs).unwrap();
    assert!(printed.starts_with("0 [(-7, [0.0234375, -0.1015625, 0.0390625]), (1, ["), "{printed}");
    ClassicWriter::create_counted(&path, &[]).unwrap().finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0; 4]);
    let twice = ClassicWriter::create_counted(&path, &[(3, 1), (3, 1)]).map(drop).unwrap_err();
    assert!(twice.message().contains("group 3 is given twice"), "{twice}");
}

#[test]
fn classic_dumps_refuse_what_they_have_no_place_for() {
    use damo::error::Status::{Busy, InvalidArgument};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let refusal = |header_groups: usize, groups: &[(u16, usize)]| {
        ClassicWriter::create(&path, header_groups, groups).map(drop).unwrap_err()
    };
    for (error, words) in [
        (
            refusal(256, &[(3, 1), (256, 1), (700, 2)]),
            "has no place for groups 256, 700; a header_groups above 700",
        ),
        (refusal(0, &[]), "header_groups is 0; 1 to 65536"),
        (refusal(65_537, &[]), "header_groups is 65537"),
        (refusal(256, &[(3, 1), (3, 1)]), "group 3 is given twice"),
        (refusal(256, &[(3, 0)]), "dim is 0 for group 3"),
    ] {
        assert_eq!(error.status(), InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let mut writer = ClassicWriter::create(&path, 256, &[(3, 2)]).unwrap();
    assert_eq!(refusal(256, &[]).status(), Busy);
    assert_eq!(writer.add_rows(4, &[1], &[1.0]).unwrap_err().status(), InvalidArgument);
    assert_eq!(writer.add_rows(300, &[1], &[1.0]).unwrap_err().status(), InvalidArgument);
    let error = writer.add_rows(3, &[1], &[1.0]).unwrap_err();
    assert!(error.message().contains("there are 1 weights and 1 keys of group 3"), "{error}");
    assert!(writer.bytes_written() == 256 * 12 && !path.exists());
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

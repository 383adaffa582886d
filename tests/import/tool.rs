//! `damo import`: its exit code and report, for scripts that move many tables.

use std::path::{Path, PathBuf};
use std::process::Command;

use damo::embedding::Embedding;
use damo::params::Params;
use serde_json::{Value, json};

use crate::common::{self, initializer, open, optimizer};

const RELEASES: [&str; 5] = ["1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12"];

fn fixture(release: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures").join(release).join(name)
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A storage "t" with group 0 of sgd and this dim.
    fn new(dim: usize) -> Scratch {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        let storage = open(&scratch.path("t"));
        let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
        drop(Embedding::new(storage, sgd, ones, dim, 0, &Params::new()).unwrap());
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The exit code, and the JSON of stdout, or of stderr when the code is not 0.
    fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_damo"))
            .arg("import")
            .args(arguments)
            .arg("--json")
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        let (said, quiet) =
            if code == 0 { (output.stdout, output.stderr) } else { (output.stderr, output.stdout) };
        assert!(quiet.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&quiet));
        (code, serde_json::from_slice(&said).unwrap())
    }

    fn fails(&self, code: i32, words: &[&str], arguments: &[&str]) {
        let (found, said) = self.run(arguments);
        let message = said["error"]["message"].as_str().unwrap();
        assert_eq!(found, code, "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message}");
        }
    }
}

#[test]
fn files_of_every_release() {
    for release in RELEASES {
        let scratch = Scratch::new(3);
        let header = if release == "1.1.12" { 40 } else { 32 };
        let order = if release == "1.0.5" { "time_first" } else { "num_first" };
        let dump = if release == "1.0.5" { "classic" } else { "counted" };
        for (kind, format, header, order) in
            [("checkpoint", "checkpoint", json!(header), order), ("dump", dump, json!(0), "absent")]
        {
            let path = fixture(release, &format!("sgd3.{kind}"));
            let (code, said) = scratch.run(&["t", path.to_str().unwrap()]);
            assert_eq!(
                (code, &said["records"], &said["imported"]),
                (0, &json!(5), &json!(5)),
                "{release}"
            );
            assert_eq!(
                (&said["format"], &said["order"]),
                (&json!(format), &json!(order)),
                "{release} {said}"
            );
            assert_eq!(said["value_header"], header, "{release} {kind}");
            // The same group, by its name.
            let (code, _) = scratch.run(&["t", path.to_str().unwrap(), "--format", format]);
            assert_eq!(code, 0, "{release} {kind}");
        }
    }
}

#[test]
fn files_of_which_nothing_fits() {
    for release in RELEASES {
        let other = Scratch::new(2);
        let path = fixture(release, "sgd3.checkpoint");
        other.fails(
            2,
            &["none of its 5 records", "its dim is 3; the group has 2"],
            &["t", path.to_str().unwrap()],
        );
        let path = fixture(release, "sgd3.dump");
        other.fails(
            2,
            &["none of its 5 records", "its dim is 3; the group has 2"],
            &["t", path.to_str().unwrap()],
        );
        // Of the twelve groups of "all", group 0 has adam and dim 1.
        let path = fixture(release, "all.checkpoint");
        other.fails(
            2,
            &["none of its 60 records", "1 is not registered"],
            &["t", path.to_str().unwrap()],
        );
        // The state of adam's rows does not fit sgd.
        let sgd = Scratch::new(1);
        sgd.fails(
            2,
            &["none of its 60 records", "it has 3 floats"],
            &["t", path.to_str().unwrap()],
        );
        // Its dump has weights for sgd.
        let path = fixture(release, "all.dump");
        let (code, said) = sgd.run(&["t", path.to_str().unwrap()]);
        assert_eq!((code, &said["imported"]), (0, &json!(5)));
        assert_eq!(said["refused"][0]["records"], json!(55));
    }
}

#[test]
fn files_without_the_group_that_was_asked_for() {
    for release in RELEASES {
        for kind in ["checkpoint", "dump"] {
            // Group 0 is there, and so is another one.
            let scratch = Scratch::new(3);
            let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
            drop(
                Embedding::new(open(&scratch.path("t")), sgd, ones, 3, 7, &Params::new()).unwrap(),
            );
            let path = fixture(release, &format!("sgd3.{kind}"));
            let path = path.to_str().unwrap();
            let words = ["none of its 5 records is of group 7", "they are of group 0"];
            scratch.fails(2, &words, &["t", path, "--group", "7"]);
            let (code, said) = scratch.run(&["t", path, "--group", "0"]);
            assert_eq!((code, &said["imported"], &said["other_groups"]), (0, &json!(5), &json!(0)));
        }
    }
}

#[test]
fn every_other_end() {
    let scratch = Scratch::new(3);
    let write = |name: &str, bytes: &[u8]| std::fs::write(scratch.path(name), bytes).unwrap();
    let whole = std::fs::read(fixture("1.1.12", "sgd3.checkpoint")).unwrap();
    let shorter = std::fs::read(fixture("1.0.6", "sgd3.checkpoint")).unwrap();
    write("good", &whole);
    write("cut", &whole[..whole.len() - 4]);
    write("longer", &[whole.as_slice(), &[0; 4]].concat());
    write("empty", &[]);
    write("no records", &[0; 8]);
    // Two records of each form.
    let two = |bytes: &[u8], record: usize| bytes[8..8 + 2 * record].to_vec();
    write("mixed", &[4_i64.to_le_bytes().to_vec(), two(&whole, 80), two(&shorter, 72)].concat());
    write("text", b"key,weights\n1,0.5\n");
    std::fs::create_dir(scratch.path("folder")).unwrap();
    common::copy_dir(&fixture("1.0.6", "killed"), &scratch.path("theirs"));

    assert_eq!(scratch.run(&["t", "good"]).0, 0);
    let (code, said) = scratch.run(&["t", "no records"]);
    assert_eq!((code, &said["records"]), (0, &json!(0)), "the file of an empty table");

    scratch.fails(2, &["<PATH>"], &["t"]);
    scratch.fails(2, &["\"csv\"", "'counted'"], &["t", "good", "--format", "csv"]);
    scratch.fails(2, &["header_groups"], &["t", "good", "--header-groups", "-1"]);
    scratch.fails(
        2,
        &["header_groups"],
        &["t", "good", "--format", "counted", "--header-groups", "8"],
    );
    scratch.fails(2, &["is a directory"], &["t", "folder"]);
    scratch.fails(2, &["rows of damo-embedding", "docs/migrating.md"], &["t", "theirs"]);
    scratch.fails(2, &["rows of damo-embedding", "docs/migrating.md"], &["theirs", "good"]);
    scratch.fails(3, &["nowhere"], &["t", "nowhere"]);
    scratch.fails(3, &["elsewhere"], &["elsewhere", "good"]);
    scratch.fails(3, &["user"], &["t", "good", "--group", "user"]);
    scratch.fails(5, &["not a whole checkpoint file"], &["t", "cut"]);
    scratch.fails(5, &["after its 5 records 4 bytes follow"], &["t", "longer"]);
    scratch.fails(5, &["it has 0 bytes"], &["t", "empty"]);
    scratch.fails(5, &["which is right cannot be told"], &["t", "mixed"]);
    scratch.fails(5, &["no such file"], &["t", "text"]);
    scratch.fails(5, &["classic dump"], &["t", "good", "--format", "classic"]);
    scratch.fails(5, &["counted dump"], &["t", "good", "--format", "counted"]);
    let _held = open(&scratch.path("t"));
    scratch.fails(4, &["another process"], &["t", "good"]);
}

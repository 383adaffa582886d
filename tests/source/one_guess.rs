//! The one-guess rule: `damo_<noun>_<verb>` is in `src/ffi/<noun>.rs`, or in
//! `src/ffi/<noun>/<verb>.rs`. The behaviour of storages and embeddings is in files of the same
//! names.

use std::fs;
use std::path::{Path, PathBuf};

const NOUNS: [&str; 24] = [
    "abi_version",
    "embedding",
    "executor",
    "failure",
    "filter",
    "gradients",
    "initializer",
    "iterator",
    "key_hash",
    "key_shard",
    "keys",
    "last_error",
    "lookup",
    "optimizer",
    "params",
    "pin",
    "rows",
    "scheduler",
    "status",
    "step",
    "storage",
    "table",
    "test",
    "version",
];

/// Where a function of a storage or embedding is at work, from src on, if no file has its verb's
/// name.
const ELSEWHERE: [(&str, &str); 16] = [
    ("damo_storage_new", "storage/open.rs"),
    ("damo_storage_free", "storage/mod.rs"),
    ("damo_storage_load_from_checkpoint", "storage/checkpoint/load.rs"),
    ("damo_storage_dump_with_progress", "storage/dump/mod.rs"),
    ("damo_storage_import_counted", "storage/import/mod.rs"),
    ("damo_storage_import_with", "storage/import/mod.rs"),
    ("damo_storage_import_report", "storage/import/report.rs"),
    ("damo_embedding_new", "embedding/mod.rs"),
    ("damo_embedding_free", "embedding/mod.rs"),
    ("damo_embedding_lookup_counted", "embedding/lookup_counted.rs"),
    ("damo_embedding_group", "embedding/mod.rs"),
    ("damo_embedding_step", "embedding/step.rs"),
    ("damo_embedding_set_filter", "embedding/admission.rs"),
    ("damo_embedding_prefetch", "engine/prefetch.rs"),
    ("damo_embedding_lookup_at", "engine/rows/once.rs"),
    ("damo_embedding_apply_gradients_once", "engine/rows/once.rs"),
];

struct Source {
    /// From the folder on that was asked for, such as `storage/dump.rs`.
    path: String,
    /// Without comments, and with one space for any white space.
    code: String,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files below `folder`.
fn sources(folder: &Path) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, code: code(&text) });
            }
        }
    }
    found
}

fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

/// The names of the functions that C can call, wherever the lines break.
fn functions(code: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.split("extern \"C\" fn ")
        .skip(1)
        .map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap_or_default())
        .filter(|name| name.starts_with("damo_"))
        .collect()
}

/// The noun and the verb of a function. The verb of a `damo_<noun>` is empty.
fn noun_and_verb(function: &str) -> Option<(&str, &str)> {
    let name = function.strip_prefix("damo_")?;
    NOUNS.iter().find_map(|noun| match name.strip_prefix(noun)? {
        "" => Some((*noun, "")),
        rest => Some((*noun, rest.strip_prefix('_')?)),
    })
}

/// The files in which a function may be, from src/ffi on.
fn places(noun: &str, verb: &str) -> Vec<String> {
    let mut places = vec![format!("{noun}.rs")];
    if !verb.is_empty() {
        places.push(format!("{noun}/{verb}.rs"));
    }
    places
}

#[test]
fn every_function_is_where_its_name_says() {
    let (mut found, mut wrong) = (0, Vec::new());
    for Source { path, code } in sources(&src().join("ffi")) {
        let functions = functions(&code);
        let exported = code.matches("no_mangle").count() + code.matches("export_name").count();
        assert_eq!(
            exported,
            functions.len(),
            "src/ffi/{path} exports {exported} functions, and these are found: {functions:?}; \
             write extern \"C\" fn damo_<noun>_<verb>, not a macro that makes the name"
        );
        for function in functions {
            let (noun, verb) = noun_and_verb(function)
                .unwrap_or_else(|| panic!("{function}: its noun is none of {NOUNS:?}"));
            let places = places(noun, verb);
            // A noun with a folder has its own file in there.
            if !places.contains(&path.replace("/mod.rs", ".rs")) {
                let places = places.join(" or src/ffi/");
                wrong.push(format!("{function} is in src/ffi/{path} and not in src/ffi/{places}"));
            }
            found += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found > 80, "{found} functions were found");
}

/// The files in which a function of a storage or embedding may be at work, from src on.
fn rooms(function: &str) -> Vec<String> {
    if let Some((_, file)) = ELSEWHERE.iter().find(|(name, _)| *name == function) {
        return vec![(*file).to_owned()];
    }
    match noun_and_verb(function) {
        Some(("storage", verb)) => {
            vec![format!("storage/{verb}.rs"), format!("storage/{verb}/mod.rs")]
        }
        // What happens to rows.
        Some(("embedding", verb)) => vec![format!("engine/rows/{verb}.rs")],
        _ => Vec::new(),
    }
}

#[test]
fn every_verb_has_a_file_below_the_boundary() {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for source in sources(&src().join("ffi")) {
        for function in functions(&source.code) {
            let rooms = rooms(function);
            if rooms.is_empty() {
                continue;
            }
            if !rooms.iter().any(|file| src().join(file).is_file()) {
                missing.push(format!("{function}: there is no src/{}", rooms.join(" or src/")));
            }
            found.push(function.to_owned());
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for (function, _) in ELSEWHERE {
        assert!(found.iter().any(|name| name == function), "{function} is no function");
    }
    assert!(found.len() > 30, "{} functions were found", found.len());
}

#[test]
fn only_the_boundary_exports_functions() {
    for Source { path, code } in sources(&src()) {
        assert!(path.starts_with("ffi/") || functions(&code).is_empty(), "src/{path}");
    }
}

#[test]
fn names_are_taken_apart_at_the_noun() {
    let cases = [
        ("damo_storage_row_count", Some(("storage", "row_count"))),
        ("damo_key_hash", Some(("key_hash", ""))),
        ("damo_key_hash_batch", Some(("key_hash", "batch"))),
        ("damo_version", Some(("version", ""))),
        ("damo_versions_list", None),
        ("damo_storages_new", None),
    ];
    for (function, expected) in cases {
        assert_eq!(noun_and_verb(function), expected, "{function}");
    }
}

#[test]
fn functions_are_found_across_lines_and_not_in_comments() {
    let text = "/// extern \"C\" fn damo_a_b()\npub unsafe extern \"C\"\n    fn\ndamo_c_d(\n";
    assert_eq!(functions(&code(text)), ["damo_c_d"]);
}

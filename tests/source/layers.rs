//! Layers look down only; RocksDB is named in one file; unsafe code lives at the boundary and in SIMD kernels; files
//! stay small.

use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom. A layer may use those below it, never those above.
const LAYERS: [&str; 23] = [
    // The command-line tool.
    "bin",
    // Entry points of the fuzz targets.
    "fuzzing",
    "ffi",
    "embedding",
    "storage",
    "journal",
    "cache",
    "table",
    "filter",
    "optimizer",
    "initializer",
    "scheduler",
    "params",
    "key_hash",
    "memory",
    "prefetch",
    "publish",
    "locks",
    "copy",
    "regular",
    "file_size_limit",
    "random_id",
    "reserved",
];
/// At the bottom: used by all, uses none.
const ERROR: &str = "error";
/// Beside the boundary: SIMD kernels, the memory of the cache, mapped files, and a signal.
const UNSAFE_FILES: [&str; 6] = [
    "optimizer/x86.rs",
    "prefetch.rs",
    "cache/memory.rs",
    "table/system.rs",
    "filter/map.rs",
    "file_size_limit.rs",
];

struct Source {
    layer: String,
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
            let layer = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            found.push(Source { layer, text: fs::read_to_string(&path).unwrap(), path });
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn rank(layer: &str) -> usize {
    LAYERS.iter().position(|known| *known == layer).unwrap_or_else(|| {
        assert_eq!(layer, ERROR, "'{layer}' is not in the list of layers: give it a place");
        LAYERS.len()
    })
}

#[test]
fn layers_look_down_only() {
    for source in sources().iter().filter(|source| source.layer != "lib") {
        for used in source.text.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used.is_empty() {
                continue;
            }
            assert!(
                rank(&used) >= rank(&source.layer),
                "{} ({}) uses {used}, which is above it",
                source.path.display(),
                source.layer
            );
        }
    }
}

#[test]
fn rocksdb_is_named_in_one_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/rocks");
    for source in sources() {
        let names_it = source.text.contains("rust_rocksdb");
        assert!(!names_it || source.path.starts_with(&folder), "{}", source.path.display());
    }
}

#[test]
fn unsafe_code_lives_at_the_boundary_and_in_simd_kernels() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = UNSAFE_FILES.map(|file| src.join(file));
    let sources = sources();
    for file in &allowed {
        assert!(
            sources.iter().any(|source| source.path == *file),
            "{} is not there",
            file.display()
        );
    }
    for source in sources.iter().filter(|source| source.layer != "ffi" && source.layer != "lib") {
        if allowed.contains(&source.path) {
            continue;
        }
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // The tool says so itself.
        let mut code = code.filter(|line| *line != "#![deny(unsafe_code)]");
        assert!(!code.any(|line| line.contains("unsafe")), "{}", source.path.display());
    }
}

#[test]
fn files_stay_small_and_say_what_they_are_for() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", source.path.display());
        assert!(
            source.text.starts_with("//! "),
            "{} does not say what it is for",
            source.path.display()
        );
    }
}

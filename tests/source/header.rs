//! include/damo.h is what cbindgen makes of src/ffi today. `DAMO_UPDATE=1` writes it instead of
//! comparing.

use std::fs;
use std::path::Path;

use crate::uses::sources;

/// The files that define the interface, in the order in which a reader meets the nouns. cbindgen
/// follows the modules of a folder, in the order of its mod.rs.
const FILES: [&str; 26] = [
    "error.rs",
    "ffi/version.rs",
    "ffi/abi_version.rs",
    "ffi/status.rs",
    "ffi/last_error.rs",
    "ffi/kept_failures.rs",
    "ffi/failure.rs",
    "ffi/params.rs",
    "ffi/initializer.rs",
    "ffi/scheduler.rs",
    "ffi/optimizer.rs",
    "ffi/filter.rs",
    "ffi/storage/mod.rs",
    "ffi/lookup.rs",
    "ffi/embedding/mod.rs",
    "ffi/step/mod.rs",
    "ffi/pin.rs",
    "ffi/iterator.rs",
    "ffi/table.rs",
    "ffi/executor.rs",
    "ffi/key_hash.rs",
    "ffi/key_shard.rs",
    "ffi/keys.rs",
    "ffi/rows.rs",
    "ffi/gradients.rs",
    "ffi/test.rs",
];

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let version = |name: &str, value: &str| format!("#define DAMO_VERSION_{name} {value}");
    config.after_includes = Some(
        [
            "",
            "/* The version of this header; damo_version() gives that of the loaded library. */",
            &version("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
            &version("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
            &version("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
            "",
            "/**",
            " * The number of the binary interface that this header describes.",
            " *",
            " * It rises when a function is removed or changes its meaning; new functions do not \
             raise it.",
            " * Compare it with damo_abi_version() after loading the library at run time.",
            " *",
            " * Define DAMO_CASE_INSENSITIVE to leave the constant out, for languages that ignore \
             case, such",
            " * as Ada: for them it has the name of that function.",
            " */",
            "#ifndef DAMO_CASE_INSENSITIVE",
            &format!("#define DAMO_ABI_VERSION {}", damo::ffi::DAMO_ABI_VERSION),
            "#endif",
        ]
        .join("\n"),
    );
    let mut header = Vec::new();
    FILES
        .iter()
        .fold(cbindgen::Builder::new().with_config(config), |builder, file| {
            builder.with_src(root.join("src").join(file))
        })
        .generate()
        .unwrap()
        .write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn committed_header_is_what_the_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/damo.h");
    let generated = generate();
    if std::env::var_os("DAMO_UPDATE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/damo.h is stale; run: DAMO_UPDATE=1 cargo test --release --test source header"
    );
}

#[test]
fn every_file_of_the_boundary_is_in_the_header() {
    let header = generate();
    for source in sources().iter().filter(|source| source.room() == "ffi") {
        for line in source.text.lines().filter(|line| line.contains("extern \"C\" fn damo_")) {
            let name = line.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            assert!(header.contains(&format!("{name}(")), "{name} is missing from the header");
        }
    }
}

/// Generators take an indented list in a comment for code, and try to compile it.
#[test]
fn lists_in_comments_are_fenced() {
    let (mut is_fenced, mut fences) = (false, 0);
    for line in generate().lines() {
        let Some(text) = line.trim_start().strip_prefix("* ") else { continue };
        if text.starts_with("```") {
            is_fenced = !is_fenced;
            fences += 1;
        }
        assert!(is_fenced || !text.starts_with("    "), "'{text}' needs ```text around it");
    }
    assert!(fences > 10 && !is_fenced);
}

//! Generators of bindings, whatever their language, need from damo.h: numbers that are literals,
//! names that differ in more than case, types that they know, and comments without code.

use std::collections::BTreeMap;
use std::path::Path;

fn header() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/damo.h")).unwrap()
}

/// The header without comments and directives, as one line.
fn declarations() -> String {
    let (mut text, mut code) = (header(), String::new());
    while let Some(start) = text.find("/*") {
        let end = start + text[start..].find("*/").unwrap() + 2;
        text.replace_range(start..end, " ");
    }
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.for_each(|line| code.extend([line.split("//").next().unwrap(), " "]));
    code
}

/// Words that begin with `damo`, in any case.
fn names(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.to_ascii_lowercase().starts_with("damo")).map(str::to_owned).collect()
}

/// UINT32_MAX is no literal: cffi, clang2py, Ada, PHP, LuaJIT and SWIG lose the macro.
#[test]
fn every_macro_is_a_decimal_literal() {
    let mut found = 0;
    for line in header().lines() {
        let Some(rest) = line.trim().strip_prefix("#define DAMO_") else { continue };
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        if name == "H" {
            continue;
        }
        let is_decimal = value == "0" || !value.starts_with('0');
        assert!(is_decimal && value.parse::<u64>().is_ok(), "DAMO_{name} is '{value}'");
        found += 1;
    }
    assert!(found >= 7, "{found} macros");
    for group in ["DAMO_ALL_GROUPS 4294967295", "DAMO_GROUP_BY_NAME 4294967294"] {
        assert!(header().contains(group), "{group}");
    }
}

/// Ada, Pascal, Fortran and SQL take such names for one.
#[test]
fn no_two_names_differ_in_case_only() {
    let mut seen = BTreeMap::new();
    let without = header().replace("#define DAMO_ABI_VERSION", "#define");
    let text: String = without
        .lines()
        .filter(|line| !line.trim_start().starts_with('*'))
        .collect::<Vec<_>>()
        .join("\n");
    for name in names(&text) {
        // A struct and its typedef share a name on purpose.
        let other = seen.entry(name.to_ascii_lowercase()).or_insert_with(|| name.clone());
        assert_eq!(*other, name);
    }
    assert!(seen.len() > 100, "{}", seen.len());
    // The one macro that differs from a function only in case can be left out.
    assert!(header().contains("#ifndef DAMO_CASE_INSENSITIVE\n#define DAMO_ABI_VERSION"));
}

/// rustdoc compiles indented lines of the comments that bindgen copies, and Doxygen loses their
/// columns.
#[test]
fn lists_in_comments_are_fenced() {
    let (mut fenced, mut lists) = (false, 0);
    for line in header().lines() {
        let Some(text) = line.strip_prefix(" *").filter(|text| !text.starts_with('/')) else {
            assert!(!fenced, "a fence is open at '{line}'");
            continue;
        };
        if text.trim_start().starts_with("```") {
            assert!(fenced || text == " ```text", "'{line}' would be code of another language");
            fenced = !fenced;
            lists += usize::from(fenced);
        } else {
            assert!(fenced || !text.starts_with("     "), "'{line}' would be code");
        }
    }
    assert!(!fenced && lists >= 5, "{lists} lists");
}

/// No `long`, `int` or `unsigned`, whose sizes differ; no bit field, union, variadic function or
/// array parameter.
#[test]
fn every_type_has_one_size_everywhere() {
    let code = declarations();
    let declared = code.split([';', '{', '}', ',', '(', ')']).map(str::trim);
    for piece in declared.clone() {
        for word in piece.split_whitespace() {
            let sized = !matches!(
                word,
                "long" | "short" | "int" | "unsigned" | "signed" | "double*" | "union"
            );
            assert!(sized, "'{piece}' has {word}");
        }
        assert!(!piece.contains("...") && !piece.contains('['), "'{piece}'");
    }
    assert!(declared.filter(|piece| piece.contains("int64_t")).count() > 20);
}

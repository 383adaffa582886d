//! Lines have at most 100 columns, and functions of src at most 60 lines.

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;
const LINES: usize = 60;
/// The suffixes of the files whose lines are measured.
const SUFFIXES: [&str; 8] = ["c", "cpp", "h", "hpp", "i", "md", "py", "rs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The lines of a folder's .gitignore: paths from that folder, and names of anything below it.
struct Ignored(Vec<String>);

impl Ignored {
    fn read(folder: &Path) -> Ignored {
        let text = fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
        Ignored(text.lines().map(|line| line.trim_end_matches('/').to_owned()).collect())
    }

    fn has(&self, path: &str, name: &str) -> bool {
        self.0.iter().any(|ignored| match ignored.strip_prefix('/') {
            Some(from_there) => from_there == path,
            None => ignored == name,
        })
    }
}

/// The path of every file of the project from its root. Hidden and ignored files are left out by
/// their names, because an unpacked archive has no git.
fn files() -> Vec<PathBuf> {
    let (root, mut found) = (root(), Vec::new());
    let ignored = Ignored::read(&root);
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let here = Ignored::read(&folder);
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let from_root = path.strip_prefix(&root).unwrap().to_owned();
            let is_ignored = ignored.has(from_root.to_str().unwrap(), &name);
            if name.starts_with('.') || is_ignored || here.has(&name, &name) {
                continue;
            }
            match entry.file_type().unwrap() {
                // Cargo marks its target directory, whatever its name.
                kind if kind.is_dir() && !path.join("CACHEDIR.TAG").exists() => folders.push(path),
                kind if kind.is_file() => found.push(from_root),
                _ => {}
            }
        }
    }
    found.sort();
    assert!(found.iter().any(|path| path == Path::new("src/lib.rs")), "the files were not found");
    found
}

fn suffix(path: &Path) -> &str {
    path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default()
}

/// Whether a line cannot be broken: in Markdown a row of a table or an indented command or output,
/// elsewhere a single word, such as a URL, behind the marks of a comment or a list.
fn is_unbreakable(line: &str, suffix: &str) -> bool {
    let begins = |word: &&str| word.chars().all(|char| "/!*#->:.".contains(char));
    suffix == "md" && (line.starts_with('|') || line.starts_with("    "))
        || line.split_whitespace().skip_while(begins).count() == 1
}

#[test]
fn lines_have_at_most_100_columns() {
    let mut wide = Vec::new();
    for path in files().iter().filter(|path| SUFFIXES.contains(&suffix(path))) {
        let text = String::from_utf8(fs::read(root().join(path)).unwrap()).unwrap();
        // What a program prints is shown as it is.
        let mut is_output = false;
        for (index, line) in text.lines().enumerate() {
            if suffix(path) == "md" && line.starts_with("```") {
                is_output = line == "```text";
            }
            let columns = line.chars().count();
            if columns > COLUMNS && !is_output && !is_unbreakable(line, suffix(path)) {
                wide.push(format!("{}:{}: {columns} columns", path.display(), index + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{} lines are too wide:\n{}", wide.len(), wide.join("\n"));
}

/// The name of the function that begins on a line, if one does.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| {
        ["async", "const", "extern", "\"C\"", "unsafe"].contains(&word) || word.starts_with("pub")
    };
    let is_function = before.split_whitespace().all(is_qualifier);
    is_function.then(|| after.split(['(', '<']).next().unwrap())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The number of lines of the function that begins on the first: rustfmt puts its last brace below
/// its first word. A declaration has none.
fn length(lines: &[&str]) -> usize {
    let is_end = |line: &&str| {
        indent(line) == indent(lines[0]) && (line.ends_with('}') || line.ends_with(';'))
    };
    let end = lines.iter().position(is_end).expect("the function ends");
    if lines[end].ends_with('}') { end + 1 } else { 0 }
}

#[test]
fn functions_have_at_most_60_lines() {
    let (mut count, mut long) = (0, Vec::new());
    for path in files().iter().filter(|path| path.starts_with("src") && suffix(path) == "rs") {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = function(line) else { continue };
            let length = length(&lines[index..]);
            count += 1;
            if length > LINES {
                long.push(format!("{}:{}: {name} has {length} lines", path.display(), index + 1));
            }
        }
    }
    assert!(count > 1000, "only {count} functions were found");
    assert!(long.is_empty(), "{} functions are too long:\n{}", long.len(), long.join("\n"));
}

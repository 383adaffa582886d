//! Which file of src uses which other: `use` and paths in the code, followed through re-exports to
//! the file that defines what is named.
//!
//! Comments, strings and unit tests are left out. A re-export is not a use: the file that imports
//! the name uses the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of src.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
    /// Its module, `engine::rows::load`; empty for lib.rs.
    pub module: String,
}

impl Source {
    /// The first part of the module: a folder of src or a file there.
    pub fn room(&self) -> &str {
        room(&self.module)
    }
}

pub fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

pub fn sources() -> Vec<Source> {
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
            let relative = path.strip_prefix(&src).unwrap().with_extension("");
            let mut parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
            if ["mod", "main"].contains(parts.last().unwrap()) || parts == ["lib"] {
                parts.pop();
            }
            let module = parts.join("::");
            found.push(Source { text: fs::read_to_string(&path).unwrap(), path, module });
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every pair of modules of which the first uses the second.
pub fn edges(sources: &[Source]) -> BTreeSet<(String, String)> {
    let modules = sources.iter().map(|source| source.module.clone()).collect();
    let parsed: Vec<_> = sources.iter().map(|source| Parsed::new(source, &modules)).collect();
    let mut names = BTreeMap::new();
    for file in &parsed {
        for leaf in &file.imports {
            if let Some(path) = absolute(&leaf.path, &file.module, &modules) {
                names.insert((file.module.clone(), leaf.name.clone()), path);
            }
        }
    }
    let names = Names { modules, names };
    let mut edges = BTreeSet::new();
    for file in &parsed {
        let leaves = file.imports.iter().filter(|leaf| !leaf.is_public).map(|leaf| &leaf.path);
        for path in leaves.chain(&file.paths) {
            let Some(path) = names.start(path, &file.module) else { continue };
            // The name of a module alone is no use of what is in it.
            if names.modules.contains(&path.join("::")) {
                continue;
            }
            if let Some(target) = names.definer(&path, 0).filter(|target| *target != file.module) {
                edges.insert((file.module.clone(), target));
            }
        }
    }
    edges
}

/// What a file says.
struct Parsed {
    module: String,
    imports: Vec<Leaf>,
    /// Paths of two names or more, outside of `use`.
    paths: Vec<Vec<String>>,
}

/// One name that a `use` brings in.
struct Leaf {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

impl Parsed {
    fn new(source: &Source, _modules: &BTreeSet<String>) -> Parsed {
        let code = without_text(&source.text);
        let code = code.split("\nmod tests {").next().unwrap();
        let mut imports = Vec::new();
        let mut rest = String::new();
        let mut lines = code.split_inclusive('\n');
        while let Some(line) = lines.next() {
            let start = line.trim_start();
            let at = match start.split_once("use ") {
                Some((before, tree)) if before.is_empty() || before.starts_with("pub") => tree,
                _ => {
                    rest.push_str(line);
                    continue;
                }
            };
            let mut tree = at.to_owned();
            while !tree.contains(';') {
                tree.push_str(lines.next().expect("a use has an end"));
            }
            let tree: String =
                tree.split(';').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
            let is_public = start.starts_with("pub");
            expand(&tree, &[], &mut |path, name| {
                imports.push(Leaf { path, name, is_public });
            });
        }
        Parsed { module: source.module.clone(), imports, paths: paths(&rest) }
    }
}

/// Calls `found` for each name of a tree of `use`.
fn expand(tree: &str, before: &[String], found: &mut impl FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, Some(group.strip_suffix('}').expect("a group has an end"))),
        None => (tree, None),
    };
    let mut path = before.to_vec();
    let (head, alias) = head.split_once(" as ").map_or((head, None), |(a, b)| (a, Some(b)));
    path.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(group) = group else {
        if path.last().is_some_and(|last| ["self", "*"].contains(&last.as_str())) && path.len() > 1
        {
            path.pop();
        }
        let name = alias.map_or_else(|| path.last().unwrap().clone(), str::to_owned);
        return found(path, name);
    };
    let (mut depth, mut start) = (0, 0);
    for (at, char) in group.char_indices().chain([(group.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &group[start..at];
                if !part.trim().is_empty() {
                    expand(part, &path, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths of two names or more in code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_part = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    let words = code.split(|char| !is_part(char)).filter(|word| word.contains("::"));
    let split = |word: &str| word.split("::").map(str::to_owned).collect::<Vec<_>>();
    let mut found: Vec<_> = words.map(split).filter(|path| !path[0].is_empty()).collect();
    for path in &mut found {
        path.retain(|part| !part.is_empty() && !part.contains(':'));
    }
    found.retain(|path| path.len() > 1);
    found
}

/// The modules of src, and what each name in each of them is.
struct Names {
    modules: BTreeSet<String>,
    names: BTreeMap<(String, String), Vec<String>>,
}

impl Names {
    /// A path from the root; None for one of another crate.
    fn start(&self, path: &[String], module: &str) -> Option<Vec<String>> {
        if let Some(path) = absolute(path, module, &self.modules) {
            return Some(path);
        }
        let start = self.names.get(&(module.to_owned(), path[0].clone()))?;
        Some(start.iter().chain(&path[1..]).cloned().collect())
    }

    /// The module that defines what a path from the root names.
    fn definer(&self, path: &[String], depth: usize) -> Option<String> {
        assert!(depth < 20, "re-exports run in a circle at {path:?}");
        let mut len = 0;
        while len < path.len() && self.modules.contains(&path[..len + 1].join("::")) {
            len += 1;
        }
        let module = path[..len].join("::");
        let Some(name) = path.get(len) else { return Some(module) };
        match self.names.get(&(module.clone(), name.clone())) {
            Some(target) => {
                let path: Vec<_> = target.iter().chain(&path[len + 1..]).cloned().collect();
                self.definer(&path, depth + 1)
            }
            None => (len > 0).then_some(module),
        }
    }
}

/// A path from the root, of one that begins with `crate`, `damo`, `super`, `self` or a module of
/// the file's own.
fn absolute(path: &[String], module: &str, modules: &BTreeSet<String>) -> Option<Vec<String>> {
    let own = || module.split("::").filter(|part| !part.is_empty()).map(str::to_owned);
    let mut rest = path;
    let mut start: Vec<String> = match path[0].as_str() {
        "crate" if room(module) == "bin" => own().take(2).collect(),
        "crate" | "damo" => Vec::new(),
        "self" | "super" => own().collect(),
        first => {
            let child: Vec<_> = own().chain([first.to_owned()]).collect();
            return modules
                .contains(&child.join("::"))
                .then(|| own().chain(path.iter().cloned()).collect());
        }
    };
    while let Some(first) = rest.first() {
        match first.as_str() {
            "super" => drop(start.pop()),
            "self" | "crate" | "damo" => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    start.extend(rest.iter().cloned());
    Some(start)
}

/// Code without comments, strings and characters.
fn without_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            start + rest[start..].find(&end).unwrap() + end.len()
        } else if rest.starts_with('"') {
            let mut len = 1;
            while bytes[at + len] != b'"' {
                len += if bytes[at + len] == b'\\' { 2 } else { 1 };
            }
            len + 1
        } else if let Some(len) = char_literal(rest) {
            len
        } else {
            let char = rest.chars().next().unwrap();
            code.push(char);
            at += char.len_utf8();
            continue;
        };
        at += skipped;
    }
    code
}

/// The bytes of a character in quotes at the start; None for a lifetime.
fn char_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        return Some(2 + escaped[1..].find('\'')? + 2);
    }
    let char = inner.chars().next()?;
    inner[char.len_utf8()..].starts_with('\'').then_some(2 + char.len_utf8())
}

//! What benches take from src by its path is there. No other test builds benches/parts.

use std::fs;
use std::path::Path;

#[test]
fn files_that_the_parts_bench_includes_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/parts");
    let text = fs::read_to_string(folder.join("parts.rs")).unwrap();
    let paths: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"))
        .collect();
    assert!(paths.len() > 3, "{paths:?}");
    for path in paths {
        assert!(folder.join(path).is_file(), "benches/parts/parts.rs includes '{path}'");
    }
}

//! The shared library exports exactly the functions of tests/source/symbols.txt, under its SONAME.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library of this test's own build: it lies beside the test executable.
fn library() -> PathBuf {
    let name = if cfg!(target_os = "macos") { "libdamo.dylib" } else { "libdamo.so" };
    let executable = std::env::current_exe().unwrap();
    executable.with_file_name(name)
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exports_are_the_committed_list() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/source/symbols.txt");
    let symbols = output(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let mut exported: Vec<&str> =
        symbols.lines().filter_map(|line| line.split(' ').next_back()).collect();
    exported.sort_unstable();
    let exported = exported.join("\n") + "\n";
    if std::env::var_os("DAMO_UPDATE").is_some() {
        std::fs::write(&list, &exported).unwrap();
    }
    let committed = std::fs::read_to_string(&list).unwrap_or_default();
    assert_eq!(
        exported, committed,
        "a changed list is a changed interface: DAMO_UPDATE=1 writes it"
    );
}

/// Functions that make descriptors, and functions that src/ffi/descriptors.rs replaces. If the
/// library called one all the same, one of its files could get number 0, 1 or 2.
#[cfg(target_os = "linux")]
const MAKERS: [&str; 55] = [
    "open",
    "open64",
    "__open_2",
    "__open64_2",
    "openat",
    "openat64",
    "__openat_2",
    "__openat64_2",
    "openat2",
    "open_by_handle_at",
    "creat",
    "creat64",
    "fopen",
    "fopen64",
    "freopen",
    "freopen64",
    "opendir",
    "scandir",
    "scandir64",
    "fts_open",
    "ftw",
    "nftw",
    "nftw64",
    "glob",
    "glob64",
    "dup",
    "mkstemp",
    "mkstemp64",
    "mkostemp",
    "mkostemp64",
    "tmpfile",
    "tmpfile64",
    "shm_open",
    "memfd_create",
    "popen",
    "pipe",
    "pipe2",
    "socket",
    "socketpair",
    "accept",
    "accept4",
    "eventfd",
    "timerfd_create",
    "signalfd",
    "epoll_create",
    "epoll_create1",
    "inotify_init1",
    "sysconf",
    "localtime_r",
    "pthread_setname_np",
    "pthread_getattr_np",
    "strerror_r",
    "__xpg_strerror_r",
    "_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
    "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode",
];

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn nothing_makes_a_descriptor_past_the_functions_that_keep_below_three_free() {
    let symbols = output(Command::new("nm").args(["-D", "--undefined-only"]).arg(library()));
    let names = symbols.lines().filter_map(|line| line.split_whitespace().next_back());
    let imported: Vec<&str> = names.filter_map(|name| name.split('@').next()).collect();
    assert!(imported.contains(&"fdopen"), "the names are not where they were looked for");
    let makers: Vec<&&str> = imported.iter().filter(|name| MAKERS.contains(name)).collect();
    assert!(
        makers.is_empty(),
        "{makers:?}: give them a place in build.rs and src/ffi/descriptors.rs"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn soname_carries_the_abi_version() {
    let dynamic = output(Command::new("readelf").arg("-d").arg(library()));
    let expected = format!("[libdamo.so.{}]", damo::ffi::DAMO_ABI_VERSION);
    assert!(
        dynamic.lines().any(|line| line.contains("SONAME") && line.contains(&expected)),
        "{dynamic}"
    );
}

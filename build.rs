//! Linker options of the C library: its SONAME, and the export of nothing but `damo_*`.

/// The functions that src/ffi/descriptors.rs replaces.
const OPENING: [&str; 23] = [
    "open",
    "open64",
    "__open_2",
    "__open64_2",
    "openat",
    "openat64",
    "__openat_2",
    "__openat64_2",
    "creat",
    "creat64",
    "fopen",
    "fopen64",
    "opendir",
    "dup",
    "sysconf",
    "localtime_r",
    "pthread_setname_np",
    "pthread_getattr_np",
    "strerror_r",
    "__xpg_strerror_r",
    "_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
    "_ZNSt6thread20hardware_concurrencyEv",
    "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode",
];

/// The functions that src/ffi/start_thread.cc, src/ffi/page_cache.cc and src/ffi/memory_maps.rs
/// replace, also in programs that link the crate.
const REPLACED: [&str; 6] = [
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE",
    "_ZNSt6thread4joinEv",
    "_ZN7rocksdb13CompactionJob3RunEv",
    concat!(
        "_ZN7rocksdb13SstFileWriterC1ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_10ComparatorEPNS_",
        "18ColumnFamilyHandleEbNS_3Env10IOPriorityE",
    ),
    concat!(
        "_ZN7rocksdb13SstFileWriterC2ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_10ComparatorEPNS_",
        "18ColumnFamilyHandleEbNS_3Env10IOPriorityE",
    ),
    "mmap",
];

/// What is linked so.
const LINKED: [&str; 4] =
    ["cdylib-link-arg", "link-arg-bins", "link-arg-tests", "link-arg-benches"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    // The number in the SONAME is DAMO_ABI_VERSION; tests/source/symbols.rs compares the two.
    match os.as_str() {
        "linux" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdamo.so.1");
            // Without this every #[no_mangle] of a dependency would be exported, too. A version
            // script of our own is no option: rustc passes one, and linkers refuse or ignore a
            // second.
            println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
            // Keeps RocksDB's static objects from being destroyed: src/ffi/exit.rs.
            let env = std::env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
            let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
            if env == "gnu" && (arch == "x86_64" || arch == "aarch64") {
                println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap=__cxa_atexit");
                // Keeps files from getting descriptor 0, 1 or 2: src/ffi/descriptors.rs.
                for function in OPENING {
                    println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap={function}");
                }
                let sources = ["src/ffi/start_thread.cc", "src/ffi/page_cache.cc"];
                sources.iter().for_each(|file| println!("cargo::rerun-if-changed={file}"));
                cc::Build::new().cpp(true).std("c++17").files(sources).compile("damo_replaced");
                for function in REPLACED {
                    for linked in LINKED {
                        println!("cargo::rustc-{linked}=-Wl,--wrap={function}");
                        // GNU's linkers go through an archive once. Without this they would leave
                        // out what only RocksDB calls, which they come to later.
                        println!("cargo::rustc-{linked}=-Wl,--undefined=__wrap_{function}");
                    }
                }
            }
        }
        "macos" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libdamo.1.dylib")
        }
        _ => {}
    }
}

//! Rows that are read from disk, in each way that the options allow.

use std::path::Path;

use damo::storage::Storage;

use crate::common::{int, lookup, params, rerun, sgd, text};

/// More than RocksDB is asked for after opening.
const KEYS: i64 = 6_000;
const DIM: usize = 8;
const WAYS: [&str; 3] = ["blocks_read_mapped", "blocks_read_by_io_uring", "blocks_read_by_pread"];

/// A storage whose rows are on disk only: the row of key k is k in all columns.
fn fill(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[])).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    let rows: Vec<f32> = keys.iter().flat_map(|key| [*key as f32; DIM]).collect();
    embedding.insert(&keys, &rows).unwrap();
}

/// Looks up all rows, in calls of so many. Returns how many blocks were read in which way.
fn read(dir: &Path, options: &[(&str, &str)], batch: usize) -> [u64; WAYS.len()] {
    let mut options: Vec<_> = options.iter().map(|(name, value)| (*name, text(value))).collect();
    options.push(("threads", int(2)));
    let storage = Storage::open(dir, 0, &params(&options)).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let keys: Vec<i64> = (0..=KEYS).collect();
    for keys in keys.chunks(batch) {
        let weights = lookup(&embedding, keys);
        for (key, row) in keys.iter().zip(weights.chunks_exact(DIM)) {
            let expected = if *key == KEYS { 1.0 } else { *key as f32 };
            assert_eq!(row, [expected; DIM], "key {key}");
        }
    }
    assert!(storage.stat("rows_loaded").unwrap() >= KEYS as u64);
    WAYS.map(|way| storage.stat(way).unwrap())
}

#[test]
fn options_tell_how_blocks_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for batch in [KEYS as usize + 1, 1500, 40] {
        for (mapped_reads, io_uring) in
            [("auto", "auto"), ("auto", "off"), ("off", "auto"), ("off", "off")]
        {
            let options = [("mapped_reads", mapped_reads), ("io_uring", io_uring)];
            let reads = read(dir.path(), &options, batch);
            println!("calls of {batch} keys, {options:?}: {reads:?} {WAYS:?}");
            let [mapped, by_io_uring, by_pread] = reads;
            assert!(mapped + by_io_uring + by_pread > 0);
            assert!(mapped_reads == "auto" || mapped == 0);
            assert!(io_uring == "auto" || by_io_uring == 0);
        }
    }
}

/// What was just written is in the page cache.
#[test]
#[cfg(target_os = "linux")]
fn a_warm_table_is_read_from_mapped_files() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let [mapped, by_io_uring, by_pread] = read(dir.path(), &[("mapped_reads", "auto")], 1000);
    let others = by_io_uring + by_pread;
    assert!(mapped > others, "{mapped} mapped, {others} by calls");
}

/// How much of a file the page cache has, of 1.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn cached_part(path: &Path) -> f64 {
    let file = std::fs::File::open(path).unwrap();
    // SAFETY: nobody writes to an SST file that is listed.
    let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
    let mut pages = vec![0_u8; map.len().div_ceil(rustix::param::page_size())];
    // SAFETY: the range is the mapping's, and there is room for a byte for each of its pages.
    let asked =
        unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    assert_eq!(asked, 0);
    pages.iter().filter(|page| *page & 1 == 1).count() as f64 / pages.len() as f64
}

/// RocksDB, left to itself, drops there what it has written.
#[test]
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn rows_that_were_just_written_are_in_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 0, &params(&[])).unwrap();
    let embedding = sgd(&storage, 64, 1.0, &[]);
    let keys: Vec<i64> = (0..32_000).collect();
    embedding.insert(&keys, &vec![1.0; keys.len() * 64]).unwrap();
    storage.flush().unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "sst")).collect();
    let bytes: u64 =
        files.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    assert!(bytes > 8_000_000, "{bytes} bytes in {files:?}");
    for path in files {
        let part = cached_part(&path);
        assert!(part > 0.9, "{part} of {}", path.display());
    }
}

/// Has the system refuse io_uring to this process, as containers do.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn refuse_io_uring(errno: i32) {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    // The number of the system call is the first word.
    let mut filter = [
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter lives until the call returns, which copies it. Threads that this one
    // starts inherit it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let filters = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, filters, &raw const program), 0);
    }
}

#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn where_io_uring_is_refused_threads_read() {
    const CHILD: &str = "DAMO_READS_TEST";
    if let Some(errno) = std::env::var_os(CHILD) {
        refuse_io_uring(errno.to_str().unwrap().parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        for batch in [KEYS as usize + 1, 40] {
            let options = [("mapped_reads", "off"), ("io_uring", "auto")];
            let [mapped, by_io_uring, by_pread] = read(dir.path(), &options, batch);
            assert_eq!((mapped, by_io_uring), (0, 0));
            assert!(by_pread > 0);
        }
        return;
    }
    for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EMFILE] {
        let mut child = rerun(where_io_uring_is_refused_threads_read);
        let output = child.env(CHILD, errno.to_string()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "errno {errno}: {error}");
    }
}

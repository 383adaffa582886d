//! A damaged, foreign or crafted file is an error that says what is wrong, never a crash, and never
//! other rows.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use damo::error::{Result, Status};
use damo::table::{ClassicWriter, Contents, Table, ValueType, Writer, merge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{failure, rerun};
use crate::content::{self, Content, TYPES, look, options, weight, write};

fn small(path: &Path, value_type: ValueType, since: Option<u64>) -> Vec<u8> {
    let mut content = Content::default();
    for key in -3..9 {
        content.set(1, key * 1_000_003, vec![weight(key as usize, 0), 1.0, 2.0]);
    }
    content.declare(3, 2);
    content.set(8, i64::MIN, vec![0.5]);
    if since.is_none() {
        write(path, &content, value_type, 7, None);
    } else {
        let dims = content.dims();
        let mut writer = Writer::create(path, &options(value_type, 7, since, &dims)).unwrap();
        writer.add_rows(1, &[5], &[1.0, 2.0, 3.0]).unwrap();
        writer.remove_keys(1, &[6, 7]).unwrap();
        writer.finish().unwrap();
    }
    fs::read(path).unwrap()
}

fn refused(path: &Path) -> damo::error::Error {
    let error = Contents::open(path).map(drop).expect_err("it was opened");
    assert!(
        [Status::Corruption, Status::InvalidArgument, Status::NotSupported]
            .contains(&error.status()),
        "{error}"
    );
    assert!(error.message().contains(&path.display().to_string()), "{error}");
    assert_eq!(failure_of(Table::open(path)), error);
    error
}

fn failure_of(result: Result<Table>) -> damo::error::Error {
    result.map(drop).expect_err("it was opened")
}

#[test]
fn every_flipped_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    for (value_type, since) in
        TYPES.map(|value_type| (value_type, None)).into_iter().chain([(TYPES[0], Some(4))])
    {
        let bytes = small(&path, value_type, since);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                fs::write(&path, damaged).unwrap();
                let error = refused(&path);
                if at >= 8 {
                    assert_eq!(error.status(), Status::Corruption, "byte {at}: {error}");
                }
            }
        }
        fs::write(&path, &bytes).unwrap();
        Contents::open(&path).unwrap();
    }
}

#[test]
fn every_truncated_file_and_every_longer_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let bytes = small(&path, ValueType::Float32, None);
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = refused(&path);
        assert_eq!(error.status(), Status::Corruption, "{len} bytes: {error}");
        assert!(
            error.message().contains(if len == 0 { "it is empty" } else { "it has" }),
            "{error}"
        );
    }
    for more in [1, 63, 64, 4096] {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + more, 0);
        fs::write(&path, longer).unwrap();
        assert!(refused(&path).message().contains(&format!("its header says {}", bytes.len())));
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let noise: Vec<u8> = (0..10_000).map(|_| random.random()).collect();
    for foreign in
        [b"d".as_slice(), b"damotabm", b"x", b"\x7fELF", b"{\"a\": 1}\n", &[0; 4096], &noise]
    {
        fs::write(&path, foreign).unwrap();
        let error = Contents::open(&path).map(drop).unwrap_err();
        let expected = if foreign == b"d" { Status::Corruption } else { Status::InvalidArgument };
        assert_eq!(error.status(), expected, "{error}");
    }
    ClassicWriter::create(&path, 256, &[(0, 1)]).unwrap().finish().unwrap();
    let error = refused(&path);
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    assert!(
        error.message().contains("a file from a dump in the format 'table' is needed"),
        "{error}"
    );

    let error = failure(Table::open(dir.path()).map(drop), Status::InvalidArgument);
    assert!(error.message().contains("is a directory"), "{error}");
    let error = failure(Table::open(&dir.path().join("none")).map(drop), Status::NotFound);
    assert!(error.message().contains("none' cannot be read"), "{error}");
    failure(Table::open(Path::new("")).map(drop), Status::InvalidArgument);
    let error = failure(Table::open(Path::new("/dev/zero")).map(drop), Status::InvalidArgument);
    assert!(error.message().contains("no regular file"), "{error}");
    // A pipe without a writer: opening it would wait for ever.
    let pipe = dir.path().join("pipe");
    let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the string ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    failure(Table::open(&pipe).map(drop), Status::InvalidArgument);
}

#[test]
fn a_file_that_may_not_be_read_is_an_error_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    small(&path, ValueType::Int8, None);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let error = failure(Table::open(&path).map(drop), Status::Io);
    assert!(error.message().contains("cannot be read: Permission denied"), "{error}");
}

#[test]
fn a_later_version_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut bytes = small(&path, ValueType::Float32, None);
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = failure(Table::open(&path).map(drop), Status::NotSupported);
    assert!(
        error.message().contains("version 2") && error.message().contains("reads version 1"),
        "{error}"
    );
}

/// Makes all checksums right, as far as the header leads to bytes.
fn sign(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    let groups = word(bytes, 24) & 0xffff_ffff;
    let end = 64_usize.saturating_add(groups.saturating_mul(64)).min(bytes.len());
    for entry in (64..end.saturating_sub(63)).step_by(64) {
        let (rows, more) = (word(bytes, entry + 16), word(bytes, entry + 32));
        let next = if entry + 128 <= end { word(bytes, entry + 64 + 16) } else { bytes.len() };
        for (place, range) in [(entry + 24, rows..more), (entry + 28, more..next)] {
            let crc = bytes.get(range).map_or(0, crc32fast::hash);
            bytes[place..place + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&bytes[20..end]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn crafted_files_with_right_checksums_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (path, merged) = (dir.path().join("t"), dir.path().join("merged"));
    let (base, increment) = (dir.path().join("base"), dir.path().join("increment"));
    small(&base, ValueType::Float32, None);
    small(&increment, ValueType::Float32, Some(7));
    let tables = TYPES.map(|value_type| small(&path, value_type, None));
    let increments = [small(&path, ValueType::Float32, Some(7))];
    let pristine: Vec<&Vec<u8>> = tables.iter().chain(&increments).collect();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut opened, mut refused_count) = (0, 0);
    for round in 0..4000 {
        let mut bytes = pristine[round % 4].clone();
        sign(&mut bytes);
        for _ in 0..random.random_range(1..4) {
            // Mostly numbers of the header, with values that code forgets easily; otherwise any
            // byte.
            if random.random_bool(0.6) {
                let at = random.random_range(2..32) * 8;
                let value: u64 = match random.random_range(0..6) {
                    0 => 0,
                    1 => u64::MAX >> random.random_range(0..33),
                    2 => 1 << random.random_range(0..64),
                    3 => bytes.len() as u64 - random.random_range(0..80),
                    4 => random.random_range(0..20),
                    _ => random.random(),
                };
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            } else {
                let at = random.random_range(16..bytes.len());
                bytes[at] = random.random();
            }
        }
        sign(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        match Table::open(&path) {
            Ok(table) => {
                opened += 1;
                for info in table.contents().groups() {
                    let keys: Vec<i64> =
                        (-5..12).map(|key| key * 1_000_003).chain([i64::MIN]).collect();
                    look(&table, info.group.into(), &keys);
                    let (mut rows, mut weights) =
                        (table.contents().rows(info.group), vec![0.0; info.dim]);
                    while rows.next_into(&mut weights).is_some() {}
                }
                let _ = merge(&path, &increment, &merged);
            }
            Err(error) => {
                refused_count += 1;
                assert!(!error.message().is_empty());
            }
        }
        // For any increment, a merge is an error or makes a table that opens.
        if merge(&base, &path, &merged).is_ok() {
            Table::open(&merged).unwrap();
        }
    }
    assert!(opened > 300 && refused_count > 300, "{opened} opened, {refused_count} refused");
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut bytes = small(&path, ValueType::Float32, None);
    let index = u64::from_le_bytes(bytes[64 + 32..64 + 40].try_into().unwrap()) as usize;
    let slot = (index..).step_by(4).find(|at| bytes[*at] != 0).unwrap();
    // 12 rows need 4 bits: 15 is no row, and without this slot a row is missing.
    for number in [15, 0] {
        bytes[slot] = bytes[slot] & 0xf0 | number;
        bytes[slot + 1..slot + 4].fill(0);
        sign(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = failure(Table::open(&path).map(drop), Status::Corruption);
        assert!(
            error.message().contains("the index of group 1 does not lead to its rows"),
            "{error}"
        );
    }
}

/// Run by the next test as a process of its own, whose files may not grow beyond a limit; otherwise
/// no test.
#[test]
fn with_a_file_size_limit() {
    let Some(limit) = std::env::var("DAMO_TEST_FILE_SIZE").ok().map(|limit| limit.parse().unwrap())
    else {
        return;
    };
    let dir = std::env::var("DAMO_TEST_DIR").unwrap();
    let path = Path::new(&dir).join("t");
    fs::write(&path, "as it was").unwrap();
    // SAFETY: plain system calls; ignoring the signal makes writes fail instead.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let mut writer = Writer::create(&path, &options(ValueType::Int8, 1, None, &[(0, 1)])).unwrap();
    let mut failed = None;
    for start in (0..content::BIG).step_by(4096) {
        let keys: Vec<i64> = (start..start + 4096).collect();
        if let Err(error) = writer.add_rows(0, &keys, &[1.0; 4096]) {
            failed = Some(error);
            break;
        }
    }
    let error = match failed {
        Some(error) => {
            // A broken writer stays broken.
            assert_eq!(writer.add_rows(0, &[i64::MAX], &[1.0]).unwrap_err(), error);
            assert_eq!(writer.finish().unwrap_err(), error);
            error
        }
        None => writer.finish().unwrap_err(),
    };
    assert_eq!(error.status(), Status::Io, "{error}");
    assert!(
        error.message().contains("/t' cannot be written")
            && error.message().contains("File too large")
    );
    println!("refused: {error}");
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    // 34 MiB of rows, 16 MiB of scratch, 12 MiB of index.
    for limit in [100, 2 << 20, 15 << 20, 30 << 20, 37 << 20, 45 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let output = rerun(with_a_file_size_limit)
            .env("DAMO_TEST_FILE_SIZE", limit.to_string())
            .env("DAMO_TEST_DIR", dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("refused: "), "limit {limit}: {text}");
        assert_eq!(fs::read(dir.path().join("t")).unwrap(), b"as it was");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary is left");
    }
}

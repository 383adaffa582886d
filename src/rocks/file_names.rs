//! The names that RocksDB gives its files. Other files of src spell them in messages only.

/// Names the current MANIFEST. A directory with this file has a database.
pub(crate) const CURRENT: &str = "CURRENT";
/// The file that RocksDB locks.
pub(crate) const LOCK: &str = "LOCK";
/// A database's own id.
pub(crate) const IDENTITY: &str = "IDENTITY";
/// RocksDB's log for people.
pub(crate) const LOG: &str = "LOG";
/// How earlier logs for people begin; a number follows.
pub(crate) const OLD_LOG: &str = "LOG.old.";
/// How the list of SST files begins; a number follows.
pub(crate) const MANIFEST: &str = "MANIFEST-";
/// The first MANIFEST of a database.
pub(crate) const FIRST_MANIFEST: &str = "MANIFEST-000001";
/// How a file of options begins; a number follows.
pub(crate) const OPTIONS: &str = "OPTIONS-";
/// How an SST file ends, after its number.
pub(crate) const SST: &str = ".sst";
/// How a write-ahead log ends, after its number.
pub(crate) const WAL: &str = ".log";
/// How a file of large values ends, after its number. damo's databases have none.
pub(crate) const BLOB: &str = ".blob";
/// How an unfinished file ends, after its number.
pub(crate) const TEMPORARY: &str = ".dbtmp";

/// Whether a name is a number between `prefix` and `suffix`.
pub(crate) fn is_numbered(name: &str, prefix: &str, suffix: &str) -> bool {
    number(name, prefix, suffix).is_some()
}

/// The digits between `prefix` and `suffix`, if there is nothing else.
pub(crate) fn number<'a>(name: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

/// Whether a database in use may have a file of this name. A name that only looks alike, such as
/// `train.log` or `OPTIONS-a.yaml`, is somebody else's.
pub(crate) fn is_of_database(name: &str) -> bool {
    let kinds = [("", SST), ("", WAL), (OPTIONS, ""), (MANIFEST, "")];
    name != FIRST_MANIFEST && kinds.iter().any(|(prefix, suffix)| is_numbered(name, prefix, suffix))
}

/// Whether RocksDB makes a file of this name before the first `CURRENT`.
pub(crate) fn is_made_before_current(name: &str) -> bool {
    [LOCK, IDENTITY, LOG, FIRST_MANIFEST].contains(&name)
        || [(OLD_LOG, ""), ("", TEMPORARY), (OPTIONS, TEMPORARY)]
            .iter()
            .any(|(prefix, suffix)| is_numbered(name, prefix, suffix))
}

/// Whether RocksDB makes a file of this name when it makes a database without rows.
pub(crate) fn is_of_empty_database(name: &str) -> bool {
    let numbered = [(MANIFEST, ""), (OPTIONS, ""), ("", WAL)];
    name == CURRENT
        || is_made_before_current(name)
        || numbered.iter().any(|(prefix, suffix)| is_numbered(name, prefix, suffix))
}

/// Whether a file of this name is part of a database's content: any of its files but the lock, the
/// id and the logs for people.
pub(crate) fn is_content(name: &str) -> bool {
    name == CURRENT
        || [SST, WAL, BLOB].iter().any(|suffix| is_numbered(name, "", suffix))
        || is_manifest(name)
        || is_options(name)
}

/// An SST file, by its suffix alone.
pub(crate) fn is_sst(name: &str) -> bool {
    name.ends_with(SST)
}

/// A write-ahead log, by its suffix alone.
pub(crate) fn is_wal(name: &str) -> bool {
    name.ends_with(WAL)
}

/// A MANIFEST, by its prefix alone.
pub(crate) fn is_manifest(name: &str) -> bool {
    name.starts_with(MANIFEST)
}

/// A file of options, by its prefix alone.
pub(crate) fn is_options(name: &str) -> bool {
    name.starts_with(OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(number("000012.sst", "", SST), Some("000012"));
        for name in ["x.sst", ".sst", "1x.sst", "12.sst.old", "-1.sst", "+1.sst"] {
            assert!(!is_numbered(name, "", SST), "{name}");
        }
        assert!(is_numbered("MANIFEST-000001", MANIFEST, ""));
        assert!(!is_of_database("train.log") && !is_of_database("OPTIONS-a.yaml"));
        assert!(is_of_database("OPTIONS-000007") && !is_of_database(FIRST_MANIFEST));
    }

    #[test]
    fn the_documentation_names_every_file() {
        let formats = include_str!("../../docs/formats.md");
        for name in
            [CURRENT, LOCK, IDENTITY, LOG, OLD_LOG, MANIFEST, OPTIONS, SST, WAL, BLOB, TEMPORARY]
        {
            assert!(formats.contains(name), "docs/formats.md does not name '{name}'");
        }
    }
}

//! The machine's memory, or less where the process's cgroup, or a cgroup above it, has a limit.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What counts as the machine's memory where it cannot be found out.
const UNKNOWN: u64 = 4 << 30;

/// The machine's memory, or the smallest limit of the process's cgroups if that is less.
pub(crate) fn memory() -> u64 {
    memory_in(Path::new("/"))
}

/// As [`memory`]. `root` is the folder that has `proc` and `sys`.
fn memory_in(root: &Path) -> u64 {
    let machine = read(&root.join("proc/meminfo"));
    let machine = lines(&machine).find_map(|line| {
        let kib = line.strip_prefix(b"MemTotal:")?.trim_ascii().strip_suffix(b"kB")?;
        number(kib)?.checked_mul(1024)
    });
    let groups = read(&root.join("proc/self/cgroup"));
    let mounts = read(&root.join("proc/self/mountinfo"));
    let limits =
        lines(&mounts).filter_map(Mount::read).flat_map(|mount| mount.limits(root, &groups));
    limits.fold(machine.unwrap_or(UNKNOWN), u64::min)
}

/// A file's bytes; nothing if it cannot be read. Names of mounts and cgroups may be any bytes.
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn number(bytes: &[u8]) -> Option<u64> {
    str::from_utf8(bytes.trim_ascii()).ok()?.parse().ok()
}

/// Whether a list with commas has the word "memory".
fn has_memory(words: &[u8]) -> bool {
    words.split(|byte| *byte == b',').any(|word| word == b"memory")
}

/// Where a hierarchy of cgroups that limits memory is mounted.
struct Mount<'a> {
    /// The cgroup whose folder is mounted.
    group: &'a Path,
    /// Where it is mounted.
    folder: &'a Path,
    is_v2: bool,
}

impl<'a> Mount<'a> {
    /// Reads a line of `mountinfo`. None if it is not of such a hierarchy.
    fn read(line: &'a [u8]) -> Option<Mount<'a>> {
        let mut words = line.split(|byte| *byte == b' ').skip(3);
        let path = |word: &'a [u8]| Path::new(OsStr::from_bytes(word));
        let (group, folder) = (path(words.next()?), path(words.next()?));
        // The word "-" ends the optional ones.
        let mut kind = words.skip_while(|word| *word != b"-").skip(1);
        let is_v2 = match kind.next()? {
            b"cgroup2" => true,
            // The last word has the hierarchy's controllers, among others.
            b"cgroup" if has_memory(kind.nth(1)?) => false,
            _ => return None,
        };
        Some(Mount { group, folder, is_v2 })
    }

    /// The limits of the process's cgroup, and of those above it as far as they are mounted.
    /// `groups` has the process's cgroup in each hierarchy.
    fn limits(&self, root: &Path, groups: &[u8]) -> Vec<u64> {
        let top = root.join(self.folder.strip_prefix("/").unwrap_or(self.folder));
        let mut folder = top.join(self.below(groups).unwrap_or_default());
        let names: &[&str] =
            if self.is_v2 { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
        let mut limits = Vec::new();
        loop {
            // "max" is no number, and no limit.
            let limit = |name: &&str| number(&read(&folder.join(name)));
            limits.extend(names.iter().filter_map(limit));
            if folder == top || !folder.pop() {
                return limits;
            }
        }
    }

    /// The path of the process's cgroup below the mounted folder. None when it is not below it.
    fn below(&self, groups: &[u8]) -> Option<PathBuf> {
        let group = lines(groups).find_map(|line| {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
            let is_here = match self.is_v2 {
                true => number == b"0" && controllers.is_empty(),
                false => has_memory(controllers),
            };
            is_here.then_some(group)
        })?;
        let below = Path::new(OsStr::from_bytes(group)).strip_prefix(self.group).ok()?;
        // A cgroup outside the process's namespace has a path with "..".
        below.components().all(|part| part.as_os_str() != "..").then(|| below.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const GIB: u64 = 1 << 30;
    const V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";

    /// A root with 16 GiB of memory and these files.
    fn root<T: AsRef<[u8]>>(files: &[(&str, T)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo: (&str, &[u8]) =
            ("proc/meminfo", b"MemTotal:       16777216 kB\nMemFree:  1 kB\n");
        let files = files.iter().map(|(path, text)| (*path, text.as_ref()));
        for (path, text) in [meminfo].into_iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(files: &[(&str, &str)]) -> u64 {
        memory_in(root(files).path())
    }

    /// What is found in a cgroup `/a/b`, with these files below the mounted folder.
    fn in_v2(files: &[(&str, &str)]) -> u64 {
        let mut all = vec![
            ("proc/self/cgroup".to_owned(), "0::/a/b\n"),
            ("proc/self/mountinfo".to_owned(), V2),
        ];
        all.extend(files.iter().map(|(path, text)| (format!("sys/fs/cgroup/{path}"), *text)));
        found(&all.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>())
    }

    #[test]
    fn the_machine_has_the_memory_where_no_cgroup_limits_it() {
        assert_eq!(found(&[]), 16 * GIB);
        assert_eq!(found(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2)]), 16 * GIB);
        for text in ["max\n", "", "-1", "many", "1e9", "99999999999999999999999", "0x10"] {
            assert_eq!(in_v2(&[("a/b/memory.max", text)]), 16 * GIB, "{text}");
        }
        // More than there is.
        assert_eq!(in_v2(&[("a/b/memory.max", "18446744073709551615")]), 16 * GIB);
    }

    #[test]
    fn the_smallest_limit_of_nested_cgroups_counts() {
        let limits = [("a/b/memory.max", "max\n"), ("a/memory.max", "2147483648\n")];
        assert_eq!(in_v2(&limits), 2 * GIB);
        let limits = [("a/b/memory.max", "1073741824\n"), ("a/memory.max", "2147483648\n")];
        assert_eq!(in_v2(&limits), GIB);
        let limits = [("a/b/memory.max", "4294967296\n"), ("a/b/memory.high", "3221225472\n")];
        assert_eq!(in_v2(&limits), 3 * GIB);
        // Inside a container the topmost cgroup that is seen has a limit, too.
        assert_eq!(in_v2(&[("memory.max", "5368709120\n")]), 5 * GIB);
        // Of a cgroup beside the process's.
        assert_eq!(in_v2(&[("a/c/memory.max", "1048576\n")]), 16 * GIB);
    }

    #[test]
    fn version_1_has_its_own_hierarchy() {
        let v1 = "40 30 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  41 30 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                  42 30 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "5:cpu,cpuacct:/x\n4:memory:/a:b/c\n0::/y\n";
        let both = [("proc/self/cgroup", groups), ("proc/self/mountinfo", v1)];
        let with = |path: &str, text: &str| found(&[both[0], both[1], (path, text)]);
        let limit = "memory.limit_in_bytes";
        let at = |folder: &str| format!("sys/fs/cgroup/{folder}/{limit}");
        assert_eq!(with(&at("memory/a:b/c"), "2147483648\n"), 2 * GIB);
        assert_eq!(with(&at("memory/a:b"), "2147483648\n"), 2 * GIB);
        assert_eq!(with(&at("memory/a:b/c"), "9223372036854771712\n"), 16 * GIB);
        assert_eq!(with(&at("cpu/x"), "1\n"), 16 * GIB);
        assert_eq!(with("sys/fs/cgroup/unified/y/memory.max", "1073741824\n"), GIB);
    }

    #[test]
    fn a_container_sees_its_cgroup_as_the_mounted_folder() {
        let mount = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        for group in ["0::/docker/1\n", "0::/docker/12\n", "0::/../2\n", "0::/docker/1/../2\n", ""]
        {
            let files = [
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mount),
                ("sys/fs/cgroup/memory.max", "1073741824\n"),
                ("sys/fs/2/memory.max", "1048576\n"),
                ("sys/fs/cgroup/2/memory.max", "1048576\n"),
            ];
            assert_eq!(found(&files), GIB, "{group}");
        }
    }

    #[test]
    fn names_need_not_be_utf_8() {
        let mounts = [
            &b"29 23 8:1 / /media/caf\xe9 rw - ext4 /dev/sdb1 rw\n"[..],
            &b"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"[..],
        ];
        let group = OsStr::from_bytes(b"b\xff");
        let root = root(&[
            ("proc/self/cgroup", &b"1:name=\xfe:/x\n0::/a/b\xff\n"[..]),
            ("proc/self/mountinfo", &mounts.concat()),
            ("sys/fs/cgroup/a/memory.max", b"3221225472\n"),
        ]);
        assert_eq!(memory_in(root.path()), 3 * GIB);
        let folder = root.path().join("sys/fs/cgroup/a").join(group);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("memory.max"), "2147483648\n").unwrap();
        assert_eq!(memory_in(root.path()), 2 * GIB);
    }

    #[test]
    fn some_memory_is_there() {
        assert_eq!(memory_in(Path::new("/nowhere")), UNKNOWN);
        // This machine's.
        assert!((1..UNKNOWN << 20).contains(&memory()));
    }
}

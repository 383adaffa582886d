//! Which room may use which, and which file of `engine` and `storage` which other: nothing runs up,
//! nothing in a circle. RocksDB is named in one room; unsafe code lives at the boundary and in SIMD
//! kernels; files stay small.
//!
//! `uses` finds what uses what. Where a new use is right, add it to the list here: the failure says
//! how the line is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::uses::{Source, edges, room, sources};

/// Each room with the rooms that it uses, all of which stand below it.
const ROOMS: [(&str, &str); 28] = [
    (
        "ffi",
        "bags embedding engine error executor file_size_limit filter initializer kernels \
         key_hash limits locks memory optimizer params process scheduler step storage table \
         threads",
    ),
    ("bin", "engine error file_size_limit params storage table"),
    ("step", "bags embedding engine error kernels memory optimizer params storage"),
    ("embedding", "engine error filter initializer limits locks memory optimizer params storage"),
    ("fuzzing", "engine error journal seqno"),
    (
        "storage",
        "cache engine error executor files filter journal limits locks memory memory_limit params \
         process random_id reserved rocks seqno stripes table threads",
    ),
    (
        "engine",
        "cache error executor file_size_limit files initializer journal kill_points limits locks \
         memory optimizer params prefetch process rocks seqno stripes threads workers",
    ),
    ("filter", "error files limits locks memory params prefetch process reserved"),
    ("table", "error file_size_limit files limits locks memory prefetch reserved"),
    ("bags", "error kernels"),
    ("kernels", "error limits memory prefetch"),
    ("optimizer", "error params scheduler"),
    ("reserved", "rocks"),
    ("cache", "error kill_points locks memory prefetch seqno"),
    ("initializer", "error params"),
    ("journal", "error files kill_points locks memory seqno threads"),
    (
        "rocks",
        "error file_size_limit files limits locks memory memory_limit prefetch seqno threads",
    ),
    ("scheduler", "error params"),
    ("files", "error"),
    ("key_hash", "error"),
    ("memory", "error limits"),
    ("limits", "error"),
    ("params", "error"),
    ("process", "error stripes"),
    ("stripes", "locks"),
    ("workers", "error file_size_limit locks threads"),
    ("threads", "error file_size_limit"),
    ("executor", "error locks"),
];
/// Each file of the engine with those that it uses, all of which stand below it.
const ENGINE: [(&str, &str); 67] = [
    (
        "rows/together",
        "mod pool rights rows rows/apply_gradients rows/change rows/clip rows/guards rows/members \
         rows/norm rows/once rows/outcome rows/part rows/step_entry turns",
    ),
    ("rows/few_together", "mod rights rows/few_held rows/members rows/once rows/step_entry"),
    ("rows/members", "rows rows/apply_gradients rows/batch rows/dedup rows/outcome"),
    ("rows/step_entry", "mod rows rows/change rows/once rows/part"),
    ("rows/once", "clients mod rights rows"),
    (
        "rows/apply_gradients",
        "mod rights rows rows/batch rows/change rows/dedup rows/guards rows/load rows/norm \
         rows/outcome rows/part rows/sink",
    ),
    ("rows/delete", "mod rows rows/batch rows/part"),
    ("rows/replace", "mod rows rows/batch rows/part"),
    ("rows/set_step", "mod rows rows/change"),
    ("rows/import", "mod rows rows/guards rows/load"),
    (
        "rows/lookup",
        "mod moment pool rows rows/batch rows/few rows/guards rows/kept rows/load rows/missing \
         rows/part rows/run rows/sink rows/spread",
    ),
    ("rows/peek", "mod rows rows/batch rows/load"),
    ("rows/record", "mod rows rows/guards rows/load rows/sink"),
    ("replace_database", "database group journal_document mod names registry replay"),
    ("cut", "counters mod writer/round writer/signal"),
    ("prefetch", "mod rows"),
    ("forget_client", "mod"),
    ("registry", "clears clients group mod names refusals"),
    (
        "replay",
        "clients group journal_document mod options row_rules rows rows/batch rows/clip \
         rows/non_finite rows/part",
    ),
    ("rows/clear", "mod rows"),
    ("rows/insert", "mod rows"),
    (
        "rows/commit",
        "mod rows rows/change rows/guards rows/insert_records rows/part rows/row_copies",
    ),
    ("rows/few_commits", "mod rights rows rows/few_held rows/in_turns rows/kept rows/row_copies"),
    ("rows/pin", "mod rows rows/batch rows/few rows/guards rows/load rows/row_copies rows/sink"),
    ("rows/row_copies", "group rows/insert_records rows/spread"),
    ("rows/insert_records", "group mod rows"),
    ("rows/make", "moment rows rows/norm"),
    ("rows/clip_gradients", "pool rows/clip rows/dedup rows/norm rows/part"),
    (
        "rows/sum_gradients",
        "mod rows rows/batch rows/clip rows/non_finite rows/norm rows/outcome rows/part",
    ),
    ("seqno", "journal_document mod"),
    ("writer", "counters mod writer/round writer/signal"),
    ("clear", "mod"),
    ("journal_document", "mod"),
    ("recover", "database mod"),
    ("refusals", "mod names"),
    ("writer/round", "clients counters group mod writer/row_file writer/shares writer/signal"),
    ("database", "expiry options"),
    (
        "rows/few_changes",
        "mod rights rows rows/change rows/few_held rows/in_turns rows/kept rows/part",
    ),
    ("rows/few_held", "mod rights rows rows/few rows/kept"),
    ("rows/few", "mod rows rows/batch rows/guards rows/load rows/sink"),
    ("rows/in_turns", "mod pool rights rows rows/change rows/guards rows/part"),
    (
        "rows/change",
        "mod moment pool rights rows rows/batch rows/dedup rows/guards rows/load rows/part \
         rows/run rows/sink turns",
    ),
    ("writer/row_file", "mod writer/shares writer/signal"),
    ("writer/shares", "group mod"),
    ("rows/finish_lookup", "mod moment rows rows/begin_lookup rows/load rows/part rows/run"),
    (
        "rows/begin_lookup",
        "mod moment rows rows/batch rows/dedup rows/kept rows/load rows/part rows/run rows/spread",
    ),
    ("rows/load", "mod moment rows rows/guards rows/load_task rows/sink"),
    ("rows/sink", "pool rows rows/load_task rows/part"),
    ("rows/load_task", "rows"),
    ("rows/missing", "pool rows/part"),
    ("rows/guards", "mod rows rows/part"),
    ("rows/ahead", "rows rows/part"),
    ("rows", "group mod names row_rules rows/dedup rows/kept"),
    ("row_rules", "group"),
    ("names", "group"),
    ("rows/kept", "rows/batch rows/dedup"),
    ("rows/dedup", "pool rows/batch rows/part rows/spread"),
    ("rows/outcome", "mod rows/non_finite rows/part"),
    ("rows/batch", "rows/clip rows/non_finite rows/part"),
    ("rows/clip", ""),
    ("rows/spread", "pool rows/part"),
    ("rows/part", "rows/run"),
    ("mod", "counters expiry group moment options pool writer/signal"),
    ("moment", "expiry"),
    ("group", "clears clients rights"),
    ("clients", "expiry"),
    ("rights", "turns"),
];
/// The same for the storage.
const STORAGE: [(&str, &str); 50] = [
    ("checkpoint", "checkpoint/id checkpoint/list mod"),
    ("checkpoint/load", "checkpoint/list checkpoint/swap directory filters mod open scan/check"),
    ("dump", "dump/bases dump/select mod scan scan/page"),
    (
        "read_only",
        "checkpoint/list checkpoint/swap directory first_opening mod open read_only/likeness \
         read_only/listing read_only/messages",
    ),
    ("rows", "dump/select mod scan scan/page"),
    (
        "salvage",
        "checkpoint/swap directory open salvage/calls salvage/lost salvage/report salvage/rows \
         salvage/work",
    ),
    ("checkpoint/id", "mod"),
    ("compact", "mod"),
    ("describe", "mod"),
    ("filters/waiting", "filters filters/list filters/taking mod"),
    ("flush", "mod"),
    ("forget_client", "mod"),
    ("fuzzing", "checkpoint/list dump/bases mod"),
    ("groups", "mod"),
    ("import", "import/options import/rows import/source import/survey mod"),
    (
        "open",
        "checkpoint/list checkpoint/swap default_cache directory dump/bases filters first_opening \
         mod read_only/likeness",
    ),
    ("options", "default_cache"),
    ("prefetch", "mod"),
    ("record", "mod"),
    ("row_count", "dump/select mod scan/page"),
    ("salvage/work", "mod"),
    ("scan", "dump/select mod scan/parallel scan/reader"),
    ("stat", "mod"),
    ("test_clock", "mod"),
    ("verify", "mod"),
    ("checkpoint/swap", "checkpoint/content checkpoint/in_the_way checkpoint/list filters/list"),
    ("import/rows", "import/record import/report import/source"),
    ("scan/check", "scan/reader"),
    ("scan/parallel", "scan/page scan/reader"),
    ("checkpoint/in_the_way", "checkpoint/content"),
    (
        "import/source",
        "import/bytes import/checkpoint import/dump import/options import/record import/report",
    ),
    ("import/survey", "import/checkpoint import/dump import/options import/record import/report"),
    ("process_end", "directory"),
    ("salvage/rows", "salvage/lost salvage/report salvage/sources"),
    ("scan/reader", "dump/select scan/page"),
    ("checkpoint/content", "filters/list"),
    ("dump/select", "dump/bases"),
    ("filters", "filters/list"),
    ("filters/taking", "filters/list"),
    ("import/checkpoint", "import/bytes import/record import/report"),
    ("import/dump", "import/bytes import/record import/report"),
    ("import/options", "import/report"),
    ("salvage/calls", "salvage/lost salvage/report"),
    ("salvage/sources", "salvage/lost salvage/report"),
    ("set_executor", "mod"),
    ("mod", "default_cache directory dump/bases read_only/likeness"),
    (
        "read_only/likeness",
        "directory read_only/folder read_only/held read_only/listing read_only/messages \
         read_only/refusals",
    ),
    ("directory", "first_opening"),
    ("read_only/listing", "checkpoint/list"),
    ("read_only/messages", "read_only/held"),
];

/// Beside the boundary: SIMD kernels, rows with a stride, the memory of the cache, mapped files, a
/// signal, and a page that children find empty.
const UNSAFE_FILES: [&str; 16] = [
    "optimizer/x86.rs",
    "prefetch.rs",
    "kernels/strided.rs",
    "cache/memory.rs",
    "cache/replaced.rs",
    "cache/row.rs",
    "cache/slab.rs",
    "cache/shard.rs",
    "table/system.rs",
    "filter/map.rs",
    "journal/mapping.rs",
    "rocks/ring.rs",
    "rocks/sst/mapping.rs",
    "file_size_limit.rs",
    "process/id.rs",
    "workers.rs",
];

type Uses = BTreeMap<String, BTreeSet<String>>;

fn grouped(pairs: impl IntoIterator<Item = (String, String)>) -> Uses {
    let mut uses = Uses::new();
    for (user, used) in pairs {
        uses.entry(user).or_default().insert(used);
    }
    uses
}

/// Compares what is used with the list of what may be, both ways, and looks that the list has each
/// user above what it uses.
fn compare(found: &Uses, allowed: &[(&str, &str)]) {
    let none = BTreeSet::new();
    let mut changed = String::new();
    for (at, (user, used)) in allowed.iter().enumerate() {
        let listed: BTreeSet<String> = used.split_whitespace().map(str::to_owned).collect();
        let found = found.get(*user).unwrap_or(&none);
        if *found != listed {
            let line = found.iter().cloned().collect::<Vec<_>>().join(" ");
            changed += &format!("\n    (\"{user}\", \"{line}\"),");
        }
        for other in &listed {
            let above = allowed[..at].iter().any(|(earlier, _)| earlier == other);
            assert!(!above && other != user, "'{user}' uses '{other}', which stands above it");
        }
    }
    let is_listed = |user: &String| allowed.iter().any(|(known, _)| known == user);
    for (user, used) in found.iter().filter(|(user, _)| !is_listed(user)) {
        let line = used.iter().cloned().collect::<Vec<_>>().join(" ");
        changed += &format!("\n    (\"{user}\", \"{line}\"),  // is in no list yet");
    }
    assert!(changed.is_empty(), "what these use has changed; if that is right, so are:{changed}");
}

/// The name of a module in a room's list: without the room, and "mod" for the room's own file.
fn place(module: &str) -> String {
    let within = module.split_once("::").map_or("mod", |(_, rest)| rest);
    within.replace("::", "/")
}

fn within(wanted: &str) -> Uses {
    let edges = edges(&sources());
    let inside = edges.iter().filter(|(user, used)| room(user) == wanted && room(used) == wanted);
    grouped(inside.map(|(user, used)| (place(user), place(used))))
}

#[test]
fn rooms_look_down_only() {
    let edges = edges(&sources());
    // lib.rs declares the rooms.
    let between = edges.iter().map(|(user, used)| (room(user), room(used)));
    let between = between.filter(|(user, used)| user != used && !user.is_empty());
    compare(&grouped(between.map(|(user, used)| (user.to_owned(), used.to_owned()))), &ROOMS);
}

#[test]
fn files_of_the_engine_look_down_only() {
    compare(&within("engine"), &ENGINE);
}

#[test]
fn files_of_the_storage_look_down_only() {
    compare(&within("storage"), &STORAGE);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let uses = grouped(edges(&sources()));
    for start in uses.keys() {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![vec![start.clone()]]);
        while let Some(way) = waiting.pop() {
            for used in uses.get(way.last().unwrap()).into_iter().flatten() {
                assert!(used != start, "a circle: {} -> {start}", way.join(" -> "));
                if seen.insert(used.clone()) {
                    waiting.push(way.iter().chain([used]).cloned().collect());
                }
            }
        }
    }
}

#[test]
fn rocksdb_is_named_in_one_room() {
    for source in sources() {
        let names_it = source.text.contains("rust_rocksdb");
        assert!(!names_it || source.room() == "rocks", "{}", source.path.display());
    }
}

#[test]
fn unsafe_code_lives_at_the_boundary_and_in_simd_kernels() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = UNSAFE_FILES.map(|file| src.join(file));
    let sources = sources();
    for file in &allowed {
        let is_there = sources.iter().any(|source| source.path == *file);
        assert!(is_there, "{} is not there", file.display());
    }
    let is_bound =
        |source: &&Source| !["ffi", ""].contains(&source.room()) && !allowed.contains(&source.path);
    for source in sources.iter().filter(is_bound) {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // The tool says so itself.
        let mut code = code.filter(|line| *line != "#![deny(unsafe_code)]");
        assert!(!code.any(|line| line.contains("unsafe")), "{}", source.path.display());
    }
}

#[test]
fn files_stay_small_and_say_what_they_are_for() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", source.path.display());
        let starts = source.text.starts_with("//! ");
        assert!(starts, "{} does not say what it is for", source.path.display());
    }
}

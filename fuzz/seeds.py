#!/usr/bin/env python3
"""Writes fuzz/corpus, the inputs that fuzzing begins with: a few small ones a target.

    python3 fuzz/seeds.py

The same files come out each time, so `git diff` shows what a change of a format does to them.
damo's files are made from docs/formats.md, without damo. SST files are copies of those in
tests/golden, which RocksDB has written. The bytes of programs are explained where they are read:
fuzz/src/bytes.rs, fuzz_targets/calls.rs, fuzz_targets/merge.rs, src/fuzzing/journal.rs.
"""

import json
import shutil
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CORPUS = ROOT / "corpus"
GOLDEN = ROOT.parent / "tests/golden"
TABLES = GOLDEN / "tables"
TIME = 1_720_000_000_000


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# Journals


def config(dim, optimizer, **scheduler):
    group = {
        "dim": dim,
        "optimizer": {"name": optimizer, "params": {"learning_rate": 0.125}},
        "scheduler": scheduler or None,
        "initializer": {"name": "random_uniform", "params": {"seed": 7}},
    }
    return json.dumps(group, separators=(",", ":")).encode()


def segment(first, records=b""):
    number = struct.pack("<Q", first)
    start = b"damojrnl" + struct.pack("<I", 1)
    return start + struct.pack("<I", zlib.crc32(start + number)) + number + records


def record(number, kind, payload=b"", group=0, config=0, step=0):
    fields = len(payload), number, kind, group, config, 0, step, TIME, 0.125
    rest = struct.pack("<IQQIIIIqQd", zlib.crc32(payload), *fields)
    return struct.pack("<I", zlib.crc32(rest)) + rest + payload


def keys_and_floats(keys, floats=()):
    return struct.pack(f"<{len(keys)}q{len(floats)}f", *keys, *floats)


def sections_of(*groups):
    """The table of a step: for each group its configuration, step, keys and floats."""
    rows = [struct.pack("<IIqdQQ", *group[:3], 0.125, *group[3:]) for group in groups]
    return struct.pack("<II", len(groups), 0) + b"".join(rows)


def steps():
    first = record(1, 1, config(2, "sgd"))
    both = first + record(1, 1, config(3, "adam"), group=7, config=1)
    sections = sections_of((0, 0, 1, 2, 4), (7, 1, 1, 1, 3))
    step = sections + keys_and_floats([1, -5, 3], [0.5, -0.5, 1.0, 2.0, 0.5, 0.5, 0.5])
    token = struct.pack("<QQ", 2**64 - 1, 9)
    forget = struct.pack("<QQQ", 2**64 - 1, 0, 7)
    whole = segment(1, both + record(1, 9, step) + record(2, 10, token + step))
    for target in "journal_read", "replay":
        write(target, "steps", whole)
        write(target, "forgotten-client", whole + record(3, 11, forget))
        write(target, "token-without-step", segment(1, both + record(1, 10, token)))
        write(target, "part-of-a-token", segment(1, both + record(1, 10, token[:9])))
        write(target, "part-of-a-forgotten-group", whole + record(3, 11, forget[:-1]))


def journals():
    gradients = keys_and_floats([1, -5, 1], [0.5, -0.5, 1.0, 2.0, 0.25, 0.0])
    calls = [
        record(1, 1, config(2, "sgd")),
        record(1, 2, gradients, step=1),
        record(2, 3, keys_and_floats([7], [1.5, -2.5]), step=1),
        record(3, 4, keys_and_floats([1, 2]), step=1),
        record(4, 5, step=9),
    ]
    other = [
        record(5, 1, config(3, "adam"), group=7, config=1),
        record(5, 2, keys_and_floats([3], [0.5, 0.5, 0.5]), group=7, config=1, step=1),
    ]
    decay = {"decay_steps": 3, "decay_rate": 0.5}
    scheduled = config(2, "sgd", name="exponential_decay", params=decay)
    whole = segment(1, b"".join(calls))
    both = segment(1, b"".join(calls + other))
    for target in "journal_read", "replay":
        write(target, "empty-file", b"")
        write(target, "header", segment(1))
        write(target, "calls", whole)
        write(target, "two-groups", both)
        write(target, "torn", both[:-9])
        write(target, "hole", both[:-20] + bytes(20))
        write(target, "zeros-at-the-end", whole + bytes(64))
        write(target, "schedule", segment(1, record(1, 1, scheduled) + calls[1]))
        write(target, "without-configuration", segment(1, calls[1]))
    # What no storage with these groups writes: another layout of rows, and a call of a group with
    # the configuration of another.
    for name, dim, optimizer in [
        ("other-dim", 3, "sgd"),
        ("other-optimizer", 2, "adam"),
        ("no-dim", 0, "sgd"),
        ("huge-dim", 2**62, "sgd"),
    ]:
        call = record(1, 2, keys_and_floats([1], [0.5] * min(dim, 3)), step=1)
        write("replay", name, segment(1, record(1, 1, config(dim, optimizer)) + call))
    write("replay", "other-group", segment(1, calls[0] + record(1, 2, gradients, group=7, step=1)))
    two = whole + b"=next=file=" + segment(5, b"".join(other))
    write("journal_read", "two-files", two)
    write("journal_read", "second-file-torn", two[:-30])
    write("journal_read", "gap", whole + b"=next=file=" + segment(9))
    # The cut, then for each call its kind and group, and keys.
    write("journal_write", "one", bytes([200, 0, 0, 1, 2, 3, 4, 5, 6, 7]))
    kinds = b"".join(bytes([kind, 1, 2, 3, 4, 5, 6, 7]) for kind in range(16))
    write("journal_write", "kinds", bytes([0, 1]) + kinds)
    rotations = b"".join(bytes([op, 1, 2]) + bytes(5) for op in (0, 7, 8, 7, 7, 4, 6))
    write("journal_write", "rotations", bytes([40, 0]) + rotations)
    # Found by fuzzing: the cut is in the last record of a file that another one follows.
    found = [b">KK%020d.journal" % 4, b"K" * 5, b"%020d.journal" % 4]
    found += [b"K" * 27, b"\xff\xff\\\xfe\2{{{\2{{{{\0\0\0\0{{{{\3\4\5\0\0"]
    write("journal_write", "rotated-and-cut", b"".join(found))


# Rows


def rows():
    time = TIME.to_bytes(6, "little")
    floats = struct.pack("<3f", 1.5, -0.0, 3e-39)
    write("row", "row", bytes([1 << 6 | 2 << 3 | 1]) + time + bytes([7, 44, 1]) + floats)
    write("row", "row-without-numbers", bytes([1 << 6]) + time + floats)
    write("row", "deleted", bytes([2 << 6 | 2 << 3]) + time + bytes([44, 1]))
    write("row", "expired", bytes([0x81]) + struct.pack("<I", 20_000))
    keys = [struct.pack(">HQ", 0, (key % 2**64) ^ 1 << 63) for key in (5, -6)]
    write("row", "keys", b"".join(keys))
    write("row", "header-fields", struct.pack("<QQQ", TIME, 3, 1 << 60) + floats)


# Tables


def aligned(data):
    return data + bytes(-len(data) % 64)


def index(keys):
    """The slots of a table's group, and its homes."""
    homes = len(keys) + (len(keys) + 1) // 2
    bits, slots, placed = len(keys).bit_length(), [0] * homes, []
    for row, key in enumerate(keys):
        h = key % 2**64
        for factor in 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53:
            h = (h ^ h >> 33) * factor % 2**64
        h = (h ^ h >> 33) >> 22
        placed.append((h * homes >> 42, row, h))
    for home, row, h in sorted(placed):
        while home < len(slots) and slots[home]:
            home += 1
        slots += [0] * (home + 1 - len(slots))
        slots[home] = (h << bits) % 2**32 | row + 1
    return struct.pack(f"<{len(slots)}I", *slots), len(slots), homes


def table(value_type, groups, number=1, since=None):
    """groups: number, dim, rows by key (as bytes), keys removed."""
    at, entries, body = 64 * (1 + len(groups)), b"", b""
    for group, dim, of_key, removed in groups:
        rows = aligned(b"".join(struct.pack("<q", key) + of_key[key] for key in sorted(of_key)))
        if since is None:
            more, count, homes = index(sorted(of_key))
        else:
            more, count, homes = struct.pack(f"<{len(removed)}q", *sorted(removed)), len(removed), 0
        more = aligned(more)
        sums = zlib.crc32(rows), zlib.crc32(more)
        fields = len(of_key), at, *sums, at + len(rows), count, homes, 0
        entries += struct.pack("<IIQQIIQQQQ", group, dim, *fields)
        at += len(rows) + len(more)
        body += rows + more
    start = b"damotabl" + struct.pack("<I", 1)
    kind = 0 if since is None else 1
    fields = value_type, len(groups), kind, number, since or 0, at, 0
    rest = struct.pack("<IIIQQQQ", *fields) + entries
    return start + struct.pack("<II", zlib.crc32(start), zlib.crc32(rest)) + rest + body


def tables():
    half = {key: struct.pack("<2e", key / 4, -1) for key in range(-4, 5)}
    byte = {key: struct.pack("<ff3B", 0.5, -1.0, 0, 128, 255) for key in (5, -(2**63), 2**63 - 1)}
    plain = {key: struct.pack("<f", key) for key in range(40)}
    write("table", "float16", table(2, [(0, 2, half, [])]))
    write("table", "int8", table(3, [(65535, 3, byte, [])]))
    write("table", "float32", table(1, [(0, 1, plain, []), (9, 4, {}, [])]))
    write("table", "no-groups", table(1, []))
    for name in "base", "increment", "merged":
        for target in "table", "increment":
            write(target, f"golden-{name}", (TABLES / f"{name}.table").read_bytes())
    two = {1: struct.pack("<2f", 1, 2), 2: struct.pack("<2f", 3, 4)}
    new_group = (3, 1, {0: struct.pack("<f", 1)}, [])
    write("increment", "changes", table(1, [(0, 2, two, [-7, 5]), new_group], 2, 1))
    write("increment", "nothing", table(1, [(0, 2, {}, [])], 1, 1))
    write("increment", "changed-and-removed", table(1, [(0, 2, two, [2])], 5, 1))
    # Value type, width; then what, group, keys, and two bytes a float.
    write("merge", "rows", bytes([0, 0, 0, 0, 3, 10, 11, 12, 32, 0, 33, 0, 34, 0]))
    base, changed, removed = [0, 0, 1, 20, 32, 0], [2, 0, 1, 21, 40, 0], [3, 0, 1, 20, 3, 2, 1, 255]
    write("merge", "changes", bytes([1, 1, *base, *changed, *removed]))
    write("merge", "range", bytes([2, 0, 0, 1, 150, 9]) + bytes(range(230)) + bytes([3, 1, 140, 9]))


# SST files


def files_of_rows():
    """damo's own: RocksDB writes them. The fuzz target corrects checksums."""
    for file in sorted((GOLDEN / "sst").glob("*.sst")):
        write("sst", file.stem, file.read_bytes())
    formats = GOLDEN / "formats"
    write("sst", "compressed", (formats / "lz4/000009.sst").read_bytes())
    write("sst", "documents", (formats / "damo-3/checkpoint/000010.sst").read_bytes())
    whole = (formats / "damo-3/closed/000009.sst").read_bytes()
    write("sst", "ingested", whole)
    write("sst", "cut-off", whole[:-9])
    write("sst", "footer", whole[-53:])


# Filters, imports, documents


def filters():
    def file(capacity, count, per_key, fpr, blocks, counters=b""):
        start = b"damofltr" + struct.pack("<I", 1)
        rest = struct.pack("<QIIdQ", capacity, count, per_key, fpr, blocks).ljust(4080, b"\0")
        head = start + struct.pack("<I", zlib.crc32(start + rest)) + rest
        return head + counters.ljust(128 * blocks, b"\0")

    write("filter", "empty-counters", file(10, 3, 9, 1e-3, 2))
    write("filter", "counted", file(100, 15, 6, 0.01, 3, bytes(range(256))))
    write("filter", "one-counter", file(1, 1, 1, 0.5, 1, b"\xff" * 128))
    write("filter", "cut-off", file(10, 3, 9, 1e-3, 2)[:4100])


def imports():
    def file(*records, more=b""):
        data = struct.pack("<q", len(records))
        for group, key, pair, dim, floats in records:
            value = struct.pack("<iqqq", group, key, *pair) + more + struct.pack("<i", dim)
            value += struct.pack(f"<{len(floats)}f", *floats)
            data += struct.pack("<QiqQ", 12, group, key, len(value)) + value
        return data

    older = (0, 1, (TIME, 3), 2, [0.5, -0.5]), (1, -7, (TIME, 0), 3, [0.25] * 9)
    write("import", "older", file(*older))
    later = (0, 1, (3, TIME), 2, [0.5, -0.5]), (2, 2, (1, TIME), 1, [1.0, 2.0])
    write("import", "later", file(*later))
    last = (0, 1, (3, TIME), 2, [0.5, -0.5]), (1, -7, (0, TIME), 3, [0.25] * 9)
    write("import", "last", file(*last, more=bytes(8)))
    weights_only = (1, 5, (TIME, 9), 3, [1, 2, 3]), (1, 5, (TIME, 10), 3, [4, 5, 6])
    write("import", "weights-only", file(*weights_only))
    refused = [
        (9, 1, (TIME, 1), 2, [1, 2]),
        (0, 2, (TIME, 1), 3, [1, 2, 3]),
        (0, 3, (TIME, 1), 2, [1]),
        (0, 4, (TIME, 1), 2, [1, float("inf")]),
        (0, 5, (800_000_000_000, 1), 2, [1, 2]),
        (0, 6, (1, TIME), 2, [1, 2]),
    ]
    write("import", "refused", file(*refused))
    write("import", "nothing", file())
    write("import", "neither-is-a-time", file((0, 1, (5, 6), 2, [1, 2])))


def documents():
    def text(value):
        return json.dumps(value, indent=1).encode()

    files = [["000009.sst", 100], ["CURRENT", 16], ["journal/00000000000000000001.journal", 24]]
    known = {"format": "damo checkpoint 1", "id": "00ff" * 8, "number": 3, "time": TIME}
    write("checkpoint_list", "whole", text({**known, "files": files}))
    write("checkpoint_list", "cut-off", text({**known, "files": [["CURRENT", 17]]}))
    write("checkpoint_list", "longer", text({**known, "files": [["CURRENT", 15]]}))
    write("checkpoint_list", "missing", text({**known, "files": [["000011.sst", 1], ["../x", 0]]}))
    later = {**known, "format": "damo checkpoint 2", "files": []}
    write("checkpoint_list", "later-format", text(later))
    copy = {"file": "0.filter", "path": "/a/users.filter", "groups": [7, 8]}
    write("checkpoint_list", "filters", text([copy]))
    copies = [{**copy, "part_of": ["1.filter"]}]
    waiting = {"format": "damo filters 1", "id": "00ff" * 6, "copies": copies}
    taken = [{"file": "1.filter", "groups": [9]}]
    write("checkpoint_list", "filters-waiting", text({**waiting, "taken": taken}))
    write("checkpoint_list", "filter-missing", text([{**copy, "file": "1.filter"}]))
    bags = {
        "adam": {"gamma": 0.01, "beta1": 0.9, "beta2": 0.999, "lambda": 0.1, "epsilon": 1e-8},
        "ftrl": {"alpha": 0.005, "beta": 1.0, "lambda1": 0.5, "lambda2": 2},
        "adagrad": {"learning_rate": 1, "lambda": 0, "eta": 0.1, "epsilon": 1e-10},
        "lion": {"eta": 3e-4, "beta1": 0.9, "beta2": 0.99},
        "none": {"state": 32, "initial_accumulator_value": 1},
        "uniform": {"min": -3.4e38, "max": 3.4e38, "seed": -1},
        "normal": {"mean": 1, "stddev": 3e38, "seed": 9223372036854775807},
        "constant": {"value": -0.5},
        "decay": {"decay_steps": 100, "decay_rate": 0.96, "staircase": True, "warmup_steps": 10},
        "polynomial": {"decay_steps": 5, "end_learning_rate": 1e-4, "power": 0.5, "cycle": True},
        "cosine": {"decay_steps": 9, "num_periods": 0.5, "alpha": 0.1, "beta": 1e-3},
        "storage": {"cache_bytes": 1 << 20, "durability": "power", "threads": 2},
        "dump": {
            "format": "table",
            "value_type": "int8",
            "since": 3,
            "expire_days": 1.5,
            "min_count": 2,
        },
        "classic": {"header_groups": 10, "format": "classic"},
        "embedding": {"duplicates": "mean", "padding_key": 0, "name": "users"},
        "filter": {"path": "x", "capacity": 10, "count": 3, "fpr": 0.01, "reload": False},
    }
    for name, bag in bags.items():
        write("params", name, json.dumps(bag).encode())
    decay = {"decay_steps": 3, "decay_rate": 0.5}
    write("params", "group", config(4, "adagrad", name="inverse_time_decay", params=decay))
    journal = {"through": 9, "active": True, "boot": "x", "reserved": 1 << 20, "ttl_ms": 0}
    write("params", "journal-document", text(journal))
    write("params", "largest-number", text({**journal, "through": 2**64 - 1}))
    dump = {"number": 1, "time": TIME, "cutoff": 0, "later_cutoff": 0}
    dump |= {"group": None, "min_count": 0}
    write("params", "dumps-document", text([dump, {**dump, "group": 3}]))


# Programs of calls


def programs():
    """The first byte is the options; then calls, by their number in fuzz/fuzz_targets/calls.rs."""
    lookup, peek, apply, insert, delete, set_step = 0, 2, 3, 7, 8, 9
    flush, compact, reopen = 10, 11, 12
    checkpoint, load, table, increment, classic, time = 13, 14, 15, 16, 17, 18
    clear, compare = 20, 21
    few, many = [3, 20, 21, 20], [200, 16]
    train = [apply, 0, *few, 1, 32, 5, 0]
    wide = [apply, 1, *many, 0, 16, 3, 0]
    drop = [delete, 0, 1, 20]
    begin, change = [lookup, 0, *few, *train], [insert, 0, *few, 9, 1, *drop]
    both = [*train, checkpoint, 0, *wide, checkpoint, 1, load, 0, compare, *train, load, 1]
    later = [time, 60, *wide, time, 60, increment, compare, compact, lookup, 0, *few]
    empty = [*train, *wide, table, clear, 0, *train, compare, flush, clear, 1, lookup, 1, *many]
    emptied = [reopen, compare, clear, 0, compare, reopen]
    padding = [apply, 0, 2, 19, 30, 0, 1, 1, 0, insert, 0, 1, 19, 1, 1]
    nan = [apply, 1, 1, 30, 0, 1, 1, 255]
    seeds = {
        "every-kind": [0, *begin, *change, peek, 0, *few, set_step, 0, 7, compare],
        "reopened": [2, *train, reopen, compare, *wide, flush, *train, compact, reopen],
        "small-cache": [0, *wide, lookup, 1, 255, 0, *wide, peek, 1, 255, 0, compare],
        "checkpoints": [4, *both],
        "dumps": [1, *train, table, *wide, *drop, increment, *train, increment, classic],
        "time": [2, *train, table, *later],
        "cleared": [0, *empty, table, *train, increment, *emptied],
        "padding-and-nan": [8, *padding, *nan],
    }
    for name, program in seeds.items():
        write("calls", name, bytes(program))


if __name__ == "__main__":
    shutil.rmtree(CORPUS, ignore_errors=True)
    for make in journals, steps, rows, tables, files_of_rows, filters, imports, documents, programs:
        make()
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    print(f"{len(files)} inputs, {sum(file.stat().st_size for file in files)} bytes")

"""Measures what a call from Python costs, and that the GIL is released, for python/README.md.

DAMO_LIBRARY=... python3 benches/python/calls.py      # with cffi installed it is measured, too
"""

import pathlib
import shutil
import sys
import tempfile
import threading
import time
import timeit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))

import numpy as np

import damo
from damo import _arrays, _c_api


def report(title, call, number=20_000):
    print(
        f"{title:35} {min(timeit.repeat(call, number=number, repeat=7)) / number * 1e9:6.0f} ns",
        flush=True,
    )


def call_costs():
    """damo_initializer_fill of 16 zeros: 5 arguments, one of them an array, and next to no work."""
    zeros, row = damo.Zeros(), np.zeros(16, np.float32)
    handle = zeros._use()._as_parameter_.value
    address = _arrays.address(row)
    fill = _c_api.damo_initializer_fill
    report("ctypes, addresses at hand", lambda: fill(handle, 0, 1, address, 16))
    report(
        "ctypes, address of an array taken", lambda: fill(handle, 0, 1, _arrays.address(row), 16)
    )
    report("and the handle's owner", lambda: fill(zeros._use(), 0, 1, _arrays.address(row), 16))
    try:
        import cffi
    except ImportError:
        print("cffi is not installed")
    else:
        ffi = cffi.FFI()
        ffi.cdef("int damo_initializer_fill(const void *, uint32_t, int64_t, float *, size_t);")
        other, pointer = ffi.dlopen(str(_c_api.library_path)), ffi.cast("void *", handle)
        buffer, fill = ffi.from_buffer("float[]", row), other.damo_initializer_fill
        report("cffi, pointers at hand", lambda: fill(pointer, 0, 1, buffer, 16))
        report(
            "cffi, pointer of an array taken",
            lambda: fill(pointer, 0, 1, ffi.from_buffer("float[]", row), 16),
        )
    report("Initializer.fill, with its checks", lambda: zeros.fill(row))


def rows_per_second(users, keys, threads, seconds=2.0):
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def read(number):
        out = np.empty((keys.size, users.dim), np.float32)
        while time.perf_counter() < end:
            users.lookup(keys, out=out)
            counts[number] += keys.size

    processor = time.process_time()
    workers = [threading.Thread(target=read, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds, (time.process_time() - processor) / seconds


def main():
    call_costs()
    folder = tempfile.mkdtemp(prefix="damo-bench-")
    try:
        # One thread of the library for each call, so that only Python's threads share the cores.
        with damo.Storage(folder + "/table", threads=1, durability="checkpoint") as storage:
            users = storage.embedding("user", dim=16, optimizer=damo.Adam())
            keys = np.random.default_rng(1).integers(0, 1 << 20, 1 << 12)
            users.lookup(keys)
            storage.flush()
            one_key = keys[:1].copy()
            out = np.empty((1, 16), np.float32)
            report("Embedding.lookup of one row", lambda: users.lookup(one_key, out=out), 5000)
            for _ in range(5):
                # Processor time shows what the machine had left: 1.0 for two threads means one
                # core.
                (one, used), (two, both) = rows_per_second(users, keys, 1), rows_per_second(
                    users, keys, 2
                )
                print(
                    f"lookups of resident rows: 1 thread {one / 1e6:.1f} M rows/s on {used:.2f}"
                    f" cores, 2 threads {two / 1e6:.1f} M on {both:.2f}: {two / one:.2f} x,"
                    f" {two / both / one * used:.2f} x for each core's second"
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

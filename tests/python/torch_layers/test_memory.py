"""Memory of rows: glibc keeps what a step frees for the next step."""

import os
import platform
import subprocess
import sys
import unittest

# Before the others: without torch it skips this file.
from support import Case

# Prints whether glibc maps a tensor of 24 MiB for itself, before and after a layer's large output.
MAPPED = """
import ctypes, sys, torch, damo, damo.torch
class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [("others", ctypes.c_int * 5)]
mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = Mallinfo
held = []  # glibc learns when a mapped tensor is freed.
def is_mapped():
    before = mallinfo().hblks
    held.append(torch.empty(24 << 20, dtype=torch.uint8))
    return mallinfo().hblks > before
with damo.Storage(sys.argv[1], cache_bytes=1 << 24) as storage:
    layer = damo.torch.Embedding(storage, "user", 16, optimizer=damo.SGD(lr=0.1)).eval()
    layer(torch.zeros(10, dtype=torch.int64))
    before = is_mapped()
    layer(torch.zeros(10_000, dtype=torch.int64))
    print(before, is_mapped())
"""

LIMITED = """
from damo.torch import _memory
def refuse(*_): raise MemoryError
_memory.np.empty = refuse
print(tuple(_memory.empty_rows(100_000, 16).shape))
"""


class Memory(Case):
    def printed(self, program, **environment):
        done = subprocess.run(
            [sys.executable, "-c", program, self.path("table")],
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, **environment},
        )
        return done.stdout.decode().strip()

    @unittest.skipUnless(platform.libc_ver()[0] == "glibc", "another libc has other rules")
    @unittest.skipIf("LD_PRELOAD" in os.environ, "another allocator may be preloaded")
    def test_a_large_output_lets_glibc_keep_memory(self):
        # glibc maps a tensor only where no freed memory is large enough, as in a new process.
        self.assertEqual(self.printed(MAPPED), "True False")

    @unittest.skipUnless(platform.libc_ver()[0] == "glibc", "another libc has other rules")
    @unittest.skipIf("LD_PRELOAD" in os.environ, "another allocator may be preloaded")
    def test_a_threshold_that_the_program_has_set_stays(self):
        printed = self.printed(MAPPED, MALLOC_MMAP_THRESHOLD_="1048576")
        self.assertEqual(printed, "True True")

    def test_memory_that_cannot_be_had_is_no_error(self):
        self.assertEqual(self.printed(LIMITED), "(100000, 16)")


if __name__ == "__main__":
    unittest.main()

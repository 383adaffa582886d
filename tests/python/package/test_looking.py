"""Looking with read_only: not one byte changes.

The storage may be one without write permission, of another user, or with rows that expire and files
that wait to be merged.
"""

import hashlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import textwrap

import numpy as np

import damo
from support import CACHE, PREAMBLE, Case, floats

START = 1_700_000_000_000
# What a looker does and prints, as the user of the test or, for root, as one who owns nothing.
LOOK = """
import hashlib, json
folder, ttl, clock, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if os.getuid() == 0 and sys.argv[5] == "nobody":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    os.open(os.path.join(folder, "probe"), os.O_CREAT | os.O_WRONLY)
    raise SystemExit("the folder can be written")
except OSError:
    pass
with damo.Storage(folder, ttl=ttl, cache_bytes=1 << 24, read_only=True) as storage:
    storage._set_clock(clock)
    users = storage.embedding("user", dim=4, optimizer=damo.SGD(lr=0.5), initializer=damo.Ones())
    keys = sorted(row.key for row in users)
    assert len(users) == storage.row_count("user") == storage.verify() == len(keys), len(keys)
    weights, found = users.peek(keys)
    users.lookup(keys + [10**12])
    storage.flush(), storage.stats(), storage.describe()
    storage.dump(os.path.join(out, "dump"))
    storage.checkpoint(os.path.join(out, "checkpoint"))
    print(json.dumps([len(keys), hashlib.sha256(weights.tobytes()).hexdigest(), bool(found.all())]))
"""


def state(folder):
    """Every name below a folder: kind, permissions, size, time of the last change, and a hash."""
    found = {}
    for path in sorted([pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]):
        told = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(told.st_mode) else b""
        found[str(path)] = (
            told.st_mode,
            told.st_size,
            told.st_mtime_ns,
            hashlib.sha256(content).hexdigest(),
        )
    return found


class Looking(Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)

    def fill(self, name="table"):
        """Makes eight files of 100 rows that wait to be merged, each a second after the last."""
        with self.storage(name, threads=1) as storage:
            users = self.users(storage)
            for file in range(8):
                storage._set_clock(START + 1000 * file)
                users.apply_gradients(np.arange(100) * 8 + file, floats(100, 4, value=file))
                storage.flush()

    def lock_up(self, folder):
        """Takes the permission to write from everything, as for a copy that is kept."""
        for path in [pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        # So that the test's folder can be removed.
        self.addCleanup(
            lambda: [path.chmod(0o755) for path in pathlib.Path(folder).rglob("*") if path.is_dir()]
        )
        self.addCleanup(os.chmod, folder, 0o755)

    def look(self, folder, ttl=0, clock=START + 7000, before=()):
        """What a process sees that cannot write: the number of rows."""
        out = self.path(f"out-{len(os.listdir(self.folder))}")
        os.mkdir(out)
        os.chmod(out, 0o777)
        arguments = [
            str(value) for value in (folder, ttl, clock, out, "self" if before else "nobody")
        ]
        was = state(folder)
        ended = subprocess.run(
            [*before, sys.executable, "-c", PREAMBLE + LOOK, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=out,
            env={**os.environ, "TMPDIR": out},
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertEqual(state(folder), was)
        rows, _, found = json.loads(ended.stdout)
        self.assertTrue(found or rows == 0)
        self.assertEqual(
            sorted(os.listdir(out)), ["checkpoint", "dump"], "and no scratch file is left"
        )
        with damo.Storage(os.path.join(out, "checkpoint"), cache_bytes=CACHE) as copy:
            self.assertGreaterEqual(copy.row_count(), rows)
        return rows

    def test_a_directory_without_permission_to_write(self):
        self.fill()
        self.lock_up(self.path("table"))
        self.assertEqual(self.look(self.path("table")), 800)

    def test_with_a_ttl_and_merges_due(self):
        self.fill()
        self.lock_up(self.path("table"))
        self.assertEqual(self.look(self.path("table"), 3), 300)
        self.assertEqual(self.look(self.path("table"), 3, START + 100_000), 0)

    def test_a_checkpoint(self):
        self.fill()
        with self.storage() as storage:
            storage._set_clock(START + 7000)
            storage.checkpoint(self.path("monday"))
        self.lock_up(self.path("monday"))
        self.assertEqual(self.look(self.path("monday"), 3), 300)
        self.assertIn("checkpoint.json", os.listdir(self.path("monday")))

    def test_what_only_the_journal_of_a_killed_process_has(self):
        self.fill()
        script = PREAMBLE + textwrap.dedent(f"""
            storage = damo.Storage({self.path("table")!r}, cache_bytes=1 << 24)
            storage._set_clock({START + 7500})
            sgd, ones = damo.SGD(lr=0.5), damo.Ones()
            users = storage.embedding("user", dim=4, optimizer=sgd, initializer=ones)
            for key in range(10_000, 10_050):
                users.apply_gradients([key], np.ones((1, 4), np.float32))
            users.delete([0])
            os.kill(os.getpid(), {int(signal.SIGKILL)})
            """)
        ended = subprocess.run([sys.executable, "-c", script], timeout=120)
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        self.lock_up(self.path("table"))
        # 300 rows of the last files, and those of the journal: the row that it deletes has expired.
        self.assertEqual(self.look(self.path("table"), 4, START + 8000), 350)

    def test_a_mount_that_is_read_only(self):
        self.fill()
        place = self.path("table")
        before = ["unshare", "--mount", "--", "sh", "-c"]
        before += ['mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"', place]
        try:
            subprocess.run([*before, "true"], check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            self.skipTest("this user may not mount")
        self.assertEqual(self.look(place, 3, before=before), 300)

    def test_a_folder_for_temporary_files_that_is_full(self):
        """The error names that folder, and no file of the storage."""
        self.fill()
        script = PREAMBLE + textwrap.dedent(f"""
            storage = damo.Storage({self.path("table")!r}, cache_bytes=1 << 24)
            sgd, ones = damo.SGD(lr=0.5), damo.Ones()
            users = storage.embedding("user", dim=4, optimizer=sgd, initializer=ones)
            for call in range(10):
                keys = np.arange(10_000) + 10_000 * call
                users.apply_gradients(keys, np.ones((10_000, 4), np.float32))
            os.kill(os.getpid(), {int(signal.SIGKILL)})
            """)
        ended = subprocess.run([sys.executable, "-c", script], timeout=120)
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        place = self.path("temporary")
        os.mkdir(place)
        before = ["unshare", "--mount", "--", "sh", "-c"]
        before += ['mount -t tmpfs -o size=512k none "$0" && exec "$@"', place]
        try:
            subprocess.run([*before, "true"], check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            self.skipTest("this user may not mount")
        script = PREAMBLE + textwrap.dedent(f"""
            try:
                damo.Storage({self.path("table")!r}, cache_bytes=1 << 24, read_only=True)
            except damo.IoError as error:
                print(error)
            """)
        was = state(self.path("table"))
        told = subprocess.run(
            [*before, sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "TMPDIR": place},
        ).stdout
        self.assertIn(os.path.join(place, "damo-read-only-"), told)
        self.assertIn("set TMPDIR", told)
        self.assertNotIn(os.path.join(self.path("table"), "incoming"), told)
        self.assertEqual(state(self.path("table")), was)

    def test_a_group_stays_as_it_is_and_a_trainer_without_a_journal_no_checkpoint(self):
        with self.storage(durability="checkpoint") as trainer:
            rows = trainer.embedding(3, dim=4, optimizer=damo.SGD(lr=0.5), initializer=damo.Ones())
            rows.apply_gradients([1, 2], floats(2, 4, value=1))
            trainer.flush()
            with damo.Storage(self.path("table"), cache_bytes=CACHE, read_only=True) as looking:
                described = looking.describe()
                looking.embedding(3, dim=4, optimizer=damo.SGD(lr=9.0), initializer=damo.Zeros())
                words = ["no group is called 'user'", "read_only"]
                self.assert_fails(
                    damo.NotFoundError,
                    words,
                    looking.embedding,
                    "user",
                    dim=4,
                    optimizer=damo.SGD(),
                )
                self.assertEqual(looking.describe(), described)
                words = ["durability 'checkpoint'"]
                self.assert_fails(damo.BusyError, words, looking.checkpoint, self.path("copy"))
        self.assertFalse(os.path.exists(self.path("copy")))

    def test_opening_to_write_says_what_cannot_be_written(self):
        """It is IO, and not BUSY: nobody has it open."""
        self.fill()
        self.lock_up(self.path("table"))
        script = """
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                damo.Storage(os.path.join(FOLDER, "table"), cache_bytes=1 << 24)
            except damo.Error as error:
                text = str(error)
                is_named = os.path.join(FOLDER, "table") in text
                print(error.status.name, is_named, "ermission denied" in text)
        """
        before = state(self.path("table"))
        self.run_script(script, output="IO True True\n")
        self.assertEqual(state(self.path("table")), before)

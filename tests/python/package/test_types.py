"""What mypy says, if it is installed: a misspelt choice is an error, and all names have types."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import unittest

from support import CHECKOUT

# `# wrong: CODE` behind a line says which error it has. All others have none.
USE = """
import datetime
from typing import SupportsIndex

import numpy as np

import damo
import damo.torch

storage = damo.Storage("x", durability="power", ttl=datetime.timedelta(days=1), threads=np.int32(2))
damo.Storage("x", durability="proces")  # wrong: arg-type
damo.Storage("x", durabilty="power")  # wrong: call-arg
damo.Storage("x", read_only="yes")  # wrong: arg-type
adam = damo.Adam(lr=1e-3)
users = storage.embedding(
    "user", dim=np.int64(4), optimizer=adam, duplicates="mean", padding_key=np.uint64(0)
)
storage.embedding("user", dim=4, optimizer=damo.Adam(), duplicates="max")  # wrong: arg-type
storage.embedding("user", dim=4.0, optimizer=damo.Adam())  # wrong: arg-type
storage.embedding("user", dim=4, optimizer="adam")  # wrong: arg-type
storage.dump("x", format="classic", value_type="int8", group="user")
storage.dump("x", format="csv")  # wrong: arg-type
storage.dump("x", value_type="int4")  # wrong: arg-type
storage.stat("rows_created")
storage.stat("rows_made")  # wrong: arg-type
damo.Optimizer("adam", gamma=1e-3, beta1=0.9, scheduler=damo.CosineDecay(10))
damo.Optimizer("adm", gamma=1e-3)  # wrong: arg-type
damo.Optimizer("adam", gama=1e-3)  # wrong: call-arg
damo.Initializer("normal", stddev=0.1, seed=np.int64(3))
damo.Initializer("gauss")  # wrong: arg-type
damo.Initializer("normal", sigma=0.1)  # wrong: call-arg
damo.Scheduler("cosine_decay", decay_steps=10)
damo.Scheduler("cosine", decay_steps=10)  # wrong: arg-type
damo.Scheduler("cosine_decay", steps=10)  # wrong: call-arg
damo.Adam(learning_rate=1e-3)  # wrong: call-arg
damo.Filter(b"x".decode(), capacity=np.int64(10)).check([1, 2], group=np.uint8(1))
step = storage.step({"user": users, "tags": users}, pooling={"tags": "mean", "user": None})
rows: "dict[str, np.ndarray]" = step.lookup({"user": [1], "tags": ([1], [0])})
matrix: np.ndarray = step.peek({"user": [1]}, out=np.zeros((1, 8), np.float32))
step.apply_gradients(matrix)
storage.step({"user": users}, pooling={"user": "avg"})  # wrong: dict-item
storage.step({"user": 4})  # wrong: dict-item
storage.step({"user": users}, include_last_offset=1)  # wrong: arg-type
part: damo.KeysPartition = damo.keys_partition([1, 2, 1], shards=np.int64(2))
damo.rows_gather(users.lookup(part.keys), part.positions)
damo.key_shard("1", 2)  # wrong: arg-type
damo.keys_partition([1], shards=2.0)  # wrong: arg-type
damo.gradients_sum(np.zeros((1, 2), np.float32), [0])  # wrong: call-arg
config = damo.torch.TableConfig("user", 4, adam, ["user", "friend"], pooling="sum")
damo.torch.EmbeddingBagCollection(storage, [config], output="tensor", include_last_offset=True)
damo.torch.EmbeddingCollection(storage, (config,)).tables
damo.torch.TableConfig("user", 4, adam, pooling="avg")  # wrong: arg-type
damo.torch.EmbeddingCollection(storage, [config], output="list")  # wrong: arg-type
damo.torch.EmbeddingCollection(storage, [config], include_last_offset=True)  # wrong: call-arg
damo.torch.EmbeddingBag(storage, "user", 4, optimizer=adam, mode="sum", padding_idx=np.int64(0))
damo.torch.EmbeddingBag(storage, "user", 4, optimizer=damo.Adam(), mode="avg")  # wrong: arg-type
damo.torch.EmbeddingBag(storage, "user", 4, optimiser=damo.Adam())  # wrong: call-arg
damo.torch.EmbeddingBag(storage, "user", 4, optimizer=damo.Adam(), padding=0)  # wrong: call-arg
damo.torch.EmbeddingBag(storage, "user", 4, optimizer="adam")  # wrong: arg-type
damo.torch.Embedding(storage, "user", 4, optimizer=damo.Adam(), filter="seen")  # wrong: arg-type
seen = damo.PyFilter(damo.Parameters())
flag: bool = seen.check(key=5) and seen.check(0, 5) and seen.check(group=0, key=5)
seen.add(key=5, num=1)
seen.add(5, 1)
seen.add(5, times=1)  # wrong: call-overload
seen.check("5")  # wrong: call-overload
optimizer = damo.PyOptimizer(damo.Parameters())
initializer = damo.PyInitializer(damo.Parameters())
damo.PyEmbedding(damo.PyStorage("x"), optimizer, initializer, 2, "3")  # wrong: arg-type
"""


def lacking():
    """Why types cannot be checked; None when they can."""
    if importlib.util.find_spec("mypy") is None:
        return (
            "mypy is not installed for this interpreter (pip install mypy): types are not checked"
        )
    version = importlib.metadata.version("mypy")
    if tuple(map(int, version.split(".")[:2])) < (1, 5):
        return f"mypy {version} is too old; types are checked with 1.5 or later, which knows Unpack"
    return None


@unittest.skipIf(lacking(), lacking())
class Types(unittest.TestCase):
    def mypy(self, *arguments):
        """The errors as {line: code}, and what else it says."""
        with tempfile.TemporaryDirectory() as cache:
            # torch has types of its own, which take a minute to read and are not what is checked.
            options = [
                "--cache-dir",
                cache,
                "--follow-imports=silent",
                "--ignore-missing-imports",
                "--no-error-summary",
            ]
            configuration = os.path.join(cache, "mypy.ini")
            with open(configuration, "w", encoding="utf-8") as file:
                file.write("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
            ended = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "mypy",
                    "--config-file",
                    configuration,
                    *options,
                    *arguments,
                ],
                env={**os.environ, "MYPYPATH": str(CHECKOUT / "python")},
                capture_output=True,
                text=True,
                timeout=600,
            )
        self.assertEqual(ended.stderr, "")
        found = re.findall(r"^[^:\n]+:(\d+): error: .*\[([a-z-]+)\]$", ended.stdout, re.MULTILINE)
        return {int(line): code for line, code in found}, ended.stdout

    def test_of_those_who_use_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "use.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(USE)
            errors, output = self.mypy(path)
        lines = enumerate(USE.splitlines(), 1)
        expected = {
            number: line.split("# wrong: ")[1] for number, line in lines if "# wrong: " in line
        }
        self.assertEqual(errors, expected, output)

    def test_of_the_package(self):
        errors, output = self.mypy(str(CHECKOUT / "python" / "damo"))
        self.assertEqual(errors, {}, output)

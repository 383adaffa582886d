"""Trains a few rows with an installed release of damo-embedding, and writes what a test compares.

    python train_wheel.py RELEASE SET FOLDER

SET is all (adam, sgd, ftrl and amsgrad, each with the dims 1, 2 and 4), sgd1 or sgd3 (one group of
sgd with that dim: a value of sgd3 under a header of 32 bytes is as long as one of sgd1 under 40).
FOLDER gets SET.checkpoint and SET.dump, as the release wrote them after 50 steps, and SET.json:

    groups   group, optimizer, its parameters, dim
    rows     after 50 steps: group, key, updates as they were counted here, the time of the last
             in milliseconds since 1970, the weights as the release's own lookup says them
    later    after 50 further steps: group, key, weights

sgd1 also gets the directory of the table without its text files: after a kill, as a copy of the
open table, and after closing.

Step s trains the key with index i if s is a multiple of i + 1, with the gradient of `gradient`.
Weights begin with zeros. Only the releases' public calls are used.
"""

import glob
import json
import os
import shutil
import struct
import sys
import tempfile
import time

import damo
import numpy as np

KEYS = [1, 2, 5, 2**62 + 3, -7]
STEPS = 50
OPTIMIZERS = {
    "adam": {"gamma": 0.01, "beta1": 0.9, "beta2": 0.999, "lambda": 0.0, "epsilon": 1e-8},
    "sgd": {"gamma": 0.125, "lambda": 0.0},
    "ftrl": {"alpha": 0.05, "beta": 1.0, "lambda1": 0.0, "lambda2": 0.25},
    "amsgrad": {"gamma": 0.01, "beta1": 0.9, "beta2": 0.999, "lambda": 0.0, "epsilon": 1e-8},
}


def groups_of(which):
    kinds = [(name, dim) for name in OPTIMIZERS for dim in (1, 2, 4)]
    if which != "all":
        kinds = [("sgd", int(which[3:]))]
    return [
        {"group": group, "optimizer": name, "parameters": OPTIMIZERS[name], "dim": dim}
        for group, (name, dim) in enumerate(kinds)
    ]


def gradient(index, step, group, column):
    return ((7 * index + 13 * step + 3 * group + 5 * column) % 17 - 8) / 16


class Classes:
    """Releases 1.0.5 to 1.1.3."""

    def __init__(self, release, directory, groups):
        self.keys = np.uint64 if release == "1.0.5" else np.int64
        self.storage = damo.PyStorage(directory, 0)
        zeros = damo.PyInitializer(self.bag({"name": "zeros"}))
        self.embeddings = {}
        for group in groups:
            bag = self.bag(dict(group["parameters"], name=group["optimizer"]))
            self.embeddings[group["group"]] = damo.PyEmbedding(
                self.storage, damo.PyOptimizer(bag), zeros, group["dim"], group["group"]
            )

    @staticmethod
    def bag(values):
        made = damo.Parameters()
        for name, value in values.items():
            made.insert(name, value)
        return made

    def pull(self, group, keys, weights):
        self.embeddings[group].lookup(keys.astype(self.keys), weights)

    def push(self, step, group, keys, gradients):
        self.embeddings[group].apply_gradients(keys.astype(self.keys), gradients)

    def checkpoint(self, path):
        self.storage.checkpoint(path)
        os.rename(*glob.glob(path + "-*"), path)

    def dump(self, path):
        self.storage.dump(path)


class Served:
    """Releases from 1.1.4 on."""

    def __init__(self, release, directory, groups):
        embeddings = [
            {
                "group": group["group"],
                "dim": group["dim"],
                "initializer": {"name": "zeros"},
                "optimizer": dict(group["parameters"], name=group["optimizer"]),
            }
            for group in groups
        ]
        configuration = directory + ".json"
        with open(configuration, "w") as file:
            json.dump({"dir": directory, "ttl": 0, "embeddings": embeddings}, file)
        self.damo = damo.PyDamo(configuration)
        self.has_steps = release == "1.1.12"
        self.pull, self.checkpoint, self.dump = self.damo.pull, self.damo.checkpoint, self.damo.dump

    def push(self, step, group, keys, gradients):
        self.damo.push(*[step] * self.has_steps, group, keys, gradients)


def times_of(path, release):
    """The update times of a checkpoint, by group and key; its update counts, too."""
    with open(path, "rb") as file:
        data = file.read()
    (count,), at, found = struct.unpack_from("<q", data), 8, {}
    for _ in range(count):
        _, group, key, value_len = struct.unpack_from("<qiqQ", data, at)
        fields = struct.unpack_from("<qq", data, at + 28 + 12)
        found[group, key] = fields if release == "1.0.5" else fields[::-1]
        at += 28 + value_len
    assert at == len(data)
    return found


def copy_directory(directory, to):
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(to)
    for name in os.listdir(directory):
        if name.startswith(("CURRENT", "MANIFEST-", "OPTIONS-")) or name.endswith((".sst", ".log")):
            shutil.copy(os.path.join(directory, name), to)


def weights(table, groups):
    found = []
    for group in groups:
        rows = np.zeros((len(KEYS), group["dim"]), np.float32).reshape(-1)
        table.pull(group["group"], np.array(KEYS, np.int64), rows)
        found += zip(KEYS, [group["group"]] * len(KEYS), rows.reshape(len(KEYS), -1).tolist())
    return found


def main(release, which, folder):
    groups = groups_of(which)
    scratch = tempfile.mkdtemp(prefix="damo-fixtures-")
    kind = Classes if hasattr(damo, "PyStorage") else Served
    directory = os.path.join(scratch, "table")
    table = kind(release, directory, groups)
    # A gradient for a key that was never looked up is dropped there.
    weights(table, groups)
    updates, begun = {}, {}

    def train(steps):
        for step in steps:
            indexes = [index for index in range(len(KEYS)) if step % (index + 1) == 0]
            for group in groups:
                number, dim = group["group"], group["dim"]
                rows = [[gradient(i, step, number, c) for c in range(dim)] for i in indexes]
                now = int(time.time() * 1000)
                keys = np.array([KEYS[index] for index in indexes], np.int64)
                table.push(step, number, keys, np.array(rows, np.float32).reshape(-1))
                for index in indexes:
                    key = number, KEYS[index]
                    updates[key] = updates.get(key, 0) + 1
                    begun[key] = now
            time.sleep(0.002)

    train(range(STEPS))
    path = os.path.join(folder, which + ".checkpoint")
    table.checkpoint(path)
    written = int(time.time() * 1000)
    # Releases may stamp a row some milliseconds after the call has returned.
    times = times_of(path, release)
    for key, (update_time, count) in times.items():
        assert count == updates[key], (key, count, updates[key])
        assert begun[key] <= update_time <= written, (key, begun[key], update_time, written)
    table.dump(os.path.join(folder, which + ".dump"))
    rows = [
        {
            "group": group,
            "key": key,
            "updates": updates[group, key],
            "time": times[group, key][0],
            "weights": row,
        }
        for key, group, row in weights(table, groups)
    ]
    train(range(STEPS, 2 * STEPS))
    later = [
        {"group": group, "key": key, "weights": row} for key, group, row in weights(table, groups)
    ]
    parts = [("groups", groups), ("rows", rows), ("later", later)]
    text = ",\n".join(
        json.dumps(name) + ": [\n" + ",\n".join(map(json.dumps, part)) + "\n]"
        for name, part in parts
    )
    with open(os.path.join(folder, which + ".json"), "w") as file:
        file.write('{\n"release": ' + json.dumps(release) + ",\n" + text + "\n}\n")
    if which == "sgd1":
        copy_directory(directory, os.path.join(folder, "killed"))
    # Closes it.
    del table
    if which == "sgd1":
        copy_directory(directory, os.path.join(folder, "closed"))
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

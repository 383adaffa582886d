"""Trains the same rows with a release of damo-embedding and with damo, and compares them.

    python row_by_row.py there RELEASE SEED FOLDER    with the release's `damo`
    python row_by_row.py here RELEASE SEED FOLDER     with damo's own

there: takes 50 steps from zeros, makes a checkpoint, takes 50 steps more, and writes the rows.
here: imports the checkpoint, takes the same 50 further steps and prints a line for each optimizer:
the release, the optimizer, the largest difference of a weight after the import and after the steps,
and whether update counts and times are equal. It ends with 1 if one of them is not as
docs/migrating.md says.

Each step trains a part of the keys with gradients of the size 1. Both come from SEED.
"""

import json
import os
import sys
import warnings

import damo
import numpy as np
import train_wheel as wheel

STEPS = 50
KEYS = [int(key) for key in np.random.RandomState(0).randint(-(2**62), 2**62, 40, np.int64)] + [1]
ADAMS = {"gamma": 0.01, "beta1": 0.9, "beta2": 0.999, "lambda": 0.0, "epsilon": 1e-8}
FTRL = {"alpha": 0.05, "beta": 1.0, "lambda1": 0.0, "lambda2": 0.25}
# What is printed, the optimizer's name, its parameters, dim.
KINDS = [
    ("sgd", "sgd", {"gamma": 0.125, "lambda": 0.0}, 3),
    ("adam", "adam", ADAMS, 4),
    ("adamw", "adamw", dict(ADAMS, **{"lambda": 0.01}), 4),
    ("lion", "lion", {"eta": 0.0003, "beta1": 0.9, "beta2": 0.99, "lambda": 0.01}, 4),
    ("ftrl", "ftrl", FTRL, 2),
    ("ftrl, lambda1 0.5", "ftrl", dict(FTRL, lambda1=0.5), 2),
    ("amsgrad", "amsgrad", ADAMS, 4),
    ("adagrad", "adagrad", {"gamma": 0.01, "lambda": 0.0, "epsilon": 1e-10, "eta": 0.0}, 2),
]
# Adagrad came with PyDamo.
LATER = {"adagrad"}
# Where docs/migrating.md names another formula; FORMULAS holds the releases to theirs.
LIMITS = {"ftrl, lambda1 0.5": 0.03, "amsgrad": 0.2}


def kinds_of(release):
    return [kind for kind in KINDS if kind[1] not in LATER or release in ("1.1.11", "1.1.12")]


def groups_of(release):
    return [
        {"group": group, "optimizer": name, "parameters": parameters, "dim": dim}
        for group, (_, name, parameters, dim) in enumerate(kinds_of(release))
    ]


def training(seed, groups, steps):
    """For each step the keys' places and, by group, their gradients."""
    random = np.random.RandomState(seed)
    for step in range(2 * STEPS):
        places = np.flatnonzero(random.rand(len(KEYS)) < 0.6)
        gradients = [random.randn(len(places), group["dim"]) for group in groups]
        if step in steps:
            yield step, places, [floats.astype(np.float32) for floats in gradients]


def train(table, seed, groups, steps):
    for step, places, gradients in training(seed, groups, steps):
        keys = np.array(KEYS, np.int64)[places]
        for group, floats in zip(groups, gradients):
            table.push(step, group["group"], keys, floats.reshape(-1))


def weights(table, groups):
    """By group, the weights of all keys; keys without a row get one."""
    found = []
    for group in groups:
        rows = np.zeros(len(KEYS) * group["dim"], np.float32)
        table.pull(group["group"], np.array(KEYS, np.int64), rows)
        found.append(rows.reshape(len(KEYS), -1).tolist())
    return found


def times(path, release):
    """By group, the update_time and update_num of all keys."""
    found = wheel.times_of(path, release)
    return [[found[group["group"], key] for key in KEYS] for group in groups_of(release)]


def there(release, seed, folder):
    groups = groups_of(release)
    kind = wheel.Classes if hasattr(damo, "PyStorage") else wheel.Served
    table = kind(release, os.path.join(folder, "there"), groups)
    weights(table, groups)
    told = {}
    for name, steps in (("moved", range(STEPS)), ("later", range(STEPS, 2 * STEPS))):
        train(table, seed, groups, steps)
        path = os.path.join(folder, name)
        table.checkpoint(path)
        told[name] = {"weights": weights(table, groups), "times": times(path, release)}
    with open(os.path.join(folder, "told.json"), "w") as file:
        json.dump(told, file)


def amsgrad(parameters, dim, steps):
    """The releases' amsgrad: the largest v after its bias correction. torch takes it before."""
    rate, beta1, beta2 = (parameters[name] for name in ("gamma", "beta1", "beta2"))
    w, m, v, largest = np.zeros((4, len(KEYS), dim))
    t = np.zeros((len(KEYS), 1))
    for at, g in steps:
        t[at] += 1
        m[at] = beta1 * m[at] + (1 - beta1) * g
        v[at] = beta2 * v[at] + (1 - beta2) * g * g
        largest[at] = np.maximum(largest[at], v[at] / (1 - beta2 ** t[at]))
        step = m[at] / (1 - beta1 ** t[at]) / (np.sqrt(largest[at]) + parameters["epsilon"])
        w[at] -= rate * step
    return w


def ftrl(parameters, dim, steps):
    """The releases' ftrl: n does not change at a step that leaves |z| within lambda1."""
    alpha, beta, lambda1, lambda2 = (
        parameters[name] for name in ("alpha", "beta", "lambda1", "lambda2")
    )
    w, z, n = np.zeros((3, len(KEYS), dim))
    for at, g in steps:
        grown = n[at] + g * g
        z[at] += g - (np.sqrt(grown) - np.sqrt(n[at])) / alpha * w[at]
        is_zero = np.abs(z[at]) <= lambda1
        moved = -(z[at] - np.sign(z[at]) * lambda1) / ((beta + np.sqrt(grown)) / alpha + lambda2)
        n[at], w[at] = np.where(is_zero, n[at], grown), np.where(is_zero, 0, moved)
    return w


FORMULAS = {"amsgrad": amsgrad, "ftrl, lambda1 0.5": ftrl}


def apart(one, other):
    return float(np.abs(np.array(one) - np.array(other)).max())


def records(table, groups):
    """By group, the update_time and update_num of all keys."""
    found = {}
    for record in table.storage._storage:
        found[record.group, record.key] = (record.update_time, record.update_num)
    return [[list(found[group["group"], key]) for key in KEYS] for group in groups]


def here(release, seed, folder):
    groups = groups_of(release)
    with open(os.path.join(folder, "told.json")) as file:
        told = json.load(file)
    table = wheel.Classes(release, os.path.join(folder, "here"), groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the file is an old one
        table.storage.load_from_checkpoint(os.path.join(folder, "moved"))
    moved, moved_times = weights(table, groups), records(table, groups)
    train(table, seed, groups, range(STEPS, 2 * STEPS))
    later, later_times = weights(table, groups), records(table, groups)

    is_right = True
    for place, (kind, *_) in enumerate(kinds_of(release)):
        at_once = apart(moved[place], told["moved"]["weights"][place])
        difference = apart(later[place], told["later"]["weights"][place])
        # [time, count] of each key. Times of the further steps are those of two processes.
        is_same_time = [t for t, _ in moved_times[place]] == [
            t for t, _ in told["moved"]["times"][place]
        ]
        is_same_count = all(
            [n for _, n in ours[place]] == [n for _, n in told[part]["times"][place]]
            for ours, part in ((moved_times, "moved"), (later_times, "later"))
        )
        limit = LIMITS.get(kind, 1e-5)
        is_right &= at_once == 0 and difference <= limit and is_same_time and is_same_count
        columns = [release, kind, f"{at_once:.1e}", f"{difference:.1e}"]
        said = ["yes" if same else "NO" for same in (is_same_count, is_same_time)]
        print("| " + " | ".join(columns + said) + " |")
        if kind in FORMULAS:
            taken = training(seed, groups, range(2 * STEPS))
            steps = ((at, gradients[place].astype(np.float64)) for _, at, gradients in taken)
            by_formula = FORMULAS[kind](groups[place]["parameters"], groups[place]["dim"], steps)
            difference = apart(by_formula, told["later"]["weights"][place])
            is_right &= difference <= 1e-5
            print(f"| {release} | {kind}, by the release's formula | | {difference:.1e} | | |")
    return is_right


if __name__ == "__main__":
    role, release, seed, folder = sys.argv[1:]
    if role == "there":
        there(release, int(seed), folder)
    elif not here(release, int(seed), folder):
        sys.exit(1)

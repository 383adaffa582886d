"""Writes the golden values that tests/optimizer compares damo with.

Run it with a Python that has PyTorch (CPU) and NumPy, on x86-64 with AVX2; on Debian:

    apt-get install python3-torch python3-numpy
    /usr/bin/python3 tests/golden/generate.py

It writes the .json files beside itself. It prints the versions that it ran with, and how far
float32 is from float64 in each run. The files are committed: run it again only when a case is
added, and expect no other line to change.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import numpy as np
import torch

import chacha_rows
import paper_optimizers
import pytorch_optimizers
import tensorflow_schedulers
from inputs import CHECKPOINTS, STEPS, dims_and_seeds, gradients, weights

HERE = Path(__file__).parent
VERSIONS = f"torch {torch.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}"


def as_float32(x):
    return float(np.float32(x))


def float32_text(x):
    """The shortest decimal that is this float32 and no other."""
    assert as_float32(x) == x
    return json.loads(str(np.float32(x)))


def float64_text(x):
    """Twelve digits, a millionth of the tolerance."""
    return float(f"{x:.12g}")


def largest_text(x):
    """Four digits are enough of what others are divided by."""
    return float(f"{x:.4g}")


def at_checkpoints(history, text):
    return [[text(w) for w in history[step - 1]] for step in CHECKPOINTS]


def largest_so_far(history, initial):
    """The largest size each weight has had up to each step, its initial value included."""
    return np.maximum.accumulate(np.abs([initial] + history))[1:]


def distance(history, reference, initial):
    """The largest difference relative to the size the weight has had, as the test measures it."""
    difference = np.abs(np.array(history) - np.array(reference))
    return float((difference / largest_so_far(reference, initial)).max())


def kernels(capability, shown):
    """torch's float32 runs with one set of ATen's kernels. shown: torch's own name for it."""
    environment = dict(os.environ, ATEN_CPU_CAPABILITY=capability, PYTHONDONTWRITEBYTECODE="1")
    program = [sys.executable, str(HERE / "pytorch_optimizers.py")]
    result = json.loads(
        subprocess.run(program, env=environment, check=True, stdout=subprocess.PIPE).stdout
    )
    assert (
        result["capability"] == shown
    ), f"torch ran its {result['capability']} kernels, not {shown}"
    return result["runs"]


def pytorch_rows(optimizer, number, params, portable, fused):
    for index, (dim, seed) in enumerate(dims_and_seeds(optimizer, number)):
        float64 = pytorch_optimizers.run(optimizer, params, seed, dim, torch.float64)
        yield dim, seed, float64, {
            "float32": portable[optimizer][number][index],
            "float32_fused": fused[optimizer][number][index],
        }


def paper_rows(optimizer, number, params):
    run = paper_optimizers.RUNS[optimizer]
    for dim, seed in dims_and_seeds(optimizer, number):
        inputs = weights(seed, dim), [gradients(seed, step, dim) for step in range(1, STEPS + 1)]
        float64 = run(*inputs, store=float, **params)
        yield dim, seed, float64, {"float32": run(*inputs, store=as_float32, **params)}


def case(optimizer, params, rows):
    entry = {"params": params, "rows": []}
    for dim, seed, float64, float32 in rows:
        row = {"dim": dim, "seed": seed}
        for name, history in float32.items():
            row[name] = at_checkpoints(history, float32_text)
            far = distance(history, float64, weights(seed, dim))
            print(f"{optimizer} {params} dim {dim}: {name} is {far:.1e} from float64")
        row["float64"] = at_checkpoints(float64, float64_text)
        row["largest"] = at_checkpoints(largest_so_far(float64, weights(seed, dim)), largest_text)
        entry["rows"].append(row)
    return entry


def write(name, value):
    """Indented, but what holds only numbers or words stays on one line."""

    def text(value, indent):
        children = (
            list(value.values())
            if isinstance(value, dict)
            else value if isinstance(value, list) else []
        )
        if not any(isinstance(child, (dict, list)) for child in children):
            return json.dumps(value)
        inner = indent + " "
        items = [text(child, inner) for child in children]
        if isinstance(value, dict):
            items = [f"{json.dumps(key)}: {item}" for key, item in zip(value, items)]
        left, right = "{}" if isinstance(value, dict) else "[]"
        return left + "\n" + ",\n".join(inner + item for item in items) + "\n" + indent + right

    (HERE / f"{name}.json").write_text(text(value, "") + "\n")


def optimizers():
    portable, fused = kernels("default", "NO AVX"), kernels("avx2", "AVX2")
    for optimizer, cases in pytorch_optimizers.CASES.items():
        entries = [
            case(optimizer, params, pytorch_rows(optimizer, number, params, portable, fused))
            for number, params in enumerate(cases)
        ]
        source = f"{pytorch_optimizers.SOURCES[optimizer]}, {VERSIONS}"
        write(
            optimizer,
            {"optimizer": optimizer, "source": source, "steps": CHECKPOINTS, "cases": entries},
        )
    for optimizer, cases in paper_optimizers.CASES.items():
        entries = [
            case(optimizer, params, paper_rows(optimizer, number, params))
            for number, params in enumerate(cases)
        ]
        source = f"{paper_optimizers.SOURCES[optimizer]}; {VERSIONS}"
        write(
            optimizer,
            {"optimizer": optimizer, "source": source, "steps": CHECKPOINTS, "cases": entries},
        )


def schedulers():
    learning_rate = 0.1
    entries = []
    for name, params in tensorflow_schedulers.CASES:
        for warmup_steps in [0, 10]:
            rates = [
                tensorflow_schedulers.rate(name, params, warmup_steps, learning_rate, step)
                for step in tensorflow_schedulers.STEPS
            ]
            given = dict(params, warmup_steps=warmup_steps) if warmup_steps else params
            entries.append({"scheduler": name, "params": given, "rates": rates})
    write(
        "schedulers",
        {
            "source": f"formulas of tf.compat.v1.train.*_decay in float64; {VERSIONS}",
            "learning_rate": learning_rate,
            "steps": tensorflow_schedulers.STEPS,
            "cases": entries,
        },
    )


def initializers():
    rows = []
    for seed, group, key in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (1, 0, 0),
        (-1, 65535, -1),
        (7, 300, 2**63 - 1),
    ]:
        for name, params, low, high in [
            ("random_uniform", {}, -1, 1),
            ("random_uniform", {"min": -0.05, "max": 0.1}, -0.05, 0.1),
            ("xavier_uniform", {}, -np.sqrt(np.float32(3 / 20)), np.sqrt(np.float32(3 / 20))),
        ]:
            # 20 floats reach into the second block of the stream.
            row = chacha_rows.uniform_row(seed, group, key, 20, low, high)
            rows.append(
                {
                    "initializer": name,
                    "params": dict(params, seed=seed),
                    "group": group,
                    "key": key,
                    "bits": [f"{np.float32(w).view(np.uint32):08x}" for w in row],
                }
            )
    write("initializers", {"source": f"ChaCha8 from its definition; {VERSIONS}", "rows": rows})


if __name__ == "__main__":
    print(VERSIONS)
    optimizers()
    schedulers()
    initializers()

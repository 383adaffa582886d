"""Runs torch.optim. As a program it writes the float32 runs as JSON to standard output.

It is a program of its own because ATen chooses its kernels once a process, by ATEN_CPU_CAPABILITY.
"default" rounds after each multiplication and each addition, as damo does. "avx2" fuses the two.
"""

import json

import torch

from inputs import STEPS, dims_and_seeds, gradients, weights

# The parameters of each run; what is not given is the default.
CASES = {
    "sgd": [{}, {"gamma": 0.1, "lambda": 0.01}],
    "adagrad": [
        {},
        {"gamma": 0.05, "lambda": 0.01},
        {"gamma": 0.05, "eta": 0.01},
        {"gamma": 0.05, "eta": 0.05, "lambda": 0.1, "epsilon": 1e-4},
    ],
    "adam": [
        {},
        {"gamma": 0.01, "lambda": 0.01},
        {"gamma": 0.02, "beta1": 0.8, "beta2": 0.95, "lambda": 0.1, "epsilon": 1e-3},
    ],
    "amsgrad": [
        {},
        {"gamma": 0.01, "lambda": 0.01},
        {"gamma": 0.02, "beta1": 0.8, "beta2": 0.95, "lambda": 0.1, "epsilon": 1e-3},
    ],
    "adamw": [
        {},
        {"lambda": 0.0},
        {"gamma": 0.02, "beta1": 0.8, "beta2": 0.95, "lambda": 0.2, "epsilon": 1e-3},
    ],
}

SOURCES = {
    "sgd": "torch.optim.SGD",
    "adagrad": "torch.optim.Adagrad",
    "adam": "torch.optim.Adam",
    "amsgrad": "torch.optim.Adam(amsgrad=True)",
    "adamw": "torch.optim.AdamW",
}


def build(optimizer, params, parameter):
    """The torch optimizer with these parameters of damo, and damo's defaults for the others."""
    p = dict(params)
    if optimizer == "sgd":
        built = torch.optim.SGD(
            [parameter], lr=p.pop("gamma", 1e-3), weight_decay=p.pop("lambda", 0.0)
        )
    elif optimizer == "adagrad":
        built = torch.optim.Adagrad(
            [parameter],
            lr=p.pop("gamma", 1e-2),
            lr_decay=p.pop("eta", 0.0),
            weight_decay=p.pop("lambda", 0.0),
            eps=p.pop("epsilon", 1e-10),
        )
    else:
        common = {
            "lr": p.pop("gamma", 1e-3),
            "betas": (p.pop("beta1", 0.9), p.pop("beta2", 0.999)),
            "weight_decay": p.pop("lambda", 1e-2 if optimizer == "adamw" else 0.0),
            "eps": p.pop("epsilon", 1e-8),
        }
        if optimizer == "adamw":
            built = torch.optim.AdamW([parameter], **common)
        else:
            built = torch.optim.Adam([parameter], amsgrad=optimizer == "amsgrad", **common)
    assert not p, f"{optimizer} has no {p}"
    return built


def run(optimizer, params, seed, dim, dtype):
    """The weights after each step, one dense parameter of `dim` floats."""
    parameter = torch.tensor(weights(seed, dim), dtype=dtype, requires_grad=True)
    torch_optimizer = build(optimizer, params, parameter)
    history = []
    for step in range(1, STEPS + 1):
        parameter.grad = torch.tensor(gradients(seed, step, dim), dtype=dtype)
        torch_optimizer.step()
        history.append(parameter.detach().double().tolist())
    return history


def capability():
    """The kernels this process runs: NO AVX, AVX2 or AVX512."""
    config = torch.__config__.show()
    return config.split("CPU capability usage: ")[1].split("\n")[0]


def main():
    runs = {
        name: [
            [
                run(name, params, seed, dim, torch.float32)
                for dim, seed in dims_and_seeds(name, number)
            ]
            for number, params in enumerate(cases)
        ]
        for name, cases in CASES.items()
    }
    print(json.dumps({"capability": capability(), "runs": runs}))


if __name__ == "__main__":
    main()

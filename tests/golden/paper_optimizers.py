"""Optimizers that PyTorch 1.13 lacks, written from their papers in float64, one weight at a time.

Each takes the row's initial weights, the gradients of all steps and a function `store`, and returns
the weights after each step. Every number that a row keeps from one step to the next goes through
store: the identity for pure float64, or rounding to float32 for a row as damo keeps it.
"""

from math import sqrt


def sign(x):
    return (x > 0) - (x < 0)


def ftrl(weights, steps, store, alpha=5e-3, beta=0.0, lambda1=0.0, lambda2=0.0):
    """McMahan et al. 2013, algorithm 1, but a fresh row has its initializer's weight, not 0."""
    w = list(weights)
    z = [0.0] * len(w)
    n = [0.0] * len(w)
    history = []
    for gradient in steps:
        for i, g in enumerate(gradient):
            sigma = (sqrt(n[i] + g * g) - sqrt(n[i])) / alpha
            z[i] = store(z[i] + g - sigma * w[i])
            n[i] = store(n[i] + g * g)
            if abs(z[i]) <= lambda1:
                w[i] = 0.0
            else:
                w[i] = store(
                    -(z[i] - sign(z[i]) * lambda1) / ((beta + sqrt(n[i])) / alpha + lambda2)
                )
        history.append(list(w))
    return history


def rowwise_adagrad(weights, steps, store, gamma=1e-2, epsilon=1e-8, **decay):
    """FBGEMM's EXACT_ROWWISE_ADAGRAD with L2 weight decay; Mudigere et al. 2022, section 4.1.3."""
    decay = decay.get("lambda", 0.0)
    w = list(weights)
    m = 0.0
    history = []
    for gradient in steps:
        g = [g + decay * w_i for g, w_i in zip(gradient, w)]
        m = store(m + sum(g_i * g_i for g_i in g) / len(g))
        w = [store(w_i - gamma * g_i / (sqrt(m) + epsilon)) for w_i, g_i in zip(w, g)]
        history.append(w)
    return history


def lion(weights, steps, store, eta=3e-4, beta1=0.9, beta2=0.99, **decay):
    """Chen et al. 2023, algorithm 2."""
    decay = decay.get("lambda", 1e-2)
    w = list(weights)
    m = [0.0] * len(w)
    history = []
    for gradient in steps:
        for i, g in enumerate(gradient):
            c = beta1 * m[i] + (1 - beta1) * g
            # A sum that nearly cancels would make the golden value hang on one rounding.
            assert c == 0 or abs(c) > 1e-5 * (
                beta1 * abs(m[i]) + (1 - beta1) * abs(g)
            ), "choose another seed"
            w[i] = store(w[i] - eta * (sign(c) + decay * w[i]))
            m[i] = store(beta2 * m[i] + (1 - beta2) * g)
        history.append(list(w))
    return history


# The parameters of each run; what is not given is the default.
CASES = {
    "ftrl": [
        {},
        {"alpha": 0.05, "beta": 1.0},
        {"alpha": 0.05, "beta": 1.0, "lambda2": 0.1},
        {"alpha": 0.05, "beta": 0.5, "lambda1": 0.5, "lambda2": 0.1},
    ],
    "rowwise_adagrad": [
        {},
        {"lambda": 0.01},
        {"gamma": 0.05, "lambda": 0.1, "epsilon": 1e-3},
    ],
    "lion": [
        {},
        {"lambda": 0.0},
        {"eta": 1e-3, "beta1": 0.95, "beta2": 0.98, "lambda": 0.1},
    ],
}

SOURCES = {
    "ftrl": "McMahan et al. 2013, Ad Click Prediction: a View from the Trenches, algorithm 1",
    "rowwise_adagrad": "Mudigere et al. 2022; FBGEMM's EXACT_ROWWISE_ADAGRAD",
    "lion": "Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2",
}

RUNS = {"ftrl": ftrl, "rowwise_adagrad": rowwise_adagrad, "lion": lion}

"""TensorFlow's learning-rate schedules in float64.

The formulas are those in the documentation of tf.compat.v1.train.*_decay. TensorFlow itself
computes in float32, and would give six digits of the same numbers.
"""

from math import ceil, cos, exp, floor, pi

STEPS = [0, 1, 7, 99, 100, 101, 1000]


def exponential_decay(learning_rate, step, decay_steps, decay_rate, staircase=False):
    p = step / decay_steps
    return learning_rate * decay_rate ** (floor(p) if staircase else p)


def natural_exp_decay(learning_rate, step, decay_steps, decay_rate, staircase=False):
    p = step / decay_steps
    return learning_rate * exp(-decay_rate * (floor(p) if staircase else p))


def inverse_time_decay(learning_rate, step, decay_steps, decay_rate, staircase=False):
    p = step / decay_steps
    return learning_rate / (1 + decay_rate * (floor(p) if staircase else p))


def polynomial_decay(
    learning_rate, step, decay_steps, end_learning_rate=1e-4, power=1.0, cycle=False
):
    if cycle:
        decay_steps = decay_steps * (1 if step == 0 else ceil(step / decay_steps))
    else:
        step = min(step, decay_steps)
    return (learning_rate - end_learning_rate) * (
        1 - step / decay_steps
    ) ** power + end_learning_rate


def cosine_decay(learning_rate, step, decay_steps, alpha=0.0):
    step = min(step, decay_steps)
    cosine = 0.5 * (1 + cos(pi * step / decay_steps))
    return learning_rate * ((1 - alpha) * cosine + alpha)


def linear_cosine_decay(learning_rate, step, decay_steps, num_periods=0.5, alpha=0.0, beta=1e-3):
    step = min(step, decay_steps)
    linear = (decay_steps - step) / decay_steps
    cosine = 0.5 * (1 + cos(pi * 2 * num_periods * step / decay_steps))
    return learning_rate * ((alpha + linear) * cosine + beta)


DECAYS = {
    "exponential_decay": exponential_decay,
    "polynomial_decay": polynomial_decay,
    "natural_exp_decay": natural_exp_decay,
    "nature_exponential_decay": natural_exp_decay,
    "inverse_time_decay": inverse_time_decay,
    "cosine_decay": cosine_decay,
    "linear_cosine_decay": linear_cosine_decay,
    "liner_cosine_decay": linear_cosine_decay,
}

# The parameters of each run; warmup_steps is added to each of them.
CASES = [
    (name, {"decay_steps": decay_steps, "decay_rate": decay_rate, **staircase})
    for name in [
        "exponential_decay",
        "natural_exp_decay",
        "nature_exponential_decay",
        "inverse_time_decay",
    ]
    for decay_steps, decay_rate in [(100, 0.5), (7, 0.96)]
    for staircase in [{}, {"staircase": True}]
] + [
    ("polynomial_decay", {"decay_steps": 100}),
    ("polynomial_decay", {"decay_steps": 30, "end_learning_rate": 0.01, "power": 2.0}),
    (
        "polynomial_decay",
        {"decay_steps": 30, "end_learning_rate": 0.01, "power": 0.5, "cycle": True},
    ),
    ("polynomial_decay", {"decay_steps": 100, "cycle": True}),
    ("cosine_decay", {"decay_steps": 100}),
    ("cosine_decay", {"decay_steps": 300, "alpha": 0.1}),
    ("linear_cosine_decay", {"decay_steps": 100}),
    ("linear_cosine_decay", {"decay_steps": 300, "num_periods": 2.0, "alpha": 0.1, "beta": 0.01}),
    ("liner_cosine_decay", {"decay_steps": 100}),
]


def rate(name, params, warmup_steps, learning_rate, step):
    """The warmup of tf.keras.optimizers.schedules.CosineDecay before any schedule.

    It is linear from 0 to the rate.
    """
    if step < warmup_steps:
        return learning_rate * step / warmup_steps
    return DECAYS[name](learning_rate, step - warmup_steps, **params)

"""The initial weights and the gradients of every golden run, as integers turned into exact float32.

They come from a formula, which tests/optimizer/optimizer_golden.rs has, too, so the fixtures need
not hold them. A float32 has 24 bits of mantissa. Each value below is an integer of at most 24 bits
times a power of two, so it is exact in float32 and in float64, and both languages see the same
number.
"""

STEPS = 100
CHECKPOINTS = [1, 2, 10, 100]
DIMS = [1, 7, 16, 64]
OPTIMIZERS = ["sgd", "adagrad", "adam", "amsgrad", "adamw", "ftrl", "rowwise_adagrad", "lion"]


def bits(seed, step, column):
    """64 random bits for the place of a value: splitmix64's output (Steele, Lea and Flood 2014)."""
    mask = (1 << 64) - 1
    x = (seed << 32) + (step << 16) + column
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def weight(seed, column):
    """In [-1/4, 1/4)."""
    return ((bits(seed, 0, column) >> 40) - 2**23) * 2.0**-25


def gradient(seed, step, column):
    """Zero one time in eight, otherwise of size 2^-32 to 1.

    Every power of two from 1/256 up is frequent. Every third column has gradients >= 0 only, so
    that some weights travel while the others wander.
    """
    b = bits(seed, step, column)
    if b % 8 == 0:
        return 0.0
    size = ((b >> 40) + 1) * 2.0**-24 * 2.0 ** -((b >> 8) % 9)
    negative = (b >> 3) % 2 == 1 and column % 3 != 0
    return -size if negative else size


def weights(seed, dim):
    return [weight(seed, column) for column in range(dim)]


def gradients(seed, step, dim):
    return [gradient(seed, step, column) for column in range(dim)]


def dims_and_seeds(optimizer, number):
    """Each row of each numbered case of an optimizer has gradients of its own."""
    return [(dim, 1000 * (OPTIMIZERS.index(optimizer) + 1) + 100 * number + dim) for dim in DIMS]

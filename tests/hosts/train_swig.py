"""train_swig.py DIR: trains through damo_c.i's module for Python."""

import array
import math
import sys

import damo_c as damo

DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50


def refused(call, *words, kind=ValueError):
    try:
        call()
    except kind as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("it was accepted")


class Index:
    """An integer as NumPy's are: no int, but with an __index__."""

    def __init__(self, number, dtype="int64"):
        self.number, self.dtype = number, dtype

    def __index__(self):
        return self.number


def check_arguments():
    """Texts are UTF-8 and have no NUL; integers are of any kind, and no bools."""
    bag = damo.damo_params_new()
    refused(
        lambda: damo.damo_params_set_str(bag, "a\0b", "c"), "INVALID_ARGUMENT: key", "NUL at byte 1"
    )
    refused(
        lambda: damo.damo_params_set_str(bag, "a", "\0"), "INVALID_ARGUMENT: value", "NUL at byte 0"
    )
    refused(lambda: damo.damo_params_set_str(bag, "\ud800", "c"), "INVALID_ARGUMENT: key", "UTF-8")
    refused(lambda: damo.damo_params_set_str(bag, None, "c"), "key is NULL")
    refused(lambda: damo.damo_params_set_str(bag, b"a", "c"), "key is a bytes", kind=TypeError)
    for wrong in (True, Index(1, "bool"), 1.0, "1", None, 1j):
        refused(
            lambda: damo.damo_params_set_int(bag, "a", wrong), "value", "integer", kind=TypeError
        )
        refused(
            lambda: damo.damo_embedding_new(None, None, None, wrong, 0, None), "dim", kind=TypeError
        )
    for wrong in (2**63, -(2**63) - 1, Index(2**200)):
        refused(
            lambda: damo.damo_params_set_int(bag, "a", wrong),
            "INVALID_ARGUMENT: value is ",
            "integer from",
        )
    for wrong in (-1, 2**32, Index(2**64 + 5)):
        refused(
            lambda: damo.damo_embedding_new(None, None, None, DIM, wrong, None),
            "INVALID_ARGUMENT: group is ",
        )
    for wrong in (True, Index(1, "bool"), "1", None, 1j):
        refused(
            lambda: damo.damo_params_set_float(bag, "a", wrong), "value", "float", kind=TypeError
        )
    for wrong in (1, 0.0, "", None, Index(1)):
        refused(lambda: damo.damo_params_set_bool(bag, "a", wrong), "value", "bool", kind=TypeError)
    assert damo.damo_params_to_json(bag) == "{}", "a refused argument was taken"
    damo.damo_params_set_int(bag, "i", Index(-(2**63)))
    damo.damo_params_set_float(bag, "f", Index(3))
    damo.damo_params_set_str(bag, "\U0001f600", "\u00e4")
    assert (
        damo.damo_params_to_json(bag) == '{"f":3.0,"i":-9223372036854775808,"\U0001f600":"\u00e4"}'
    )
    # A message that is cut off ends with a whole character.
    for shift in range(4):
        name = "x" * shift + "\U0001f600" * 2000
        refused(
            lambda: damo.damo_storage_new("/dev/null/" + name, 0, None), name[:500], kind=OSError
        )
    try:
        import numpy
    except ImportError:
        return
    damo.damo_params_set_int(bag, "n", numpy.int64(3))
    damo.damo_params_set_float(bag, "n", numpy.float32(0.5))
    damo.damo_params_set_bool(bag, "n", numpy.bool_(True))
    refused(
        lambda: damo.damo_params_set_int(bag, "n", numpy.bool_(True)), "integer", kind=TypeError
    )
    refused(lambda: damo.damo_params_set_int(bag, "n", numpy.float64(3)), "integer", kind=TypeError)
    refused(
        lambda: damo.damo_params_set_int(bag, "n", numpy.uint64(2**63)),
        "value is 9223372036854775808",
    )


check_arguments()
adam_params, normal_params, options = (damo.damo_params_new() for _ in range(3))
damo.damo_params_set_float(adam_params, "gamma", 0.01)
damo.damo_params_set_int(normal_params, "seed", 7)
damo.damo_params_set_str(options, "duplicates", "sum")
assert damo.damo_params_to_json(normal_params) == '{"seed":7}'
adam = damo.damo_optimizer_new("adam", adam_params, None)
normal = damo.damo_initializer_new("random_normal", normal_params)
storage = damo.damo_storage_new(sys.argv[1], 0, None)
users = damo.damo_embedding_new(storage, adam, normal, DIM, 0, options)
weights = array.array("f", bytes(4 * KEYS * DIM))
for step in range(STEPS):
    keys = array.array("q", (-(2**62) + (i * 7919 + step * 104729) % ROWS for i in range(KEYS)))
    gradients = array.array(
        "f", (((i * 37 + step * 11) % 101 - 50) / 64 for i in range(KEYS * DIM))
    )
    damo.damo_embedding_lookup(users, keys, weights)
    damo.damo_embedding_apply_gradients(users, keys, gradients)
    if step % STEPS_A_FLUSH == 0:
        damo.damo_storage_flush(storage)
found = bytearray(KEYS)
damo.damo_embedding_peek(users, keys, weights, found)
assert all(found), found
assert damo.damo_embedding_step(users) == STEPS
rows = damo.damo_iterator_new(storage, damo.DAMO_ALL_GROUPS)
row = array.array("f", bytes(4 * 3 * DIM))
has_row, group, key, _, updates, dim, row_len = damo.damo_iterator_next(rows, row)
assert (
    has_row and group == 0 and key == -(2**62) and updates > 0 and (dim, row_len) == (DIM, 3 * DIM)
), key
damo.damo_iterator_free(rows)
summed_keys, sums = array.array("q", keys), array.array("f", gradients)
summed, norm, largest = damo.damo_embedding_sum_gradients(users, keys, gradients, summed_keys, sums)
assert sorted(summed_keys[:summed]) == sorted(set(keys)), summed
assert math.isclose(
    norm, math.sqrt(sum(one * one for one in sums[: summed * DIM])), rel_tol=1e-9
), norm
assert largest == max(abs(one) for one in sums[: summed * DIM]), largest
refused(
    lambda: damo.damo_embedding_sum_gradients(users, keys, gradients, summed_keys[:1], sums),
    "summed_keys_len is 1",
)
distinct, starts = array.array("q", keys), array.array("Q", [0] * 3)
positions, occurrences = array.array("I", [9] * len(keys)), array.array("I", [9] * len(keys))
damo.damo_keys_partition(keys, 2, distinct, starts, positions, occurrences)
assert sorted(distinct[: starts[2]]) == sorted(set(keys)) and starts[0] == 0, starts
assert sum(occurrences[: starts[2]]) == len(keys), occurrences
owners = array.array("I", [9] * len(keys))
damo.damo_key_shard_batch(keys, 2, owners)
assert [damo.damo_key_shard(key, 2) for key in keys] == owners.tolist()
for key, position, owner in zip(keys, positions, owners):
    assert distinct[position] == key and starts[owner] <= position < starts[owner + 1], key
outputs = array.array("f", gradients)
damo.damo_gradients_sum(gradients, DIM, DIM, positions, sums, DIM)
damo.damo_rows_gather(sums, DIM, DIM, positions, outputs, DIM)
first = [one for at, one in zip(keys, range(0, len(gradients), DIM)) if at == keys[0]]
assert math.isclose(outputs[0], sum(gradients[one] for one in first), rel_tol=1e-6), outputs
refused(lambda: damo.damo_rows_gather(sums[:DIM], DIM, DIM, positions, outputs, DIM), "positions[")
gradients[5] = math.nan
refused(
    lambda: damo.damo_embedding_apply_gradients(users, keys, gradients),
    "INVALID_ARGUMENT",
    "gradients",
)
refused(
    lambda: damo.damo_optimizer_new("no", None, None),
    "INVALID_ARGUMENT",
    "damo_optimizer_new",
    "adam",
)
refused(lambda: damo.damo_embedding_peek(users, keys, weights, bytearray(1)), "found has 1 bytes")
assert damo.damo_last_error_code() == 0
damo.damo_embedding_free(users)
damo.damo_storage_free(storage)

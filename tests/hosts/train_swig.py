"""train_swig.py DIR: trains through damo_c.i's module for Python."""

import array
import math
import sys

import damo_c as damo

DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50


def refused(call, *words):
    try:
        call()
    except ValueError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("it was accepted")


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
    gradients = array.array("f", (((i * 37 + step * 11) % 101 - 50) / 64 for i in range(KEYS * DIM)))
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
assert has_row and group == 0 and key == -(2**62) and updates > 0 and (dim, row_len) == (DIM, 3 * DIM), key
damo.damo_iterator_free(rows)
gradients[5] = math.nan
refused(lambda: damo.damo_embedding_apply_gradients(users, keys, gradients), "INVALID_ARGUMENT", "gradients")
refused(lambda: damo.damo_optimizer_new("no", None, None), "INVALID_ARGUMENT", "damo_optimizer_new", "adam")
refused(lambda: damo.damo_embedding_peek(users, keys, weights, bytearray(1)), "found has 1 bytes")
assert damo.damo_last_error_code() == 0
damo.damo_embedding_free(users)
damo.damo_storage_free(storage)

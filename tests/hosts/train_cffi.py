"""train_cffi.py DIR DAMO.H LIBRARY: trains through cffi, which reads damo.h as it is."""

import math
import re
import sys

import cffi

DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50

header = open(sys.argv[2], encoding="utf-8").read()
header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
header = re.sub(r"#ifdef __cplusplus.*?#endif[^\n]*", "", header, flags=re.S)
header = "\n".join(
    line
    for line in header.splitlines()
    if not re.match(r"#(if|endif|include|define DAMO_H$)", line)
)
ffi = cffi.FFI()
ffi.cdef(header)
damo = ffi.dlopen(sys.argv[3])
assert (damo.DAMO_ALL_GROUPS, damo.DAMO_GROUP_BY_NAME) == (2**32 - 1, 2**32 - 2)


def ok(status):
    assert status == damo.DAMO_STATUS_OK, ffi.string(damo.damo_last_error_message())


adam_params, normal_params, options = (damo.damo_params_new() for _ in range(3))
ok(damo.damo_params_set_float(adam_params, b"gamma", 0.01))
ok(damo.damo_params_set_int(normal_params, b"seed", 7))
ok(damo.damo_params_set_str(options, b"duplicates", b"sum"))
adam = damo.damo_optimizer_new(b"adam", adam_params, ffi.NULL)
normal = damo.damo_initializer_new(b"random_normal", normal_params)
storage = damo.damo_storage_new(sys.argv[1].encode(), 0, ffi.NULL)
users = damo.damo_embedding_new(storage, adam, normal, DIM, 0, options)
weights = ffi.new("float[]", KEYS * DIM)
for step in range(STEPS):
    keys = ffi.new("int64_t[]", [-(2**62) + (i * 7919 + step * 104729) % ROWS for i in range(KEYS)])
    gradients = ffi.new(
        "float[]", [((i * 37 + step * 11) % 101 - 50) / 64 for i in range(KEYS * DIM)]
    )
    ok(damo.damo_embedding_lookup(users, keys, KEYS, weights, KEYS * DIM))
    ok(damo.damo_embedding_apply_gradients(users, keys, KEYS, gradients, KEYS * DIM))
    if step % STEPS_A_FLUSH == 0:
        ok(damo.damo_storage_flush(storage))
gradients[5] = math.nan
refused = damo.damo_embedding_apply_gradients(users, keys, KEYS, gradients, KEYS * DIM)
failure = ffi.errno
assert refused == damo.DAMO_STATUS_INVALID_ARGUMENT
# As on any other thread.
room = ffi.new("char[]", 4096)
assert damo.damo_failure_code(failure) == refused
ok(damo.damo_failure_message(failure, room, len(room), ffi.NULL))
assert ffi.string(room) == ffi.string(damo.damo_last_error_message())
# A handle of another kind; every handle is void * somewhere.
assert (
    damo.damo_storage_flush(ffi.cast("damo_storage *", options))
    == damo.DAMO_STATUS_INVALID_ARGUMENT
)
damo.damo_embedding_free(users)
damo.damo_storage_free(storage)
for free, handle in [(damo.damo_optimizer_free, adam), (damo.damo_initializer_free, normal)]:
    free(handle)
for bag in (adam_params, normal_params, options):
    damo.damo_params_free(bag)

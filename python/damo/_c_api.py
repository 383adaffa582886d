"""Every foreign call of the package, and nothing else.

DECLARATIONS has the functions of damo.h, word for word (a test compares them). Each becomes an
attribute of this module, with the types of ctypes. A function that returns a damo_status returns
None here, or raises. A _new function raises instead of returning NULL. Handles and buffers are
passed as addresses (int), so nothing here keeps anything alive: see _handles.

It uses ctypes, not cffi: ctypes needs no other package, and costs some microseconds a call
(python/README.md).
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any, Callable

from . import _library
from ._errors import InvalidArgumentError, error_for

DECLARATIONS = """
const char *damo_version(void);
uint32_t damo_abi_version(void);
damo_status damo_last_error_code(void);
const char *damo_last_error_message(void);
void damo_last_error_clear(void);
damo_status damo_failure_code(int32_t failure);
damo_status damo_failure_message(int32_t failure, char *buffer, size_t buffer_len,
    size_t *message_len);
const char *damo_status_name(int32_t status);
damo_params *damo_params_new(void);
damo_status damo_params_set_int(damo_params *params, const char *key, int64_t value);
damo_status damo_params_set_float(damo_params *params, const char *key, double value);
damo_status damo_params_set_bool(damo_params *params, const char *key, bool value);
damo_status damo_params_set_str(damo_params *params, const char *key, const char *value);
damo_status damo_params_to_json(const damo_params *params, char *buffer, size_t buffer_len,
    size_t *json_len);
void damo_params_free(damo_params *params);
damo_initializer *damo_initializer_new(const char *name, const damo_params *params);
damo_status damo_initializer_fill(const damo_initializer *initializer, uint32_t group, int64_t key,
    float *weights, size_t weights_len);
void damo_initializer_free(damo_initializer *initializer);
damo_scheduler *damo_scheduler_new(const char *name, const damo_params *params);
damo_status damo_scheduler_rate(const damo_scheduler *scheduler, double learning_rate, int64_t step,
    double *rate);
void damo_scheduler_free(damo_scheduler *scheduler);
damo_optimizer *damo_optimizer_new(const char *name, const damo_params *params,
    const damo_scheduler *scheduler);
damo_status damo_optimizer_row_len(const damo_optimizer *optimizer, size_t dim, size_t *row_len);
damo_status damo_optimizer_apply(const damo_optimizer *optimizer, float *row, size_t row_len,
    const float *gradients, size_t gradients_len, int64_t step);
damo_status damo_optimizer_set_learning_rate(const damo_optimizer *optimizer, double learning_rate);
damo_status damo_optimizer_learning_rate(const damo_optimizer *optimizer, double *learning_rate);
void damo_optimizer_free(damo_optimizer *optimizer);
damo_filter *damo_filter_new(const damo_params *params);
damo_status damo_filter_add(const damo_filter *filter, uint32_t group, int64_t key, uint32_t num);
damo_status damo_filter_add_batch(const damo_filter *filter, uint32_t group, const int64_t *keys,
    size_t keys_len, uint32_t num);
damo_status damo_filter_add_counts(const damo_filter *filter, uint32_t group, const int64_t *keys,
    size_t keys_len, const uint32_t *nums, size_t nums_len);
damo_status damo_filter_check(const damo_filter *filter, uint32_t group, int64_t key,
    bool *admitted);
damo_status damo_filter_check_batch(const damo_filter *filter, uint32_t group, const int64_t *keys,
    size_t keys_len, uint8_t *admitted, size_t admitted_len);
damo_status damo_filter_sync(const damo_filter *filter);
void damo_filter_free(damo_filter *filter);
damo_storage *damo_storage_new(const char *data_dir, int64_t ttl_seconds,
    const damo_params *options);
void damo_executor_openmp(void *context, size_t threads, damo_work work, void *work_context);
damo_status damo_executor_set(damo_executor run, void *context, size_t threads);
damo_status damo_storage_flush(const damo_storage *storage);
damo_status damo_storage_set_executor(const damo_storage *storage, damo_executor run,
    void *context, size_t threads);
damo_status damo_storage_compact(const damo_storage *storage);
damo_status damo_storage_stat(const damo_storage *storage, const char *name, uint64_t *value);
damo_status damo_storage_describe(const damo_storage *storage, char *buffer, size_t buffer_len,
    size_t *json_len);
damo_status damo_storage_forget_client(const damo_storage *storage, uint64_t client,
    bool *forgotten);
void damo_storage_free(damo_storage *storage);
damo_embedding *damo_embedding_new(const damo_storage *storage, const damo_optimizer *optimizer,
    const damo_initializer *initializer, size_t dim, uint32_t group, const damo_params *options);
damo_status damo_embedding_lookup(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, float *weights, size_t weights_len);
damo_status damo_embedding_lookup_counted(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, const uint32_t *occurrences, size_t occurrences_len, float *weights,
    size_t weights_len);
damo_status damo_embedding_peek(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, float *weights, size_t weights_len, uint8_t *found);
damo_lookup *damo_embedding_begin_lookup(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, float *weights, size_t weights_len);
damo_status damo_embedding_finish_lookup(const damo_embedding *embedding,
    const damo_lookup *lookup, float *weights, size_t weights_len, int64_t *positions,
    size_t positions_len, size_t *changed);
void damo_lookup_free(damo_lookup *lookup);
damo_status damo_rows_pin(const damo_embedding *embedding, const int64_t *keys, size_t keys_len,
    float **rows, uint8_t *created, damo_pin **pin);
damo_status damo_pin_commit(damo_pin *pin, const char *conflicts);
void damo_pin_free(damo_pin *pin);
damo_status damo_embedding_apply_gradients(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, const float *gradients, size_t gradients_len);
damo_status damo_embedding_lookup_at(const damo_embedding *embedding, int64_t step,
    const int64_t *keys, size_t keys_len, float *weights, size_t weights_len);
damo_status damo_embedding_apply_gradients_once(const damo_embedding *embedding, uint64_t client,
    uint64_t sequence, int64_t expected, const int64_t *keys, size_t keys_len,
    const float *gradients, size_t gradients_len, bool *applied);
damo_status damo_embedding_prefetch(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len);
damo_status damo_embedding_insert(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, const float *weights, size_t weights_len);
damo_status damo_embedding_insert_records(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, const float *rows, size_t rows_len, const int64_t *update_nums,
    size_t update_nums_len);
damo_status damo_embedding_delete(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len);
damo_status damo_embedding_clear(const damo_embedding *embedding);
damo_status damo_embedding_record(const damo_embedding *embedding, int64_t key,
    int64_t *update_time, int64_t *update_num, float *data, size_t data_len);
damo_status damo_embedding_group(const damo_embedding *embedding, uint32_t *group);
damo_status damo_embedding_step(const damo_embedding *embedding, int64_t *step);
damo_status damo_embedding_set_step(const damo_embedding *embedding, int64_t step);
damo_status damo_embedding_sum_gradients(const damo_embedding *embedding, const int64_t *keys,
    size_t keys_len, const float *gradients, size_t gradients_len, int64_t *summed_keys,
    size_t summed_keys_len, float *sums, size_t sums_len, size_t *summed, double *norm,
    double *largest);
damo_status damo_embedding_set_filter(const damo_embedding *embedding, const damo_filter *filter);
void damo_embedding_free(damo_embedding *embedding);
damo_step *damo_step_new(const damo_storage *storage, const damo_params *options);
void damo_step_free(damo_step *step);
damo_status damo_step_clear(damo_step *step);
damo_status damo_step_add_keys(damo_step *step, const damo_embedding *embedding,
    const int64_t *keys, size_t keys_len);
damo_status damo_step_add_keys_counted(damo_step *step, const damo_embedding *embedding,
    const int64_t *keys, size_t keys_len, const uint32_t *occurrences, size_t occurrences_len);
damo_status damo_step_add_bags(damo_step *step, const damo_embedding *embedding,
    const int64_t *keys, size_t keys_len, const int64_t *offsets, size_t offsets_len,
    bool has_last_offset, const char *pooling, const float *weights);
damo_status damo_step_lookup(damo_step *step, const damo_rows *outputs, size_t parts_len);
damo_status damo_step_peek(damo_step *step, const damo_rows *outputs, size_t parts_len);
damo_status damo_step_gradient_norm(damo_step *step, double *norm);
damo_status damo_step_skipped(damo_step *step, uint8_t *skipped);
damo_status damo_step_apply_gradients(damo_step *step, const damo_rows *gradients,
    size_t parts_len);
damo_status damo_step_lookup_at(damo_step *step, const int64_t *steps, const damo_rows *outputs,
    size_t parts_len);
damo_status damo_step_apply_gradients_once(damo_step *step, uint64_t client, uint64_t sequence,
    const int64_t *expected, const damo_rows *gradients, size_t parts_len, bool *applied);
damo_iterator *damo_iterator_new(const damo_storage *storage, uint32_t group);
damo_status damo_iterator_next(const damo_iterator *iterator, bool *found, uint32_t *group,
    int64_t *key, int64_t *update_time, int64_t *update_num, size_t *dim, const float **data,
    size_t *data_len);
void damo_iterator_free(damo_iterator *iterator);
damo_status damo_storage_row_count(const damo_storage *storage, uint32_t group, uint64_t *rows);
damo_status damo_storage_verify(const damo_storage *storage, uint64_t *rows);
damo_status damo_storage_checkpoint(const damo_storage *storage, const char *path);
damo_status damo_storage_load_from_checkpoint(const damo_storage *storage, const char *path);
damo_status damo_storage_import(const damo_storage *storage, const char *path);
damo_status damo_storage_import_counted(const damo_storage *storage, const char *path,
    uint64_t *imported, uint64_t *refused);
damo_status damo_storage_import_with(const damo_storage *storage, const char *path,
    const damo_params *options, uint64_t *imported, uint64_t *refused);
damo_status damo_storage_import_report(const damo_storage *storage, char *buffer, size_t buffer_len,
    size_t *json_len);
damo_status damo_storage_dump(const damo_storage *storage, const char *path,
    const damo_params *condition);
damo_status damo_storage_dump_with_progress(const damo_storage *storage, const char *path,
    const damo_params *condition, damo_progress progress, void *user, uint64_t *number,
    uint64_t *rows, uint64_t *removed);
damo_table *damo_table_open(const char *path);
damo_status damo_table_lookup(const damo_table *table, uint32_t group, const int64_t *keys,
    size_t keys_len, float *weights, size_t weights_len, uint8_t *found);
damo_status damo_table_dim(const damo_table *table, uint32_t group, size_t *dim);
damo_status damo_table_rows(const damo_table *table, uint32_t group, uint64_t *rows);
damo_status damo_table_number(const damo_table *table, uint64_t *number);
damo_status damo_table_merge(const char *base, const char *increment, const char *path);
void damo_table_free(damo_table *table);
damo_status damo_key_hash(const uint8_t *bytes, size_t bytes_len, int64_t *key);
damo_status damo_key_hash_batch(const uint8_t *bytes, size_t bytes_len, const uint64_t *ends,
    size_t ends_len, int64_t *keys, size_t keys_len);
damo_status damo_key_shard(int64_t key, uint32_t shards, uint32_t *shard);
damo_status damo_key_shard_batch(const int64_t *keys, size_t keys_len, uint32_t shards,
    uint32_t *owners, size_t owners_len);
damo_status damo_keys_partition(const int64_t *keys, size_t keys_len, uint32_t shards,
    int64_t *distinct_keys, size_t distinct_keys_len, uint64_t *starts, size_t starts_len,
    uint32_t *positions, size_t positions_len, uint32_t *occurrences, size_t occurrences_len);
damo_status damo_rows_gather(const float *rows, size_t rows_len, size_t rows_stride, size_t dim,
    const uint32_t *positions, size_t positions_len, float *outputs, size_t outputs_len,
    size_t outputs_stride);
damo_status damo_gradients_sum(const float *gradients, size_t gradients_len,
    size_t gradients_stride, size_t dim, const uint32_t *positions, size_t positions_len,
    float *sums, size_t sums_len, size_t sums_stride);
damo_status damo_test_panic(const damo_embedding *embedding);
damo_status damo_test_set_clock(const damo_storage *storage, int64_t time_ms);
"""

ALL_GROUPS = 0xFFFFFFFF
"""DAMO_ALL_GROUPS: as a group, all groups."""

GROUP_BY_NAME = 0xFFFFFFFE
"""DAMO_GROUP_BY_NAME: as an embedding's group, the one that has the name in its options."""

PROGRESS = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
"""damo_progress."""


class Rows(ctypes.Structure):
    """damo_rows: rows of floats, each of which begins stride floats after the one before."""

    _fields_ = [
        ("floats", ctypes.c_void_p),
        ("floats_len", ctypes.c_size_t),
        ("stride", ctypes.c_size_t),
    ]


_VALUES = {
    "void": None,
    "bool": ctypes.c_bool,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "double": ctypes.c_double,
    "damo_status": ctypes.c_int32,
    "damo_progress": PROGRESS,
    # The address of a C function: a Python function would need the interpreter's lock.
    "damo_executor": ctypes.c_void_p,
    "damo_work": ctypes.c_void_p,
}
_DECLARATION = re.compile(r"([^;(]*?)(damo_\w+)\(([^)]*)\);")


def parse(declarations: str) -> dict[str, tuple[str, list[str]]]:
    """C declarations as {function: (type of the result, types and names of the parameters)}.

    Words are separated by one space.
    """
    found = {}
    for result, name, parameters in _DECLARATION.findall(declarations):
        listed = [" ".join(parameter.split()) for parameter in parameters.split(",")]
        found[name] = (" ".join(result.split()), [] if listed == ["void"] else listed)
    return found


def _ctype(declared: str) -> Any:
    if declared.startswith("const char *"):
        return ctypes.c_char_p
    if "*" in declared:
        return ctypes.c_void_p
    return _VALUES[declared.split()[0]]


def last_error() -> Exception:
    """The exception for this thread's last call that failed."""
    return error_for(_last_error_code(), (_last_error_message() or b"").decode("utf-8", "replace"))


def _raise_status(status: int, _function: Any, arguments: Any) -> None:
    # A traceback would keep what the call used alive.
    del arguments
    if status:
        message = (_last_error_message() or b"").decode("utf-8", "replace")
        raise error_for(status, message)


def _bind(library: ctypes.CDLL, path: Any) -> dict[str, Callable[..., Any]]:
    functions = {}
    for name, (result, parameters) in parse(DECLARATIONS).items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(
                f"damo: {path} has no function {name}; it is older than this package. Install both"
                " from the same checkout"
            ) from None
        function.argtypes = [_ctype(parameter) for parameter in parameters]
        function.restype = _ctype(result)
        if result == "damo_status" and name not in ("damo_last_error_code", "damo_failure_code"):
            function.errcheck = _raise_status
        functions[name] = function
    return functions


library_path = _library.find()
"""The file that was loaded."""

_functions = _bind(_library.load(library_path), library_path)
_last_error_code = _functions["damo_last_error_code"]
_last_error_message = _functions["damo_last_error_message"]


def __getattr__(name: str) -> Callable[..., Any]:
    # Called for the first use of each function. Later uses find it in globals().
    try:
        function = _functions[name]
    except KeyError:
        raise AttributeError(f"damo.h has no function {name}") from None
    globals()[name] = function
    return function


def version() -> str:
    """The version of the library that is loaded."""
    return _functions["damo_version"]().decode()


def text(value: str, what: str) -> bytes:
    """A string for C, as UTF-8.

    Raises TypeError for anything but a str, ValueError for one with a NUL (where C would cut it)
    and for one that UTF-8 cannot hold.
    """
    if not isinstance(value, str):
        raise TypeError(f"damo: {what} must be a string, not {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgumentError(
            f"damo: {what} {value!r} has a NUL inside; one without is needed"
        )
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"damo: {what} {value!r} cannot be written as UTF-8") from None


def path(value: str | os.PathLike[str], what: str) -> bytes:
    """A path for C. Raises as text does."""
    named = os.fspath(value)
    return text(os.fsdecode(named), what)


def json_text(function: Callable[..., Any], use: Callable[[], Any]) -> str:
    """The JSON text that function, such as damo_params_to_json, writes about a handle.

    use: returns the handle, as Handle._use does.
    """
    length = ctypes.c_size_t()
    function(use(), None, 0, ctypes.byref(length))
    while True:
        buffer = ctypes.create_string_buffer(length.value + 1)
        try:
            function(use(), buffer, len(buffer), ctypes.byref(length))
            return buffer.value.decode()
        except InvalidArgumentError:
            # The text may have grown meanwhile: other threads train, and open groups.
            if length.value < len(buffer):
                raise


def read(ctype: Any, call: Callable[[Any], None]) -> Any:
    """The number that call writes to the pointer it is given. ctype: its type in ctypes."""
    value = ctype()
    call(ctypes.byref(value))
    return value.value

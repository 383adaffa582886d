// damo for Python stacks that generate their own module: `swig -python -c++ swig/damo.i` writes
// damo.py and damo_wrap.cxx with the classes that existing training code calls. See README.md
// beside this file.
//
// Everything goes through the C header. Neither NumPy nor its headers are needed: arrays come in
// through Python's buffer protocol (arguments.i), errors go out as exceptions (errors.i).
//
// The GIL is released with the C macros and not with SWIG's -threads. CPython unwinds a thread that
// comes back while the interpreter is ending. SWIG's guards would then take the GIL again in a
// destructor, which ends the process with SIGABRT. For the same reason destructors here are
// noexcept(false), and nothing catches (...).

#ifndef SWIGPYTHON
#error "damo.i is for Python; for every other language take damo_c.i, which lies beside it"
#endif

%define DAMO_DOC
"Sparse embedding tables larger than memory: the classes of the earlier SWIG module, over libdamo.

A storage is a directory, an embedding one group of it. keys are one-dimensional contiguous arrays
of int64, or of uint64 whose bits are taken as they are. weights and gradients are contiguous
float32 arrays, one-dimensional or (keys, dim), which are read and filled in place. Nothing is
copied or converted: anything else is a TypeError or ValueError that says what is needed. What the
library refuses raises an Error, whose status tells how (error.status.name == 'BUSY')."
%enddef

%module(docstring=DAMO_DOC) damo

%{
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>

#include "damo.h"
%}

%include "errors.i"
%include "arguments.i"

%feature("compactdefaultargs");
%feature("kwargs");
// The first argument of these methods may be left out, by place and by name.
%include "dropin_names.i"
%feature("kwargs", "0") PyFilter::check;
%feature("kwargs", "0") PyFilter::add;
%feature("shadow") PyFilter::check %{
def check(self, *group_and_key, **named):
    """check([group,] key) -> bool: whether key was added as often as the parameter count says.
    group is 0 when left out."""
    return $action(self, *_group_first("PyFilter.check", ("group", "key"), group_and_key, named))
%}
%feature("shadow") PyFilter::add %{
def add(self, *group_key_and_num, **named):
    """add([group,] key, num): adds num to how often key was seen. group is 0 when left out."""
    names = ("group", "key", "num")
    return $action(self, *_group_first("PyFilter.add", names, group_key_and_num, named))
%}

%include "parameters.i"

%feature("docstring") PyInitializer
"The weights of rows that nobody has trained yet: PyInitializer(params). params has the kind under
'name' ('zeros', 'random_uniform', 'truncate_normal', ...) and what that kind takes. ValueError when
'name' or something else is wrong.";
%feature("docstring") PyInitializer::call
"call(w): fills w in place, all of it as the row of key 0 in group 0, so that the same parameters
give the same weights every time.";

%feature("docstring") PyOptimizer
"How a gradient changes a row: PyOptimizer(op_params[, scheduler_params]). Each has its kind under
'name' ('adam', 'sgd', ...; 'exponential_decay', ...) and what that kind takes. ValueError when
'name' or something else is wrong.";
%feature("docstring") PyOptimizer::call
"call(w, gds, step=0): steps one row that the caller keeps, in place. gds has dim float32. w has the
weights, then the optimizer's state, which is zeros for a fresh row (adam: 3 dim in all; sgd: dim).
step counts the gradients that the row has had before; it is the scheduler's step, too. After a
ValueError w is unchanged.";

%feature("docstring") PyFilter
"A counting Bloom filter in a file: PyFilter(params) with path, and with capacity, count, fpr and
reload unless the defaults suit. The file is released with the object.";

%feature("docstring") PyStorage
"A directory that holds everything: PyStorage(data_dir, ttl=0). It is created if it does not exist.
Rows that were not updated for ttl seconds (or a timedelta, rounded up) expire; with 0 they never
do. One object at a time, of all processes, has a directory open: OSError (BUSY) otherwise. It is
closed with the last object that uses it, in whichever order they go.";

%feature("docstring") PyStorage::flush
"flush(): returns once every change of every call that returned before is on disk.";
%feature("docstring") PyStorage::stat
"stat(name) -> int: one statistic, such as 'rows_estimate' or 'bytes_on_disk'. ValueError lists the
names.";

%feature("docstring") PyTable
"A table that PyStorage.dump wrote with format 'table', mapped into memory: PyTable(path). Needs no
storage; processes share its memory.";
%feature("docstring") PyTable::lookup
"lookup(group, keys, w) -> bytes: fills w as PyEmbedding.lookup does, and returns a byte a key. A
key without a row reads as zeros, and its byte is 0.";
%feature("docstring") PyTable::dim
"dim(group) -> int: the number of weights a row of group has.";
%feature("docstring") PyTable::rows
"rows(group) -> int: the number of rows that group has.";
%feature("docstring") PyTable::number
"number() -> int: where in the life of its storage the table was taken; the since of the next
increment.";
%feature("docstring") PyTable::merge
"merge(base, increment, path): writes to path the table that base becomes with the changes in
increment.";

%feature("docstring") PyEmbedding::peek
"peek(keys, w) -> bytes: as lookup, but makes no rows, and returns a byte a key. A key without a row
reads as zeros, and its byte is 0.";

%feature("docstring") PyEmbedding
"One group of a storage: PyEmbedding(storage, optimizer, initializer, dim, group=0), group in
0..65535. A group keeps its dim and its optimizer for good: RuntimeError (ALREADY_EXISTS) for
others.";

%inline %{
class PyInitializer {
 public:
  explicit PyInitializer(const Parameters &params)
      : handle_(damo_initializer_new(params.kind("PyInitializer: params", "initializer").c_str(),
                                     params.bag(Parameters::WITHOUT_NAME).get())) {
    require_handle(handle_);
  }
  ~PyInitializer() { damo_initializer_free(handle_); }

  void call(const Weights &w) const {
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_initializer_fill(handle_, 0, 0, w.data, w.len);
    Py_END_ALLOW_THREADS
    require(status);
  }

#ifndef SWIG
  const damo_initializer *get() const { return handle_; }
#endif

 private:
  PyInitializer(const PyInitializer &);
  damo_initializer *handle_;
};

class PyOptimizer {
 public:
  explicit PyOptimizer(const Parameters &op_params, const Parameters *scheduler_params = nullptr) {
    const std::string kind = op_params.kind("PyOptimizer: op_params", "optimizer");
    const Bag bag = op_params.bag(Parameters::WITHOUT_NAME);
    damo_scheduler *scheduler = nullptr;
    if (scheduler_params != nullptr) {
      const std::string schedule =
          scheduler_params->kind("PyOptimizer: scheduler_params", "scheduler");
      scheduler = damo_scheduler_new(schedule.c_str(),
                                     scheduler_params->bag(Parameters::WITHOUT_NAME).get());
      require_handle(scheduler);
    }
    handle_ = damo_optimizer_new(kind.c_str(), bag.get(), scheduler);
    damo_scheduler_free(scheduler);
    require_handle(handle_);
  }
  ~PyOptimizer() { damo_optimizer_free(handle_); }

  void call(const Weights &w, const Gradients &gds, int64_t step = 0) const {
    require_one_row("PyOptimizer.call: w", w.rows);
    require_one_row("PyOptimizer.call: gds", gds.rows);
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_optimizer_apply(handle_, w.data, w.len, gds.data, gds.len, step);
    Py_END_ALLOW_THREADS
    require(status);
  }

#ifndef SWIG
  const damo_optimizer *get() const { return handle_; }
#endif

 private:
  PyOptimizer(const PyOptimizer &);
  damo_optimizer *handle_;
};

class PyFilter {
 public:
  explicit PyFilter(const Parameters *params = nullptr) {
    const Bag bag = params == nullptr ? Bag() : params->bag(Parameters::WITH_NAME);
    Py_BEGIN_ALLOW_THREADS
    handle_ = damo_filter_new(bag.get());
    Py_END_ALLOW_THREADS
    require_open(handle_, "PyFilter");
  }
  ~PyFilter() noexcept(false) {
    Py_BEGIN_ALLOW_THREADS
    damo_filter_free(handle_);
    Py_END_ALLOW_THREADS
  }

  // Keeps the GIL: one counter costs less than releasing it and taking it again.
  bool check(uint32_t group, int64_t key) const {
    bool admitted = false;
    require(damo_filter_check(handle_, group, key, &admitted));
    return admitted;
  }
  void add(uint32_t group, int64_t key, uint32_t num) const {
    require(damo_filter_add(handle_, group, key, num));
  }

 private:
  PyFilter(const PyFilter &);
  damo_filter *handle_;
};

class PyStorage {
 public:
  explicit PyStorage(const char *data_dir, int64_t ttl = 0) {
    Py_BEGIN_ALLOW_THREADS
    handle_ = damo_storage_new(data_dir, ttl, nullptr);
    Py_END_ALLOW_THREADS
    require_open(handle_, "PyStorage, and of its PyEmbedding objects,");
  }
  ~PyStorage() noexcept(false) {
    Py_BEGIN_ALLOW_THREADS
    damo_storage_free(handle_);
    Py_END_ALLOW_THREADS
  }

  void dump(const char *path, const Parameters *condition = nullptr) const {
    const Bag bag = condition == nullptr ? Bag() : condition->bag(Parameters::WITH_NAME);
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_dump(handle_, path, bag.get());
    Py_END_ALLOW_THREADS
    require(status);
  }
  void checkpoint(const char *path) const {
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_checkpoint(handle_, path);
    Py_END_ALLOW_THREADS
    require(status);
  }
  void flush() const {
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_flush(handle_);
    Py_END_ALLOW_THREADS
    require(status);
  }
  unsigned long long stat(const char *name) const {
    uint64_t value = 0;
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_stat(handle_, name, &value);
    Py_END_ALLOW_THREADS
    require(status);
    return value;
  }
  void load_from_checkpoint(const char *path) const {
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_load_from_checkpoint(handle_, path);
    Py_END_ALLOW_THREADS
    require(status);
  }

  // For the classes in dropin.i: imports a file of damo-embedding. The options say which group.
  void _import(const char *path, const Parameters *options) const {
    const Bag bag = options->bag(Parameters::WITH_NAME);
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_storage_import_with(handle_, path, bag.get(), nullptr, nullptr);
    Py_END_ALLOW_THREADS
    require(status);
  }
  PyObject *_import_report() const { return json(damo_storage_import_report); }
  PyObject *_describe() const { return json(damo_storage_describe); }

#ifndef SWIG
  const damo_storage *get() const { return handle_; }
#endif

 private:
  PyStorage(const PyStorage &);

  // Returns what the function writes, as a str. The text may grow while other threads work.
  PyObject *json(damo_status (*write)(const damo_storage *, char *, size_t, size_t *)) const {
    std::string text;
    size_t length = 0;
    damo_status status;
    do {
      text.resize(length + 1);
      status = write(handle_, &text[0], text.size(), &length);
    } while (status == DAMO_STATUS_INVALID_ARGUMENT && length >= text.size());
    require(status);
    return PyUnicode_DecodeUTF8(text.c_str(), static_cast<Py_ssize_t>(length), nullptr);
  }

  damo_storage *handle_;
};

class PyTable {
 public:
  explicit PyTable(const char *path) {
    Py_BEGIN_ALLOW_THREADS
    handle_ = damo_table_open(path);
    Py_END_ALLOW_THREADS
    require_handle(handle_);
  }
  ~PyTable() noexcept(false) {
    Py_BEGIN_ALLOW_THREADS
    damo_table_free(handle_);
    Py_END_ALLOW_THREADS
  }

  PyObject *lookup(uint32_t group, const Keys &keys, const Weights &w) const {
    require_row_each("PyTable.lookup: w", w.rows, keys.len);
    // No destructor has it: a thread that comes back while the interpreter ends is unwound without
    // the GIL.
    PyObject *found = zeros(keys.len);
    uint8_t *bytes = reinterpret_cast<uint8_t *>(PyBytes_AS_STRING(found));
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_table_lookup(handle_, group, keys.data, keys.len, w.data, w.len, bytes);
    Py_END_ALLOW_THREADS
    if (status != DAMO_STATUS_OK) Py_DECREF(found);
    require(status);
    return found;
  }
  size_t dim(uint32_t group) const {
    size_t dim = 0;
    require(damo_table_dim(handle_, group, &dim));
    return dim;
  }
  unsigned long long rows(uint32_t group) const {
    uint64_t rows = 0;
    require(damo_table_rows(handle_, group, &rows));
    return rows;
  }
  unsigned long long number() const {
    uint64_t number = 0;
    require(damo_table_number(handle_, &number));
    return number;
  }
  static void merge(const char *base, const char *increment, const char *path) {
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_table_merge(base, increment, path);
    Py_END_ALLOW_THREADS
    require(status);
  }

 private:
  PyTable(const PyTable &);
  damo_table *handle_;
};

class PyEmbedding {
 public:
  PyEmbedding(const PyStorage &storage, const PyOptimizer &optimizer,
              const PyInitializer &initializer, size_t dim, uint32_t group = 0) {
    Py_BEGIN_ALLOW_THREADS
    handle_ = damo_embedding_new(storage.get(), optimizer.get(), initializer.get(), dim, group,
                                 nullptr);
    Py_END_ALLOW_THREADS
    require_handle(handle_);
  }
  ~PyEmbedding() noexcept(false) {
    Py_BEGIN_ALLOW_THREADS
    damo_embedding_free(handle_);
    Py_END_ALLOW_THREADS
  }

  void lookup(const Keys &keys, const Weights &w) const {
    require_row_each("PyEmbedding.lookup: w", w.rows, keys.len);
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_embedding_lookup(handle_, keys.data, keys.len, w.data, w.len);
    Py_END_ALLOW_THREADS
    require(status);
  }
  PyObject *peek(const Keys &keys, const Weights &w) const {
    require_row_each("PyEmbedding.peek: w", w.rows, keys.len);
    // No destructor owns it: a thread that comes back while the interpreter ends is unwound without
    // the GIL.
    PyObject *found = zeros(keys.len);
    uint8_t *bytes = reinterpret_cast<uint8_t *>(PyBytes_AS_STRING(found));
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_embedding_peek(handle_, keys.data, keys.len, w.data, w.len, bytes);
    Py_END_ALLOW_THREADS
    if (status != DAMO_STATUS_OK) Py_DECREF(found);
    require(status);
    return found;
  }
  void apply_gradients(const Keys &keys, const Gradients &gds) const {
    require_row_each("PyEmbedding.apply_gradients: gds", gds.rows, keys.len);
    damo_status status;
    Py_BEGIN_ALLOW_THREADS
    status = damo_embedding_apply_gradients(handle_, keys.data, keys.len, gds.data, gds.len);
    Py_END_ALLOW_THREADS
    require(status);
  }

 private:
  PyEmbedding(const PyEmbedding &);
  damo_embedding *handle_;
};
%}

%include "dropin.i"

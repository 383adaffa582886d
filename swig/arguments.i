// Converts arguments: arrays through Python's buffer protocol, integers through __index__, paths
// and strings. Each conversion that fails says which argument of which call has what, and what is
// needed. Nothing is copied or converted silently.

%{
namespace {

// Arrays are held from the conversion of the arguments until the call is over (freearg), so that
// nobody resizes them.
struct Keys {
  Py_buffer view = {};
  const int64_t *data = nullptr;
  size_t len = 0;
};
struct Weights {
  Py_buffer view = {};
  float *data = nullptr;
  size_t len = 0;
  Py_ssize_t rows = -1;  // of a two-dimensional array
};
struct Gradients {
  Py_buffer view = {};
  const float *data = nullptr;
  size_t len = 0;
  Py_ssize_t rows = -1;
};

// Makes "PyEmbedding.lookup: keys" from SWIG's names of the wrapper and the argument.
std::string argument_name(const char *wrapper, const char *argument) {
  std::string name = wrapper;
  if (name.compare(0, 4, "new_") == 0) name.erase(0, 4);
  const size_t dot = name.find('_');
  if (dot != std::string::npos) name[dot] = '.';
  return name + ": " + argument;
}

std::string text_of(PyObject *object) {  // takes the reference
  const char *text = object == nullptr ? nullptr : PyUnicode_AsUTF8(object);
  const std::string copy = text == nullptr ? "?" : text;
  Py_XDECREF(object);
  PyErr_Clear();
  return copy;
}

std::string describe(PyObject *array, const Py_buffer &view) {
  PyObject *dtype = PyObject_GetAttrString(array, "dtype");
  PyErr_Clear();
  std::string text = "an array of ";
  text += dtype != nullptr ? text_of(PyObject_Str(dtype))
                           : std::string("format '") + (view.format ? view.format : "B") + "'";
  Py_XDECREF(dtype);
  text += " with shape (";
  for (int axis = 0; axis < view.ndim; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(view.shape[axis]);
  }
  text += view.ndim == 1 ? ",)" : ")";
  if (!PyBuffer_IsContiguous(&view, 'C')) text += ", not contiguous";
  if (view.readonly) text += ", read-only";
  return text;
}

// Whether the elements are native ones of this size and of one of the kinds, which are letters of
// the module struct.
bool has_elements(const Py_buffer &view, Py_ssize_t size, const char *kinds) {
  const char *format = view.format == nullptr ? "B" : view.format;
  const uint16_t one = 1;
  const char native = *reinterpret_cast<const char *>(&one) == 1 ? '<' : '>';
  if (*format == '@' || *format == '=' || *format == native) ++format;
  return view.itemsize == size && *format != '\0' && format[1] == '\0' &&
         std::strchr(kinds, *format) != nullptr;
}

// Whether one of the value's classes has this name; for NumPy's classes, since this module does not
// import NumPy.
bool is_a(PyObject *value, const char *name) {
  PyObject *classes = Py_TYPE(value)->tp_mro;
  for (Py_ssize_t place = 0; classes != nullptr && place < PyTuple_GET_SIZE(classes); ++place) {
    PyObject *one = PyTuple_GET_ITEM(classes, place);
    if (PyType_Check(one) &&
        std::strcmp(reinterpret_cast<PyTypeObject *>(one)->tp_name, name) == 0) {
      return true;
    }
  }
  return false;
}

// For numpy.ma's class: a class that is written in Python has no module in its name here.
bool is_masked(PyObject *value) { return is_a(value, "MaskedArray"); }

// Holds the array, or says what is needed.
void take(const std::string &name, PyObject *object, Py_buffer *view, Py_ssize_t size,
          const char *kinds, int max_ndim, bool writable, const char *needed) {
  if (is_masked(object)) {
    PyErr_Format(PyExc_TypeError, "%s is a masked array; %s is needed", name.c_str(), needed);
    throw Raised();
  }
  if (PyObject_GetBuffer(object, view, PyBUF_RECORDS_RO) != 0) {
    view->obj = nullptr;
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s is a %s without such a buffer; %s is needed", name.c_str(),
                 Py_TYPE(object)->tp_name, needed);
    throw Raised();
  }
  if (!has_elements(*view, size, kinds)) {
    PyErr_Format(PyExc_TypeError, "%s is %s; %s is needed", name.c_str(),
                 describe(object, *view).c_str(), needed);
    throw Raised();
  }
  if (view->ndim < 1 || view->ndim > max_ndim || !PyBuffer_IsContiguous(view, 'C') ||
      (writable && view->readonly)) {
    raise_argument(name + " is " + describe(object, *view) + "; " + needed + " is needed");
  }
  // numpy.frombuffer with an offset makes such an array.
  if (view->len > 0 && reinterpret_cast<uintptr_t>(view->buf) % static_cast<uintptr_t>(size) != 0) {
    raise_argument(name + " is not aligned to " + std::to_string(size) + " bytes; a copy of it is");
  }
}

void take(const std::string &name, PyObject *object, Keys *keys) {
  take(name, object, &keys->view, sizeof(int64_t), "qlnQLN", 1, false,
       "a one-dimensional contiguous array of int64 or uint64");
  keys->data = static_cast<const int64_t *>(keys->view.buf);
  keys->len = static_cast<size_t>(keys->view.len) / sizeof(int64_t);
}

void take(const std::string &name, PyObject *object, Weights *weights) {
  take(name, object, &weights->view, sizeof(float), "f", 2, true,
       "a contiguous writable array of float32 with one dimension or (rows, dim)");
  weights->data = static_cast<float *>(weights->view.buf);
  weights->len = static_cast<size_t>(weights->view.len) / sizeof(float);
  weights->rows = weights->view.ndim == 2 ? weights->view.shape[0] : -1;
}

void take(const std::string &name, PyObject *object, Gradients *gradients) {
  take(name, object, &gradients->view, sizeof(float), "f", 2, false,
       "a contiguous array of float32 with one dimension or (rows, dim)");
  gradients->data = static_cast<const float *>(gradients->view.buf);
  gradients->len = static_cast<size_t>(gradients->view.len) / sizeof(float);
  gradients->rows = gradients->view.ndim == 2 ? gradients->view.shape[0] : -1;
}

// The library sees lengths only: (dim, keys) would pass for (keys, dim).
void require_row_each(const char *name, Py_ssize_t rows, size_t keys) {
  if (rows >= 0 && static_cast<size_t>(rows) != keys) {
    raise_argument(std::string(name) + " has " + std::to_string(rows) + " rows and keys has " +
                   std::to_string(keys) + " keys; one row for each key is needed");
  }
}

void require_one_row(const char *name, Py_ssize_t rows) {
  if (rows >= 0) {
    raise_argument(std::string(name) +
                   " has two dimensions; one row, with one dimension, is needed");
  }
}

[[noreturn]] void raise_range(const std::string &name, PyObject *number, const std::string &min,
                              const std::string &max) {
  raise_argument(name + " is " + text_of(PyObject_Str(number)) + "; an integer from " + min +
                 " to " + max + " is needed");
}

bool is_numpy_bool(PyObject *value) {
  return is_a(value, "numpy.bool_") || is_a(value, "numpy.bool");
}

// Whether it is True or False of any library: those have an __index__, too, and are no numbers
// here.
bool is_bool(PyObject *value) {
  if (PyLong_CheckExact(value)) return false;
  if (PyBool_Check(value) || is_numpy_bool(value)) return true;
  PyObject *dtype = is_a(value, "numpy.generic") ? nullptr : PyObject_GetAttrString(value, "dtype");
  PyErr_Clear();
  if (dtype == nullptr) return false;
  const std::string text = text_of(PyObject_Str(dtype));
  Py_DECREF(dtype);
  return text.size() >= 4 && text.compare(text.size() - 4, 4, "bool") == 0;
}

// Returns Python's int of an integer of any kind, such as numpy.int64, but not of a bool: a new
// reference.
PyObject *index_of(const std::string &name, PyObject *object) {
  PyObject *number = PyIndex_Check(object) && !is_bool(object) && !is_masked(object)
                         ? PyNumber_Index(object)
                         : nullptr;
  if (number == nullptr) {
    if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError)) throw Raised();
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s is a %s; an integer is needed", name.c_str(),
                 Py_TYPE(object)->tp_name);
    throw Raised();
  }
  return number;
}

int64_t signed_integer(const std::string &name, PyObject *object, int64_t min, int64_t max) {
  PyObject *number = index_of(name, object);
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  Py_DECREF(number);
  if (overflow != 0 || value < min || value > max) {
    raise_range(name, object, std::to_string(min), std::to_string(max));
  }
  return value;
}

// All 64-bit patterns are keys, and hashes come as unsigned numbers.
int64_t key_of(const std::string &name, PyObject *object) {
  PyObject *number = index_of(name, object);
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  const unsigned long long bits = overflow > 0 ? PyLong_AsUnsignedLongLong(number) : 0;
  Py_DECREF(number);
  if (overflow < 0 || PyErr_Occurred()) {
    PyErr_Clear();
    raise_range(name, object, std::to_string(INT64_MIN), std::to_string(UINT64_MAX));
  }
  return overflow > 0 ? static_cast<int64_t>(bits) : value;
}

// Raises the error of a str that has no UTF-8, such as half of a surrogate pair.
[[noreturn]] void raise_unicode(const std::string &name) {
  if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw Raised();
  PyErr_Clear();
  raise_argument(name + " cannot be written as UTF-8");
}

// Returns the str's text, which lives as long as the object does.
const char *c_string(const std::string &name, PyObject *object) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s is a %s; a str is needed", name.c_str(),
                 Py_TYPE(object)->tp_name);
    throw Raised();
  }
  Py_ssize_t length = 0;
  const char *text = PyUnicode_AsUTF8AndSize(object, &length);
  if (text == nullptr) raise_unicode(name);
  if (static_cast<size_t>(length) != std::strlen(text)) {
    raise_argument(name + " has a NUL inside; a str without is needed");
  }
  return text;
}

// Converts a path, which is a str, bytes, or an object with __fspath__, to bytes: a new reference.
PyObject *path_bytes(const std::string &name, PyObject *object) {
  PyObject *bytes = nullptr;
  if (PyUnicode_FSConverter(object, &bytes)) return bytes;
  if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) raise_unicode(name);
  if (!PyErr_ExceptionMatches(PyExc_ValueError)) throw Raised();
  PyErr_Clear();
  raise_argument(name + " has a NUL inside; a path without is needed");
}

// Whether it is a float, numpy.float32 and the like included. Decimal and Fraction convert to
// float, too, and are not taken.
bool is_float(PyObject *value) { return PyFloat_Check(value) || is_a(value, "numpy.floating"); }

// Returns new bytes, to be filled.
PyObject *zeros(size_t length) {
  PyObject *bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(length));
  if (bytes == nullptr) throw Raised();
  std::memset(PyBytes_AS_STRING(bytes), 0, length);
  return bytes;
}

}  // namespace
%}

%define DAMO_CONVERT(code)
  try {
    code;
  } catch (const Raised &) {
    SWIG_fail;
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
    SWIG_fail;
  }
%enddef

%typemap(in) const Keys & (Keys array), const Weights & (Weights array),
  const Gradients & (Gradients array) {
  DAMO_CONVERT(take(argument_name("$symname", "$1_name"), $input, &array))
  $1 = &array;
}
%typemap(freearg) const Keys &, const Weights &, const Gradients &
  "PyBuffer_Release(&array$argnum.view);"

%typemap(in) int64_t key { DAMO_CONVERT($1 = key_of(argument_name("$symname", "$1_name"), $input)) }
%typemap(in) int64_t ttl, int64_t step {
  DAMO_CONVERT($1 = signed_integer(argument_name("$symname", "$1_name"), $input, INT64_MIN,
                                   INT64_MAX))
}
%typemap(in) uint32_t group {
  DAMO_CONVERT($1 = static_cast<uint32_t>(
                   signed_integer(argument_name("$symname", "$1_name"), $input, 0, 65535)))
}
%typemap(in) uint32_t num {
  DAMO_CONVERT($1 = static_cast<uint32_t>(
                   signed_integer(argument_name("$symname", "$1_name"), $input, 0, UINT32_MAX)))
}
%typemap(in) size_t dim {
  DAMO_CONVERT($1 = static_cast<size_t>(
                   signed_integer(argument_name("$symname", "$1_name"), $input, 1, 262144)))
}
%typemap(in) const char *key, const char *name {
  DAMO_CONVERT($1 = const_cast<char *>(c_string(argument_name("$symname", "$1_name"), $input)))
}
%typemap(freearg) const char *key, const char *name ""

%typemap(in) const char *path (PyObject *bytes = nullptr),
  const char *data_dir (PyObject *bytes = nullptr),
  const char *base (PyObject *bytes = nullptr), const char *increment (PyObject *bytes = nullptr) {
  DAMO_CONVERT(bytes = path_bytes(argument_name("$symname", "$1_name"), $input))
  $1 = PyBytes_AS_STRING(bytes);
}
%typemap(freearg) const char *path, const char *data_dir, const char *base, const char *increment
  "Py_XDECREF(bytes$argnum);"

// Statuses to exceptions. Knows nothing of the classes.
//
// Each status has a class of its own under Error, which is a RuntimeError, and under Python's class for such things where
// there is one. Errors have the attributes status (the number) and status_name ("BUSY").

%{
namespace {

// Thrown once a Python exception is set.
struct Raised {};

PyObject *damo_error;  // the base of all

struct ErrorClass {
  damo_status status;
  const char *name;
  const char *doc;
  PyObject **python[2];  // bases beside Error
  PyObject *made;
};

ErrorClass error_classes[] = {
    {DAMO_STATUS_INVALID_ARGUMENT, "damo.InvalidArgumentError", "An argument or parameter is not acceptable.",
     {&PyExc_ValueError, nullptr}, nullptr},
    {DAMO_STATUS_NOT_FOUND, "damo.NotFoundError", "The file, checkpoint or group is not there.",
     {&PyExc_LookupError, &PyExc_FileNotFoundError}, nullptr},
    {DAMO_STATUS_ALREADY_EXISTS, "damo.AlreadyExistsError", "It is there already, and differs.",
     {&PyExc_FileExistsError, nullptr}, nullptr},
    {DAMO_STATUS_BUSY, "damo.BusyError", "Another object or process has it open.", {&PyExc_OSError, nullptr}, nullptr},
    {DAMO_STATUS_IO, "damo.IoError", "The operating system refused.", {&PyExc_OSError, nullptr}, nullptr},
    {DAMO_STATUS_CORRUPTION, "damo.CorruptionError", "Stored bytes are damaged, truncated or foreign.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_NOT_SUPPORTED, "damo.NotSupportedError", "Not available in this version.",
     {&PyExc_NotImplementedError, nullptr}, nullptr},
    {DAMO_STATUS_FORKED, "damo.ForkedError", "The storage or filter belongs to the process this one was forked from.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_OUT_OF_MEMORY, "damo.OutOfMemoryError", "There is no memory for the call.",
     {&PyExc_MemoryError, nullptr}, nullptr},
};

bool add_to_module(PyObject *module, const char *name, PyObject *made) {
  const char *bare = std::strchr(name, '.') + 1;
  return made != nullptr && PyObject_SetAttrString(module, bare, made) == 0;
}

bool make_error_classes(PyObject *module) {
  damo_error = PyErr_NewExceptionWithDoc("damo.Error", "A call that failed, with status and status_name.",
                                         PyExc_RuntimeError, nullptr);
  if (!add_to_module(module, "damo.Error", damo_error)) return false;
  for (ErrorClass &error : error_classes) {
    PyObject *second = error.python[0] == nullptr ? nullptr : *error.python[0];
    PyObject *third = error.python[1] == nullptr ? nullptr : *error.python[1];
    // A NULL ends the arguments.
    PyObject *bases = PyTuple_Pack(second == nullptr ? 1 : third == nullptr ? 2 : 3, damo_error, second, third);
    if (bases == nullptr) return false;
    error.made = PyErr_NewExceptionWithDoc(error.name, error.doc, bases, nullptr);
    Py_DECREF(bases);
    if (!add_to_module(module, error.name, error.made)) return false;
  }
  return true;
}

bool set_attribute(PyObject *object, const char *name, PyObject *value) {
  const bool done = value != nullptr && PyObject_SetAttrString(object, name, value) == 0;
  Py_XDECREF(value);
  return done;
}

[[noreturn]] void raise_status(damo_status status, const char *message) {
  PyObject *type = damo_error;
  for (const ErrorClass &error : error_classes) {
    if (error.status == status) type = error.made;
  }
  // What a path in a message has in foreign bytes must not hide the message.
  PyObject *text = PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::strlen(message)), "backslashreplace");
  PyObject *error = text == nullptr ? nullptr : PyObject_CallFunctionObjArgs(type, text, nullptr);
  Py_XDECREF(text);
  if (error != nullptr && set_attribute(error, "status", PyLong_FromLong(status)) &&
      set_attribute(error, "status_name", PyUnicode_FromString(damo_status_name(status)))) {
    PyErr_SetObject(type, error);
  }
  Py_XDECREF(error);
  throw Raised();
}

[[noreturn]] void raise_argument(const std::string &message) {
  raise_status(DAMO_STATUS_INVALID_ARGUMENT, message.c_str());
}

void require(damo_status status) {
  if (status != DAMO_STATUS_OK) raise_status(status, damo_last_error_message());
}

void require_handle(const void *handle) {
  if (handle == nullptr) raise_status(damo_last_error_code(), damo_last_error_message());
}

}  // namespace
%}

%exception {
  try {
    $action
  } catch (const Raised &) {
    SWIG_fail;
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
    SWIG_fail;
  }
}

%init %{
  if (damo_abi_version() != DAMO_ABI_VERSION) {
    PyErr_Format(PyExc_ImportError,
                 "damo: this module was built for version %d of the library's interface, and the libdamo that was found (%s) has "
                 "version %u; build the module with the damo.h of that library, or put the right library in its place",
                 DAMO_ABI_VERSION, damo_version(), static_cast<unsigned>(damo_abi_version()));
    return NULL;
  }
  if (!make_error_classes(m) || PyModule_AddStringConstant(m, "__version__", damo_version()) != 0) return NULL;
%}

%pythoncode %{
__version__ = _damo.__version__
Error = _damo.Error
InvalidArgumentError = _damo.InvalidArgumentError
NotFoundError = _damo.NotFoundError
AlreadyExistsError = _damo.AlreadyExistsError
BusyError = _damo.BusyError
IoError = _damo.IoError
CorruptionError = _damo.CorruptionError
NotSupportedError = _damo.NotSupportedError
ForkedError = _damo.ForkedError
OutOfMemoryError = _damo.OutOfMemoryError
%}

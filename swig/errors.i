// Makes exceptions of statuses. Knows nothing of the classes.
//
// Each status has a class of its own under Error, which is a RuntimeError, and under Python's class
// for such errors if there is one. Errors have the attribute status, a Status: status == 4,
// status.name == "BUSY".

%{
namespace {

// Thrown once a Python exception is set.
struct Raised {};

PyObject *damo_error;     // the base of all
PyObject *damo_statuses;  // enum.IntEnum

struct ErrorClass {
  damo_status status;
  const char *name;
  const char *doc;
  PyObject **python[2];  // bases beside Error
  PyObject *made;
};

ErrorClass error_classes[] = {
    {DAMO_STATUS_INVALID_ARGUMENT, "damo.InvalidArgumentError",
     "An argument or parameter is not acceptable.", {&PyExc_ValueError, nullptr}, nullptr},
    {DAMO_STATUS_NOT_FOUND, "damo.NotFoundError", "The file, checkpoint or group is not there.",
     {&PyExc_LookupError, &PyExc_FileNotFoundError}, nullptr},
    {DAMO_STATUS_ALREADY_EXISTS, "damo.AlreadyExistsError", "It is there already, and differs.",
     {&PyExc_FileExistsError, &PyExc_ValueError}, nullptr},
    {DAMO_STATUS_BUSY, "damo.BusyError", "Another object or process has it open.",
     {&PyExc_OSError, nullptr}, nullptr},
    {DAMO_STATUS_IO, "damo.IoError", "The operating system refused.",
     {&PyExc_OSError, nullptr}, nullptr},
    {DAMO_STATUS_CORRUPTION, "damo.CorruptionError",
     "Stored bytes are damaged, truncated or foreign.", {&PyExc_OSError, nullptr}, nullptr},
    {DAMO_STATUS_NOT_SUPPORTED, "damo.NotSupportedError", "Not available in this version.",
     {&PyExc_NotImplementedError, nullptr}, nullptr},
    {DAMO_STATUS_POISONED, "damo.PoisonedError", "An earlier panic left the group in doubt.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_PANIC, "damo.PanicError", "A bug in damo.", {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_FORKED, "damo.ForkedError",
     "The storage or filter belongs to the process this one was forked from.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_OUT_OF_MEMORY, "damo.OutOfMemoryError", "There is no memory for the call.",
     {&PyExc_MemoryError, nullptr}, nullptr},
    {DAMO_STATUS_EXITING, "damo.ExitingError", "The process is ending.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_CANCELLED, "damo.CancelledError", "The caller's progress function said so.",
     {nullptr, nullptr}, nullptr},
    {DAMO_STATUS_STEP_MISMATCH, "damo.StepMismatchError", "A group has another step.",
     {nullptr, nullptr}, nullptr},
};

// Both functions take over the reference to `value`.
bool set_attribute(PyObject *object, const char *name, PyObject *value) {
  const bool done = value != nullptr && PyObject_SetAttrString(object, name, value) == 0;
  Py_XDECREF(value);
  return done;
}
bool set_item(PyObject *dict, const char *name, PyObject *value) {
  const bool done = value != nullptr && PyDict_SetItemString(dict, name, value) == 0;
  Py_XDECREF(value);
  return done;
}

// A number from a newer library, which has no name here, stays a number.
PyObject *status_object(damo_status status) {
  PyObject *object = PyObject_CallFunction(damo_statuses, "i", static_cast<int>(status));
  if (object == nullptr) PyErr_Clear();
  return object != nullptr ? object : PyLong_FromLong(status);
}

bool make_statuses(PyObject *module) {
  PyObject *names = PyDict_New();
  PyObject *enums = PyImport_ImportModule("enum");
  bool done = names != nullptr && enums != nullptr;
  for (int32_t status = 0; done && std::strcmp(damo_status_name(status), "UNKNOWN") != 0;
       ++status) {
    done = set_item(names, damo_status_name(status), PyLong_FromLong(status));
  }
  damo_statuses = done ? PyObject_CallMethod(enums, "IntEnum", "sO", "Status", names) : nullptr;
  Py_XDECREF(names);
  Py_XDECREF(enums);
  return damo_statuses != nullptr &&
         set_attribute(damo_statuses, "__module__", PyUnicode_FromString("damo")) &&
         PyObject_SetAttrString(module, "Status", damo_statuses) == 0;
}

bool add_error(PyObject *module, const char *name, PyObject *made) {
  return made != nullptr && PyObject_SetAttrString(module, std::strchr(name, '.') + 1, made) == 0;
}

bool make_errors(PyObject *module) {
  damo_error =
      PyErr_NewExceptionWithDoc("damo.Error", "A call that failed; status tells how, as a Status.",
                                PyExc_RuntimeError, nullptr);
  if (!add_error(module, "damo.Error", damo_error)) return false;
  for (ErrorClass &error : error_classes) {
    const Py_ssize_t count = error.python[0] == nullptr ? 1 : error.python[1] == nullptr ? 2 : 3;
    PyObject *bases = PyTuple_Pack(count, damo_error, count > 1 ? *error.python[0] : nullptr,
                                   count > 2 ? *error.python[1] : nullptr);
    if (bases == nullptr) return false;
    error.made = PyErr_NewExceptionWithDoc(error.name, error.doc, bases, nullptr);
    Py_DECREF(bases);
    if (!add_error(module, error.name, error.made)) return false;
  }
  return true;
}

[[noreturn]] void raise_status(damo_status status, const char *message) {
  PyObject *type = damo_error;
  for (const ErrorClass &error : error_classes) {
    if (error.status == status) type = error.made;
  }
  // Foreign bytes of a path in the message must not hide the message.
  PyObject *text = PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::strlen(message)),
                                        "backslashreplace");
  PyObject *error = text == nullptr ? nullptr : PyObject_CallFunctionObjArgs(type, text, nullptr);
  Py_XDECREF(text);
  if (error != nullptr && set_attribute(error, "status", status_object(status))) {
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

// For handles that one object at a time has open. A notebook's cell that runs again is the usual
// case.
void require_open(const void *handle, const char *holders) {
  if (handle != nullptr || damo_last_error_code() != DAMO_STATUS_BUSY) {
    return require_handle(handle);
  }
  const std::string message = std::string(damo_last_error_message()) +
                              ". If it is this process, `del` every name of the " + holders +
                              " that has it before it is opened again, as a notebook's cell has to";
  raise_status(DAMO_STATUS_BUSY, message.c_str());
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
                 "damo: this module was built for version %d of the library's interface, and the "
                 "libdamo that was found (%s) has version %u; build the module with the damo.h of "
                 "that library, or put the right library in its place",
                 DAMO_ABI_VERSION, damo_version(), static_cast<unsigned>(damo_abi_version()));
    return NULL;
  }
  if (!make_statuses(m) || !make_errors(m) ||
      PyModule_AddStringConstant(m, "__version__", damo_version()) != 0) {
    return NULL;
  }
%}

%pythoncode %{
__version__ = _damo.__version__
Status = _damo.Status
Error = _damo.Error
InvalidArgumentError = _damo.InvalidArgumentError
NotFoundError = _damo.NotFoundError
AlreadyExistsError = _damo.AlreadyExistsError
BusyError = _damo.BusyError
IoError = _damo.IoError
CorruptionError = _damo.CorruptionError
NotSupportedError = _damo.NotSupportedError
PoisonedError = _damo.PoisonedError
PanicError = _damo.PanicError
ForkedError = _damo.ForkedError
OutOfMemoryError = _damo.OutOfMemoryError
ExitingError = _damo.ExitingError
CancelledError = _damo.CancelledError
StepMismatchError = _damo.StepMismatchError
%}

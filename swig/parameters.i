// Parameters: the bag that configures everything else. In the earlier module it also carries the
// kind, under "name".

%feature("docstring") Parameters
"A typed key/value bag that configures everything else. The kind of an optimizer, scheduler or
initializer is under 'name'.";
%feature("docstring") Parameters::insert
"insert(key, value): value is an int, float, bool or str. A key that is inserted twice keeps the
last value. Whether key and value are known is checked where the bag is used.";
%feature("docstring") Parameters::to_json
"to_json() -> str: the bag as a JSON object, keys sorted.";

%{
namespace {

struct FreeBag {
  void operator()(damo_params *bag) const { damo_params_free(bag); }
};
typedef std::unique_ptr<damo_params, FreeBag> Bag;

struct DropReference {
  void operator()(PyObject *object) const { Py_DECREF(object); }
};
typedef std::unique_ptr<PyObject, DropReference> Owned;

// Returns what is kept of a value: an object of exactly Python's bool, int, float or str; a new
// reference.
PyObject *plain_value(const char *key, PyObject *value) {
  PyObject *plain = nullptr;
  if (PyBool_Check(value) || is_numpy_bool(value)) {
    const int flag = PyObject_IsTrue(value);
    plain = flag < 0 ? nullptr : PyBool_FromLong(flag);
  } else if (PyUnicode_Check(value)) {
    plain = PyUnicode_FromObject(value);
  } else if (is_float(value)) {
    const double number = PyFloat_AsDouble(value);
    plain = number == -1 && PyErr_Occurred() ? nullptr : PyFloat_FromDouble(number);
  } else if (PyIndex_Check(value) && !is_bool(value) && !is_masked(value)) {
    plain = PyNumber_Index(value);
  }
  // Only this failure is for the user to read. NumPy's arrays look like numbers until they are
  // asked.
  if (plain == nullptr && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError))) {
    PyErr_Format(PyExc_TypeError,
                 "Parameters.insert: value of '%s' is a %s; an int, float, bool or str is needed",
                 key, Py_TYPE(value)->tp_name);
  }
  if (plain == nullptr) throw Raised();
  return plain;
}

void set_parameter(damo_params *bag, const char *key, PyObject *plain) {
  if (PyBool_Check(plain)) {
    require(damo_params_set_bool(bag, key, plain == Py_True));
  } else if (PyLong_Check(plain)) {
    const std::string name = std::string("Parameters.insert: value of '") + key + "'";
    require(damo_params_set_int(bag, key, signed_integer(name, plain, INT64_MIN, INT64_MAX)));
  } else if (PyFloat_Check(plain)) {
    require(damo_params_set_float(bag, key, PyFloat_AS_DOUBLE(plain)));
  } else {
    const std::string name = std::string("Parameters.insert: value of '") + key + "'";
    require(damo_params_set_str(bag, key, c_string(name, plain)));
  }
}

}  // namespace
%}

%inline %{
class Parameters {
 public:
  Parameters() {}

  void insert(const char *key, PyObject *value) {
    Owned plain(plain_value(key, value));
    // The library's own checks, before anything changes.
    const Bag checked(damo_params_new());
    set_parameter(checked.get(), key, plain.get());
    values_[key] = std::move(plain);
  }

  PyObject *to_json() const {
    const Bag all = bag(WITH_NAME);
    size_t length = 0;
    require(damo_params_to_json(all.get(), nullptr, 0, &length));
    std::string text(length + 1, '\0');
    require(damo_params_to_json(all.get(), &text[0], text.size(), nullptr));
    return PyUnicode_DecodeUTF8(text.c_str(), static_cast<Py_ssize_t>(length), nullptr);
  }

#ifndef SWIG
  enum Which { WITH_NAME, WITHOUT_NAME };

  // Returns a new bag for each call: the call reads it without the GIL, while another thread may
  // insert.
  Bag bag(Which which) const {
    Bag made(damo_params_new());
    for (const auto &entry : values_) {
      if (which == WITH_NAME || entry.first != "name") {
        set_parameter(made.get(), entry.first.c_str(), entry.second.get());
      }
    }
    return made;
  }

  // Returns the kind of thing to make; `what` tells the user where it is missing.
  std::string kind(const char *what, const char *thing) const {
    const auto found = values_.find("name");
    if (found == values_.end()) {
      raise_argument(std::string(what) +
                     " has no 'name'; insert(\"name\", kind) with the kind of " + thing +
                     " is needed");
    }
    if (!PyUnicode_Check(found->second.get())) {
      raise_argument(std::string(what) + " has a 'name' that is a " +
                     Py_TYPE(found->second.get())->tp_name + "; a str with the kind of " + thing +
                     " is needed");
    }
    return c_string(what, found->second.get());
  }
#endif

 private:
  Parameters(const Parameters &);
  std::map<std::string, Owned> values_;
};
%}

// Numbers: keys have 64 bits everywhere, and nothing is rounded, wrapped or cut off. Included by
// damo_c.i.

// Not stdint.i: its long has 32 bits in Java and C#, and is another pointer in C++.
%apply int { int32_t };
%apply unsigned int { uint32_t };
%apply long long { int64_t };
#ifdef SWIGJAVA
// Java would make a BigInteger of it.
%apply long long { uint64_t, size_t };
#else
%apply unsigned long long { uint64_t, size_t };
#endif

%include <typemaps.i>
#ifdef SWIGJAVA
// Nothing is written after a failure: there is no value, and JNI forbids it while an exception is
// pending.
%define DAMO_OUTPUT(TYPE, JNI, CAPITAL)
%typemap(argout) TYPE *OUTPUT {
  const JNI value = (JNI)temp$argnum;
  if (!damo_c_failed()) JCALL4(Set ## CAPITAL ## ArrayRegion, jenv, $input, 0, 1, &value);
}
%enddef
DAMO_OUTPUT(bool, jboolean, Boolean)
DAMO_OUTPUT(double, jdouble, Double)
DAMO_OUTPUT(unsigned int, jlong, Long)
DAMO_OUTPUT(long long, jlong, Long)
#endif
%apply bool *OUTPUT { bool *found, bool *admitted, bool *applied, bool *forgotten };
%apply double *OUTPUT { double *rate, double *learning_rate, double *norm, double *largest };
%apply unsigned int *OUTPUT { uint32_t *group, uint32_t *shard };
%apply long long *OUTPUT { int64_t *key, int64_t *step, int64_t *update_time, int64_t *update_num };
#ifdef SWIGJAVA
%apply long long *OUTPUT {
#else
%apply unsigned long long *OUTPUT {
#endif
  uint64_t *rows, uint64_t *number, uint64_t *removed, uint64_t *imported, uint64_t *refused,
  uint64_t *value,
  size_t *row_len, size_t *dim, size_t *summed
};

// A literal beyond an int does not exist in every language.
%ignore DAMO_GROUP_BY_NAME;
%ignore DAMO_ALL_GROUPS;
%ignore DAMO_ANY_STEP;
%rename(DAMO_GROUP_BY_NAME) damo_c_group_by_name;
%rename(DAMO_ALL_GROUPS) damo_c_all_groups;
%rename(DAMO_ANY_STEP) damo_c_any_step;
%constant long long damo_c_group_by_name = 4294967294LL;
%constant long long damo_c_all_groups = 4294967295LL;
%constant long long damo_c_any_step = 9223372036854775807LL;

// ---- arguments of languages whose integers are not C's ------------------------------------------

// DAMO_INTEGER is defined for each language. Its arguments are the type in C and the least and the
// largest value.
%define DAMO_INTEGERS
DAMO_INTEGER(int32_t, INT32_MIN, INT32_MAX)
DAMO_INTEGER(uint32_t, 0, UINT32_MAX)
DAMO_INTEGER(int64_t, INT64_MIN, INT64_MAX)
DAMO_INTEGER(uint64_t, 0, UINT64_MAX)
DAMO_INTEGER(size_t, 0, SIZE_MAX)
%enddef

#if defined(SWIGPYTHON)

%{
/* Whether it is True or False of any library: those have an __index__, too, and are no numbers
   here. */
static bool damo_c_is_bool(PyObject *object) {
  PyObject *dtype, *name;
  const char *text = NULL;
  bool is_bool = false;
  if (PyBool_Check(object) || PyLong_Check(object) || PyFloat_Check(object)) {
    return PyBool_Check(object);
  }
  dtype = PyObject_GetAttrString(object, "dtype");
  name = dtype == NULL ? NULL : PyObject_Str(dtype);
  if (name != NULL) text = PyUnicode_AsUTF8AndSize(name, NULL);
  if (text != NULL) is_bool = strlen(text) >= 4 && strcmp(text + strlen(text) - 4, "bool") == 0;
  Py_XDECREF(name);
  Py_XDECREF(dtype);
  PyErr_Clear();
  return is_bool;
}

/* Returns Python's int of an integer of any kind, such as numpy.int64: a new reference. */
static PyObject *damo_c_index(PyObject *object, const char *name) {
  if (PyIndex_Check(object) && !damo_c_is_bool(object)) return PyNumber_Index(object);
  PyErr_Format(PyExc_TypeError, "%s is a %s; an integer is needed", name, Py_TYPE(object)->tp_name);
  return NULL;
}

/* Writes the bits of an integer from min to max; returns -1 if the object is none. */
static int damo_c_integer(PyObject *object, const char *name, long long min, unsigned long long max,
                          unsigned long long *bits) {
  PyObject *number = damo_c_index(object, name);
  int overflow = 0;
  long long value;
  bool fits;
  if (number == NULL) return -1;
  value = PyLong_AsLongLongAndOverflow(number, &overflow);
  *bits = overflow > 0 ? PyLong_AsUnsignedLongLong(number) : (unsigned long long)value;
  fits = overflow >= 0 && PyErr_Occurred() == NULL &&
         (overflow > 0 || value >= 0 ? *bits <= max : value >= min);
  PyErr_Clear();
  if (!fits) {
    PyErr_Format(PyExc_ValueError,
                 "INVALID_ARGUMENT: %s is %S; an integer from %lld to %llu is needed", name, number,
                 min, max);
  }
  Py_DECREF(number);
  return fits ? 0 : -1;
}

/* Converts a float of Python or NumPy, or an integer. Decimal and Fraction have a __float__, too,
   and are not taken. */
static int damo_c_float(PyObject *object, const char *name, double *number) {
  PyObject *classes = Py_TYPE(object)->tp_mro, *index;
  Py_ssize_t place;
  bool is_float = PyFloat_Check(object);
  for (place = 0; !is_float && place < PyTuple_GET_SIZE(classes); place++) {
    PyTypeObject *one = (PyTypeObject *)PyTuple_GET_ITEM(classes, place);
    is_float = strcmp(one->tp_name, "numpy.floating") == 0;
  }
  if (!is_float && (!PyIndex_Check(object) || damo_c_is_bool(object))) {
    PyErr_Format(PyExc_TypeError, "%s is a %s; a float is needed", name, Py_TYPE(object)->tp_name);
    return -1;
  }
  index = is_float ? NULL : PyNumber_Index(object);
  if (!is_float && index == NULL) return -1;
  *number = PyFloat_AsDouble(is_float ? object : index);
  Py_XDECREF(index);
  return *number == -1 && PyErr_Occurred() != NULL ? -1 : 0;
}

static int damo_c_flag(PyObject *object, const char *name, bool *flag) {
  const int is_true = damo_c_is_bool(object) ? PyObject_IsTrue(object) : -1;
  if (is_true < 0 && PyErr_Occurred() == NULL) {
    PyErr_Format(PyExc_TypeError, "%s is a %s; a bool is needed", name, Py_TYPE(object)->tp_name);
  }
  *flag = is_true > 0;
  return is_true < 0 ? -1 : 0;
}
%}
%define DAMO_INTEGER(CTYPE, MIN, MAX)
%typemap(in) CTYPE (unsigned long long bits) {
  if (damo_c_integer($input, "$1_name", MIN, MAX, &bits) != 0) SWIG_fail;
  $1 = (CTYPE)bits;
}
%enddef
DAMO_INTEGERS
%typemap(in) double "if (damo_c_float($input, \"$1_name\", &$1) != 0) SWIG_fail;"
%typemap(in) bool "if (damo_c_flag($input, \"$1_name\", &$1) != 0) SWIG_fail;"

#elif defined(SWIGJAVA)

// uint32_t is a long in Java, which has no unsigned types.
%pragma(java) jniclasscode=%{
  static long uint32(String name, long number) {
    if (number >= 0 && number <= 4294967295L) return number;
    throw new IllegalArgumentException(
      "INVALID_ARGUMENT: " + name + " is " + number
        + "; an integer from 0 to 4294967295 is needed");
  }
%}
%typemap(javain) uint32_t "$imclassname.uint32(\"$1_name\", $javainput)"

#elif defined(SWIGGO)

// uint32_t is a uint in Go, which has 64 bits.
%insert(go_wrapper) %{
func damo_c_uint32(name string, number uint) uint {
	if uint64(number) > 4294967295 {
		panic("INVALID_ARGUMENT: " + name + " is beyond 4294967295; an integer from 0 to that is needed")
	}
	return number
}
%}
%typemap(goin) uint32_t "$result = damo_c_uint32(\"$1_name\", $input)"

#elif defined(SWIGRUBY)

%{
/* Writes what a message calls an element of an array, or an argument itself. */
static const char *damo_c_place(char (*place)[80], const char *name, long index) {
  if (index < 0) return name;
  snprintf(*place, sizeof *place, "%s[%ld]", name, index);
  return *place;
}

/* Returns the bits of an Integer from min to max; anything else is an error. A Float is no Integer,
   whatever its value. */
static uint64_t damo_c_integer(VALUE number, const char *name, long index, int64_t min,
                               uint64_t max) {
  char place[80];
  uint64_t words[2] = {0, 0};
  bool fits;
  int sign;
  if (!RB_INTEGER_TYPE_P(number)) {
    rb_raise(rb_eTypeError, "%s is a %s; an Integer is needed", damo_c_place(&place, name, index),
             rb_obj_classname(number));
  }
  sign = rb_integer_pack(
      number, words, 2, sizeof *words, 0,
      INTEGER_PACK_LSWORD_FIRST | INTEGER_PACK_NATIVE_BYTE_ORDER | INTEGER_PACK_2COMP);
  /* 2 and -2 have more than 128 bits. */
  fits = sign == 0 || (sign == 1 && words[1] == 0 && words[0] <= max) ||
         (sign == -1 && words[1] == UINT64_MAX && words[0] >= (uint64_t)min && min < 0);
  if (!fits) {
    rb_raise(rb_eArgError,
             "INVALID_ARGUMENT: %s is %" PRIsVALUE "; an Integer from %lld to %llu is needed",
             damo_c_place(&place, name, index), number, (long long)min, (unsigned long long)max);
  }
  return words[0];
}

static double damo_c_float(VALUE number, const char *name, long index, int64_t min, uint64_t max) {
  char place[80];
  (void)min, (void)max;
  if (!RTEST(rb_obj_is_kind_of(number, rb_cNumeric))) {
    rb_raise(rb_eTypeError, "%s is a %s; a number is needed", damo_c_place(&place, name, index),
             rb_obj_classname(number));
  }
  return NUM2DBL(number);
}
%}
%define DAMO_INTEGER(CTYPE, MIN, MAX)
%typemap(in) CTYPE "$1 = (CTYPE)damo_c_integer($input, \"$1_name\", -1, MIN, MAX);"
%enddef
DAMO_INTEGERS

#elif defined(SWIGLUA)

%{
#if LUA_VERSION_NUM < 503
#error "keys have 64 bits: Lua 5.3 or later is needed"
#endif
#define damo_c_is_number(L, index) (lua_type(L, index) == LUA_TNUMBER)

/* Returns the integer at index, which is name[place]. A float with a fraction and a number out of
   range are errors. */
static lua_Integer damo_c_integer(lua_State *L, int index, const char *name, lua_Integer place,
                                  lua_Integer min, lua_Integer max) {
  int is_integer = 0;
  const lua_Integer number = damo_c_is_number(L, index) ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer || number < min || number > max) {
    const char *type = luaL_typename(L, index), *value = luaL_tolstring(L, index, NULL);
    /* Not luaL_error, which puts the line before the status. */
    lua_pushfstring(L, "INVALID_ARGUMENT: %s[%I] is a %s, %s; an integer from %I to %I is needed",
                    name, (LUAI_UACINT)place, type, value, (LUAI_UACINT)min, (LUAI_UACINT)max);
    lua_error(L);
  }
  return number;
}

static lua_Number damo_c_float(lua_State *L, int index, const char *name, lua_Integer place,
                               lua_Integer min, lua_Integer max) {
  (void)min, (void)max;
  if (!damo_c_is_number(L, index)) {
    lua_pushfstring(L, "INVALID_ARGUMENT: %s[%I] is a %s; a number is needed", name,
                    (LUAI_UACINT)place, luaL_typename(L, index));
    lua_error(L);
  }
  return lua_tonumber(L, index);
}
%}
// Not through lua_Number, which is a double: keys have 64 bits. A string is no number here.
%define DAMO_LUA_INTEGER(CTYPE, MIN, MAX)
%typemap(in, checkfn="damo_c_is_number") CTYPE
  "$1 = ($1_ltype)damo_c_integer(L, $input, \"argument\", $input, MIN, MAX);"
%enddef
DAMO_LUA_INTEGER(int64_t, LUA_MININTEGER, LUA_MAXINTEGER)
DAMO_LUA_INTEGER(uint64_t, LUA_MININTEGER, LUA_MAXINTEGER)
DAMO_LUA_INTEGER(size_t, 0, LUA_MAXINTEGER)
DAMO_LUA_INTEGER(uint32_t, 0, UINT32_MAX)
DAMO_LUA_INTEGER(int32_t, INT32_MIN, INT32_MAX)
%typemap(in, numinputs=0) int64_t *OUT ($*1_ltype number = 0) "$1 = &number;"
%typemap(argout) int64_t *OUT "lua_pushinteger(L, (lua_Integer)*$1); SWIG_arg++;"
%apply int64_t *OUT { int64_t *key, int64_t *step, int64_t *update_time, int64_t *update_num };
%apply int64_t *OUT { uint64_t *rows, uint64_t *number, uint64_t *removed, uint64_t *imported };
%apply int64_t *OUT { uint64_t *refused, uint64_t *value, size_t *row_len, size_t *dim };
%apply int64_t *OUT { size_t *summed };
%apply int64_t *OUT { uint32_t *group };

#endif

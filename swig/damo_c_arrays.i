// A pointer and the length after it are one array of the language. Included by damo_c.i.
//
//     Python      anything with the buffer protocol and the right elements; filled in place
//     Java, C#    long[], float[], byte[], int[] or uint[]; Java's virtual machine may copy them
//     Go          []int64, []float32, []byte, []uint32, []uint64; filled in place
//     Ruby, Lua   Array, table of numbers; copied
//     others      a pointer and a length, as in C, with SWIG's functions for arrays
//
// An array that is not wanted is None, null, nil or an empty one.

// DAMO_IN and DAMO_INOUT are made per language, of the element's C type, its name in the language,
// what the language's own macros call it, and the name of the pointer.
%define DAMO_ARRAYS
DAMO_IN(int64_t, DAMO_LONG, keys)
DAMO_IN(int64_t, DAMO_LONG, update_nums)
DAMO_IN(uint64_t, DAMO_ULONG, ends)
DAMO_IN(uint32_t, DAMO_UINT, nums)
DAMO_IN(uint8_t, DAMO_BYTE, bytes)
DAMO_IN(float, DAMO_FLOAT, weights)
DAMO_IN(float, DAMO_FLOAT, gradients)
DAMO_IN(float, DAMO_FLOAT, rows)
DAMO_INOUT(int64_t, DAMO_LONG, keys)
DAMO_INOUT(uint8_t, DAMO_BYTE, admitted)
DAMO_INOUT(uint8_t, DAMO_BYTE, found)
DAMO_INOUT(float, DAMO_FLOAT, weights)
DAMO_INOUT(float, DAMO_FLOAT, row)
DAMO_INOUT(float, DAMO_FLOAT, data)
%enddef

#if defined(SWIGPYTHON)

%{
/* kinds are letters of the module struct. */
static int damo_c_take(PyObject *object, Py_buffer *view, const char *name, const char *kinds, size_t size, int writes) {
  const char *format;
  if (object == Py_None) {
    memset(view, 0, sizeof *view);
    return 0;
  }
  if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (writes ? PyBUF_WRITABLE : 0)) != 0) return -1;
  format = view->format == NULL ? "B" : view->format;
  if (*format == '@' || *format == '=') format++;
  if ((size_t)view->itemsize == size && *format != '\0' && format[1] == '\0' && strchr(kinds, *format) != NULL) return 0;
  PyErr_Format(PyExc_TypeError, "%s is an array of %zd-byte elements of format '%s'; %zu-byte elements of one of '%s' are needed",
               name, view->itemsize, view->format == NULL ? "B" : view->format, size, kinds);
  PyBuffer_Release(view);
  return -1;
}
#define DAMO_LONG "qlQL"
#define DAMO_ULONG "QLql"
#define DAMO_UINT "ILil"
#define DAMO_BYTE "Bb?c"
#define DAMO_FLOAT "f"
%}
%define DAMO_BUFFER(CTYPE, KIND, NAME, POINTER, WRITES)
%typemap(in) (POINTER NAME, size_t NAME ## _len) (Py_buffer view, Py_buffer *held = NULL) {
  if (damo_c_take($input, &view, #NAME, KIND, sizeof(CTYPE), WRITES) != 0) SWIG_fail;
  held = &view;
  $1 = (CTYPE *)view.buf;
  $2 = (size_t)view.len / sizeof(CTYPE);
}
%typemap(freearg) (POINTER NAME, size_t NAME ## _len) "if (held$argnum != NULL) PyBuffer_Release(held$argnum);"
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_BUFFER(CTYPE, KIND, NAME, const CTYPE *, 0)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_BUFFER(CTYPE, KIND, NAME, CTYPE *, 1)
%enddef
DAMO_ARRAYS

#elif defined(SWIGJAVA)

#define DAMO_LONG long, jlong, Long
#define DAMO_ULONG long, jlong, Long
#define DAMO_UINT int, jint, Int
#define DAMO_BYTE byte, jbyte, Byte
#define DAMO_FLOAT float, jfloat, Float
%define DAMO_JAVA(CTYPE, JAVA, JNI, CAPITAL, NAME, POINTER, MODE)
%typemap(jni) (POINTER NAME, size_t NAME ## _len) #JNI "Array"
%typemap(jtype) (POINTER NAME, size_t NAME ## _len) #JAVA "[]"
%typemap(jstype) (POINTER NAME, size_t NAME ## _len) #JAVA "[]"
%typemap(javain) (POINTER NAME, size_t NAME ## _len) "$javainput"
%typemap(in) (POINTER NAME, size_t NAME ## _len) {
  $1 = NULL;
  $2 = 0;
  if ($input) {
    $1 = (CTYPE *)JCALL2(Get ## CAPITAL ## ArrayElements, jenv, $input, NULL);
    if (!$1) return $null;
    $2 = (size_t)JCALL1(GetArrayLength, jenv, $input);
  }
}
%typemap(freearg) (POINTER NAME, size_t NAME ## _len) {
  if ($input) JCALL3(Release ## CAPITAL ## ArrayElements, jenv, $input, (JNI *)$1, MODE);
}
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_JAVA(CTYPE, KIND, NAME, const CTYPE *, JNI_ABORT)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_JAVA(CTYPE, KIND, NAME, CTYPE *, 0)
%enddef
DAMO_ARRAYS

#elif defined(SWIGCSHARP)

%{
/* What DamoArray pins. */
typedef struct {
  void *data;
  size_t len;
} damo_c_array;
%}
%pragma(csharp) imclasscode=%{
  /// An array that stays where it is for the time of a call, as its address and length.
  internal sealed class DamoArray : global::System.IDisposable {
    private global::System.Runtime.InteropServices.GCHandle array, pair;
    internal DamoArray(global::System.Array values) {
      var pinned = global::System.Runtime.InteropServices.GCHandleType.Pinned;
      var words = new long[2];
      pair = global::System.Runtime.InteropServices.GCHandle.Alloc(words, pinned);
      if (values != null && values.Length > 0) {
        array = global::System.Runtime.InteropServices.GCHandle.Alloc(values, pinned);
        words[0] = array.AddrOfPinnedObject().ToInt64();
        words[1] = values.Length;
      }
    }
    internal global::System.IntPtr Address { get { return pair.AddrOfPinnedObject(); } }
    public void Dispose() {
      if (array.IsAllocated) array.Free();
      if (pair.IsAllocated) pair.Free();
    }
  }
%}
#define DAMO_LONG long
#define DAMO_ULONG ulong
#define DAMO_UINT uint
#define DAMO_BYTE byte
#define DAMO_FLOAT float
%define DAMO_PINNED(CTYPE, KIND, NAME, POINTER)
%typemap(ctype) (POINTER NAME, size_t NAME ## _len) "damo_c_array *"
%typemap(imtype) (POINTER NAME, size_t NAME ## _len) "global::System.IntPtr"
%typemap(cstype) (POINTER NAME, size_t NAME ## _len) #KIND "[]"
%typemap(csin, pre="    var pinned_$csinput = new $imclassname.DamoArray($csinput);",
         post="      pinned_$csinput.Dispose();")
  (POINTER NAME, size_t NAME ## _len) "pinned_$csinput.Address"
%typemap(in) (POINTER NAME, size_t NAME ## _len) "$1 = (CTYPE *)$input->data; $2 = $input->len;"
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_PINNED(CTYPE, KIND, NAME, const CTYPE *)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_PINNED(CTYPE, KIND, NAME, CTYPE *)
%enddef
DAMO_ARRAYS

#elif defined(SWIGGO)

#define DAMO_LONG int64
#define DAMO_ULONG uint64
#define DAMO_UINT uint32
#define DAMO_BYTE byte
#define DAMO_FLOAT float32
%define DAMO_SLICE(CTYPE, KIND, NAME, POINTER)
%typemap(gotype) (POINTER NAME, size_t NAME ## _len) "[]" #KIND
%typemap(in) (POINTER NAME, size_t NAME ## _len) "$1 = (CTYPE *)$input.array; $2 = (size_t)$input.len;"
%typemap(argout) (POINTER NAME, size_t NAME ## _len) ""
%typemap(freearg) (POINTER NAME, size_t NAME ## _len) ""
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_SLICE(CTYPE, KIND, NAME, const CTYPE *)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_SLICE(CTYPE, KIND, NAME, CTYPE *)
%enddef
DAMO_ARRAYS

#elif defined(SWIGRUBY)

#define DAMO_LONG NUM2LL, LL2NUM
#define DAMO_ULONG NUM2ULL, ULL2NUM
#define DAMO_UINT NUM2UINT, UINT2NUM
#define DAMO_BYTE NUM2UINT, UINT2NUM
#define DAMO_FLOAT NUM2DBL, DBL2NUM
%define DAMO_COPIED(CTYPE, READ, NAME, POINTER)
%typemap(in) (POINTER NAME, size_t NAME ## _len) (VALUE memory) {
  $1 = NULL;
  $2 = 0;
  if (!NIL_P($input)) {
    size_t index;
    Check_Type($input, T_ARRAY);
    $2 = (size_t)RARRAY_LEN($input);
    $1 = ALLOCV_N(CTYPE, memory, $2);
    for (index = 0; index < $2; index++) $1[index] = (CTYPE)READ(rb_ary_entry($input, (long)index));
  }
}
%enddef
%define DAMO_RUBY_IN(CTYPE, READ, WRITE, NAME)
DAMO_COPIED(CTYPE, READ, NAME, const CTYPE *)
%enddef
%define DAMO_RUBY_INOUT(CTYPE, READ, WRITE, NAME)
DAMO_COPIED(CTYPE, READ, NAME, CTYPE *)
%typemap(argout) (CTYPE *NAME, size_t NAME ## _len) {
  size_t index;
  for (index = 0; index < $2; index++) rb_ary_store($input, (long)index, WRITE($1[index]));
}
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_RUBY_IN(CTYPE, KIND, NAME)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_RUBY_INOUT(CTYPE, KIND, NAME)
%enddef
DAMO_ARRAYS

#elif defined(SWIGLUA)

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
%apply int64_t *OUT { uint32_t *group };
#define DAMO_LONG damo_c_integer, LUA_MININTEGER, LUA_MAXINTEGER, lua_pushinteger, lua_Integer
#define DAMO_ULONG damo_c_integer, LUA_MININTEGER, LUA_MAXINTEGER, lua_pushinteger, lua_Integer
#define DAMO_UINT damo_c_integer, 0, UINT32_MAX, lua_pushinteger, lua_Integer
#define DAMO_BYTE damo_c_integer, 0, UINT8_MAX, lua_pushinteger, lua_Integer
#define DAMO_FLOAT damo_c_float, 0, 0, lua_pushnumber, lua_Number
%define DAMO_TABLE(CTYPE, READ, MIN, MAX, NAME, POINTER)
%typemap(in, checkfn="damo_c_is_array") (POINTER NAME, size_t NAME ## _len) {
  size_t index;
  $2 = lua_isnil(L, $input) ? 0 : lua_rawlen(L, $input);
  /* Lua's memory, so that an error does not lose it. */
  $1 = $2 == 0 ? NULL : (CTYPE *)lua_newuserdata(L, $2 * sizeof(CTYPE));
  for (index = 0; index < $2; index++) {
    lua_rawgeti(L, $input, (int)index + 1);
    $1[index] = (CTYPE)READ(L, -1, #NAME, (lua_Integer)index + 1, MIN, MAX);
    lua_pop(L, 1);
  }
}
%enddef
%define DAMO_LUA_IN(CTYPE, READ, MIN, MAX, WRITE, LUA, NAME)
DAMO_TABLE(CTYPE, READ, MIN, MAX, NAME, const CTYPE *)
%enddef
%define DAMO_LUA_INOUT(CTYPE, READ, MIN, MAX, WRITE, LUA, NAME)
DAMO_TABLE(CTYPE, READ, MIN, MAX, NAME, CTYPE *)
%typemap(argout) (CTYPE *NAME, size_t NAME ## _len) {
  size_t index;
  for (index = 0; index < $2; index++) {
    WRITE(L, (LUA)$1[index]);
    lua_rawseti(L, $input, (int)index + 1);
  }
}
%enddef
%define DAMO_IN(CTYPE, KIND, NAME)
DAMO_LUA_IN(CTYPE, KIND, NAME)
%enddef
%define DAMO_INOUT(CTYPE, KIND, NAME)
DAMO_LUA_INOUT(CTYPE, KIND, NAME)
%enddef
%{
#if LUA_VERSION_NUM < 503
#error "keys have 64 bits: Lua 5.3 or later is needed"
#endif
#define damo_c_is_array(L, index) (lua_istable(L, index) || lua_isnil(L, index))
#define damo_c_is_number(L, index) (lua_type(L, index) == LUA_TNUMBER)

/* The integer at index, which is name[place]; a float with a fraction, and what does not fit, is an error. */
static lua_Integer damo_c_integer(lua_State *L, int index, const char *name, lua_Integer place, lua_Integer min,
                                  lua_Integer max) {
  int is_integer = 0;
  const lua_Integer number = damo_c_is_number(L, index) ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer || number < min || number > max) {
    const char *type = luaL_typename(L, index), *value = luaL_tolstring(L, index, NULL);
    /* Not luaL_error, which puts the line before the status. */
    lua_pushfstring(L, "INVALID_ARGUMENT: %s[%I] is a %s, %s; an integer from %I to %I is needed", name,
                    (LUAI_UACINT)place, type, value, (LUAI_UACINT)min, (LUAI_UACINT)max);
    lua_error(L);
  }
  return number;
}

static lua_Number damo_c_float(lua_State *L, int index, const char *name, lua_Integer place, lua_Integer min,
                               lua_Integer max) {
  (void)min, (void)max;
  if (!damo_c_is_number(L, index)) {
    lua_pushfstring(L, "INVALID_ARGUMENT: %s[%I] is a %s; a number is needed", name, (LUAI_UACINT)place,
                    luaL_typename(L, index));
    lua_error(L);
  }
  return lua_tonumber(L, index);
}
%}
DAMO_ARRAYS

#else

%include <carrays.i>
%array_functions(long long, damo_c_longs)
%array_functions(float, damo_c_floats)
%array_functions(unsigned int, damo_c_uints)
%array_functions(unsigned char, damo_c_bytes)
%apply long long * { int64_t *keys, const int64_t *keys, const int64_t *update_nums };
%apply unsigned int * { const uint32_t *nums };
%apply unsigned char * { const uint8_t *bytes, uint8_t *admitted, uint8_t *found };

#endif

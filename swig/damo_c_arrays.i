// A pointer and the length after it are one array of the language. Included by damo_c.i.
//
//     Python      anything with the buffer protocol and the right elements; filled in place
//     Java, C#    long[], float[], byte[], int[] or uint[]; Java's virtual machine may copy them
//     Go          []int64, []float32, []byte, []uint32, []uint64; filled in place
//     Ruby, Lua   Array, table of numbers; copied
//     others      a pointer and a length, as in C, with SWIG's functions for arrays
//
// An array that is not wanted is None, null, nil or an empty one.

// DAMO_IN and DAMO_INOUT are defined for each language. Their arguments are the element's C type,
// its name in the language, what the language's own macros call it, and the name of the pointer.
%define DAMO_ARRAYS
DAMO_IN(int64_t, DAMO_LONG, keys)
DAMO_IN(int64_t, DAMO_LONG, update_nums)
DAMO_IN(uint64_t, DAMO_ULONG, ends)
DAMO_IN(uint32_t, DAMO_UINT, nums)
DAMO_IN(uint32_t, DAMO_UINT, positions)
DAMO_IN(uint32_t, DAMO_UINT, occurrences)
DAMO_IN(uint8_t, DAMO_BYTE, bytes)
DAMO_IN(float, DAMO_FLOAT, weights)
DAMO_IN(float, DAMO_FLOAT, gradients)
DAMO_IN(float, DAMO_FLOAT, rows)
DAMO_INOUT(int64_t, DAMO_LONG, keys)
DAMO_INOUT(int64_t, DAMO_LONG, summed_keys)
DAMO_INOUT(int64_t, DAMO_LONG, distinct_keys)
DAMO_INOUT(uint64_t, DAMO_ULONG, starts)
DAMO_INOUT(uint32_t, DAMO_UINT, owners)
DAMO_INOUT(uint32_t, DAMO_UINT, positions)
DAMO_INOUT(uint32_t, DAMO_UINT, occurrences)
DAMO_INOUT(uint8_t, DAMO_BYTE, admitted)
DAMO_INOUT(uint8_t, DAMO_BYTE, found)
DAMO_INOUT(float, DAMO_FLOAT, weights)
DAMO_INOUT(float, DAMO_FLOAT, row)
DAMO_INOUT(float, DAMO_FLOAT, data)
DAMO_INOUT(float, DAMO_FLOAT, sums)
DAMO_INOUT(float, DAMO_FLOAT, outputs)
%enddef

#if defined(SWIGPYTHON)

%{
/* kinds are letters of the module struct. */
static int damo_c_take(PyObject *object, Py_buffer *view, const char *name, const char *kinds,
                       size_t size, int writes) {
  const char *format;
  if (object == Py_None) {
    memset(view, 0, sizeof *view);
    return 0;
  }
  if (PyObject_GetBuffer(object, view,
                         PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (writes ? PyBUF_WRITABLE : 0)) != 0) {
    return -1;
  }
  format = view->format == NULL ? "B" : view->format;
  if (*format == '@' || *format == '=') format++;
  if ((size_t)view->itemsize == size && *format != '\0' && format[1] == '\0' &&
      strchr(kinds, *format) != NULL) {
    return 0;
  }
  PyErr_Format(PyExc_TypeError,
               "%s is an array of %zd-byte elements of format '%s'; %zu-byte elements of one of "
               "'%s' are needed",
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
%typemap(freearg) (POINTER NAME, size_t NAME ## _len)
  "if (held$argnum != NULL) PyBuffer_Release(held$argnum);"
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
%typemap(in) (POINTER NAME, size_t NAME ## _len)
  "$1 = (CTYPE *)$input.array; $2 = (size_t)$input.len;"
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

#elif defined(SWIGRUBY) || defined(SWIGLUA)

%include "damo_c_copied.i"

#else

%include <carrays.i>
%array_functions(long long, damo_c_longs)
%array_functions(float, damo_c_floats)
%array_functions(unsigned int, damo_c_uints)
%array_functions(unsigned char, damo_c_bytes)
%apply long long * {
  int64_t *keys, const int64_t *keys, const int64_t *update_nums, int64_t *distinct_keys
};
%apply unsigned int * {
  const uint32_t *nums, uint32_t *owners, uint32_t *positions, const uint32_t *positions,
  uint32_t *occurrences, const uint32_t *occurrences
};
%apply unsigned char * { const uint8_t *bytes, uint8_t *admitted, uint8_t *found };

#endif

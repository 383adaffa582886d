// Texts are UTF-8. In C a text ends at its first NUL, so a text with a NUL inside is refused.
// Included by damo_c.i.

#if defined(SWIGPYTHON)

%{
/* Writes the text of a str, which lives as long as the str does; returns -1 if the object is
   none. */
static int damo_c_text(PyObject *object, const char *name, const char **text) {
  Py_ssize_t len = 0;
  *text = NULL;
  if (object == Py_None) return 0;
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s is a %s; a str is needed", name, Py_TYPE(object)->tp_name);
    return -1;
  }
  *text = PyUnicode_AsUTF8AndSize(object, &len);
  if (*text == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) return -1;
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError,
                 "INVALID_ARGUMENT: %s is %A, which has no UTF-8; a str that has one is needed",
                 name, object);
    return -1;
  }
  if (strlen(*text) == (size_t)len) return 0;
  PyErr_Format(PyExc_ValueError,
               "INVALID_ARGUMENT: %s has a NUL at byte %zu; a str without one is needed", name,
               strlen(*text));
  return -1;
}
%}
%typemap(in) const char * (const char *text) {
  if (damo_c_text($input, "$1_name", &text) != 0) SWIG_fail;
  $1 = ($1_ltype)text;
}
%typemap(freearg) const char * ""

#elif defined(SWIGJAVA)

// JNI's own texts have another encoding: surrogates apart, NUL in two bytes.
%pragma(java) jniclasscode=%{
  static byte[] text(String name, String text) {
    if (text == null) return null;
    int place = text.indexOf('\0');
    if (place >= 0) {
      throw new IllegalArgumentException(
        "INVALID_ARGUMENT: " + name + " has a NUL at character " + place
          + "; a text without one is needed");
    }
    try {
      java.nio.CharBuffer all = java.nio.CharBuffer.wrap(text + '\0');
      java.nio.ByteBuffer bytes = java.nio.charset.StandardCharsets.UTF_8.newEncoder().encode(all);
      return java.util.Arrays.copyOf(bytes.array(), bytes.limit());
    } catch (java.nio.charset.CharacterCodingException error) {
      throw new IllegalArgumentException(
        "INVALID_ARGUMENT: " + name + " has half of a surrogate pair; a text without one is needed",
        error);
    }
  }
  static String text(byte[] bytes) {
    return bytes == null ? null : new String(bytes, java.nio.charset.StandardCharsets.UTF_8);
  }
%}
%typemap(jni) const char *, char * "jbyteArray"
%typemap(jtype) const char *, char * "byte[]"
%typemap(javain) const char * "$imclassname.text(\"$1_name\", $javainput)"
%typemap(in) const char * {
  $1 = $input ? ($1_ltype)JCALL2(GetByteArrayElements, jenv, $input, NULL) : NULL;
  if ($input && !$1) return $null;
}
%typemap(freearg) const char * {
  if ($1) JCALL3(ReleaseByteArrayElements, jenv, $input, (jbyte *)$1, JNI_ABORT);
}
%typemap(out) const char *, char * "$result = $1 ? damo_c_bytes(jenv, $1) : NULL;"
%typemap(javaout) const char *, char * {
    return $imclassname.text($jnicall);
  }

#elif defined(SWIGCSHARP)

// As bytes, which are UTF-8 on every platform.
%pragma(csharp) imclasscode=%{
  internal static byte[] DamoText(string name, string text) {
    if (text == null) return null;
    int place = text.IndexOf('\0');
    if (place >= 0) {
      throw new global::System.ArgumentException(
        "INVALID_ARGUMENT: " + name + " has a NUL at character " + place
          + "; a text without one is needed");
    }
    try {
      return new global::System.Text.UTF8Encoding(false, true).GetBytes(text + "\0");
    } catch (global::System.Text.EncoderFallbackException error) {
      throw new global::System.ArgumentException(
        "INVALID_ARGUMENT: " + name + " has half of a surrogate pair; a text without one is needed",
        error);
    }
  }
%}
%typemap(imtype, out="string") const char * "byte[]"
%typemap(csin) const char * "$imclassname.DamoText(\"$1_name\", $csinput)"

#elif defined(SWIGGO)

// Go's own memory: what is allocated in C would be lost when the call panics.
%insert(go_wrapper) %{
func damo_c_text(name, text string) string {
	for place := 0; place < len(text); place++ {
		if text[place] == 0 {
			panic("INVALID_ARGUMENT: " + name + " has a NUL inside; a text without one is needed")
		}
	}
	return text + "\x00"
}
%}
%typemap(goin) const char * "$result = damo_c_text(\"$1_name\", $input)"
%typemap(in) const char * "$1 = ($1_ltype)$input.p;"
%typemap(freearg) const char * ""

#elif defined(SWIGRUBY)

%{
/* Returns the text of a String, which lives as long as the String does. */
static const char *damo_c_text(VALUE *string, const char *name) {
  const char *nul;
  if (NIL_P(*string)) return NULL;
  if (!RB_TYPE_P(*string, T_STRING)) {
    rb_raise(rb_eTypeError, "%s is a %s; a String is needed", name, rb_obj_classname(*string));
  }
  nul = (const char *)memchr(RSTRING_PTR(*string), '\0', (size_t)RSTRING_LEN(*string));
  if (nul != NULL) {
    rb_raise(rb_eArgError,
             "INVALID_ARGUMENT: %s has a NUL at byte %ld; a String without one is needed", name,
             (long)(nul - RSTRING_PTR(*string)));
  }
  /* This has a NUL after the last byte. */
  return StringValueCStr(*string);
}
%}
%typemap(in) const char * "$1 = ($1_ltype)damo_c_text(&$input, \"$1_name\");"
%typemap(freearg) const char * ""
%typemap(out) const char *, char * "$result = $1 == NULL ? Qnil : rb_utf8_str_new_cstr($1);"

#elif defined(SWIGLUA)

%{
static const char *damo_c_text(lua_State *L, int index, const char *name) {
  size_t len = 0;
  const char *text = lua_tolstring(L, index, &len);
  if (text != NULL && strlen(text) != len) {
    lua_pushfstring(L, "INVALID_ARGUMENT: %s has a NUL at byte %I; a string without one is needed",
                    name, (LUAI_UACINT)strlen(text));
    lua_error(L);
  }
  return text;
}
%}
%typemap(in, checkfn="SWIG_lua_isnilstring") const char *
  "$1 = ($1_ltype)damo_c_text(L, $input, \"$1_name\");"

#elif defined(SWIGPERL)

%typemap(in, fragment="SWIG_AsCharPtrAndSize")
  const char * (char *text = NULL, size_t size = 0, int alloc = 0) {
  const int res = SWIG_AsCharPtrAndSize($input, &text, &size, &alloc);
  if (!SWIG_IsOK(res)) SWIG_exception_fail(SWIG_ArgError(res), "$1_name is no string");
  if (text != NULL && strlen(text) + 1 < size) {
    SWIG_exception_fail(SWIG_ValueError,
      "INVALID_ARGUMENT: $1_name has a NUL inside; a string without one is needed");
  }
  $1 = ($1_ltype)text;
}
%typemap(freearg) const char * "if (alloc$argnum == SWIG_NEWOBJ) free(text$argnum);"

#endif

// A failed call is an exception of the language, in Go a panic. Its message begins with the status.
// Included by damo_c.i.

%include <exception.i>

%{
#ifdef __cplusplus
#define DAMO_C_THREAD_LOCAL thread_local
#else
#define DAMO_C_THREAD_LOCAL _Thread_local
#endif

/* For languages in which SWIG's wrappers have no kinds of exceptions. */
#ifndef SWIG_ValueError
#define SWIG_IOError -2
#define SWIG_RuntimeError -3
#define SWIG_ValueError -9
#define SWIG_MemoryError -12
#endif

/* What the wrapper itself objects to in an argument; "" for nothing. */
static DAMO_C_THREAD_LOCAL char damo_c_refused[256];

static void damo_c_begin(void) {
  damo_last_error_clear();
  damo_c_refused[0] = '\0';
}

static bool damo_c_failed(void) {
  return damo_c_refused[0] != '\0' || damo_last_error_code() != DAMO_STATUS_OK;
}

/* Ends the text at the end of a character if it was cut off: half of one is no UTF-8. */
static void damo_c_end_whole(char *text) {
  size_t end = strlen(text), start = end, bytes;
  while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) start--;
  if (start == 0) return;
  const unsigned char first = (unsigned char)text[--start];
  bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (end - start < bytes) text[start] = '\0';
}

/* Returns the message, which lives until the thread's next failure. */
static const char *damo_c_message(void) {
  static DAMO_C_THREAD_LOCAL char message[4096];
  if (damo_c_refused[0] != '\0') {
    snprintf(message, sizeof message, "INVALID_ARGUMENT: %s", damo_c_refused);
  } else {
    snprintf(message, sizeof message, "%s: %s", damo_status_name(damo_last_error_code()),
             damo_last_error_message());
  }
  damo_c_end_whole(message);
  return message;
}

/* Returns SWIG's kind of exception for the failure. */
static int damo_c_kind(void) {
  if (damo_c_refused[0] != '\0') return SWIG_ValueError;
  switch (damo_last_error_code()) {
    case DAMO_STATUS_INVALID_ARGUMENT:
      return SWIG_ValueError;
    case DAMO_STATUS_IO:
    case DAMO_STATUS_CORRUPTION:
    case DAMO_STATUS_BUSY:
      return SWIG_IOError;
    case DAMO_STATUS_OUT_OF_MEMORY:
      return SWIG_MemoryError;
    default:
      return SWIG_RuntimeError;
  }
}
%}

// All in one native call, so that the thread of the next one does not matter.
#if defined(SWIGJAVA)
// A checked exception would have to be declared by every function. ThrowNew, which SWIG uses, does
// not take UTF-8.
%pragma(java) jniclasscode=%{
  private static void fail(boolean io, boolean argument, boolean memory, byte[] message) {
    String text = text(message);
    if (io) throw new java.io.UncheckedIOException(text, new java.io.IOException(text));
    if (argument) throw new IllegalArgumentException(text);
    if (memory) throw new OutOfMemoryError(text);
    throw new RuntimeException(text);
  }
%}
%insert("header") {
static jbyteArray damo_c_bytes(JNIEnv *jenv, const char *text) {
  const jsize len = (jsize)strlen(text);
  jbyteArray bytes = JCALL1(NewByteArray, jenv, len);
  if (bytes != NULL) JCALL4(SetByteArrayRegion, jenv, bytes, 0, len, (const jbyte *)text);
  return bytes;
}

static void damo_c_fail(JNIEnv *jenv, jclass jcls, int kind, const char *message) {
  const jmethodID fail = JCALL3(GetStaticMethodID, jenv, jcls, "fail", "(ZZZ[B)V");
  jbyteArray bytes = fail == NULL ? NULL : damo_c_bytes(jenv, message);
  if (bytes == NULL) return; /* Java has an error of its own. */
  JCALL6(CallStaticVoidMethod, jenv, jcls, fail, (jboolean)(kind == SWIG_IOError),
         (jboolean)(kind == SWIG_ValueError), (jboolean)(kind == SWIG_MemoryError), bytes);
}
}
#define DAMO_RAISE damo_c_fail(jenv, jcls, damo_c_kind(), damo_c_message())
#elif defined(SWIGCSHARP)
#define DAMO_RAISE SWIG_CSharpException(damo_c_kind(), damo_c_message())
#elif defined(SWIGRUBY)
// SWIG_exception would make bytes of the message.
#define DAMO_RAISE \
  rb_exc_raise(rb_exc_new_str(SWIG_Ruby_ErrorType(damo_c_kind()), \
                              rb_utf8_str_new_cstr(damo_c_message())))
#elif defined(SWIGLUA)
// SWIG_exception would put its own argument before the message.
#define DAMO_RAISE lua_pushstring(L, damo_c_message()); SWIG_fail
#else
#define DAMO_RAISE SWIG_exception(damo_c_kind(), damo_c_message())
#endif
%exception {
  damo_c_begin();
  $action
  // In Java and C# it is raised when the wrapper has returned, which gives arrays back first.
  if (damo_c_failed()) {
    DAMO_RAISE;
  }
}

// Failures are exceptions, so a returned status tells nothing. In Java and Go it still exists, and
// is always OK.
#if defined(SWIGPYTHON)
%typemap(out) damo_status "(void)$1; $result = SWIG_Py_Void();"
#elif defined(SWIGRUBY)
%typemap(out) damo_status "(void)$1; $result = Qnil;"
#elif defined(SWIGLUA)
%typemap(out) damo_status "(void)$1;"
#elif defined(SWIGCSHARP)
%typemap(ctype) damo_status "void"
%typemap(imtype) damo_status "void"
%typemap(cstype) damo_status "void"
%typemap(csout, excode=SWIGEXCODE) damo_status { $imcall;$excode }
%typemap(out) damo_status "(void)$1;"
#endif

// These ask for failures, and do not fail. The code is a number here, since the status of a call is
// not returned.
%ignore damo_last_error_code;
%ignore damo_last_error_clear;
%ignore damo_failure_code;
%ignore damo_failure_message;
%rename(damo_last_error_code) damo_c_last_error_code;
%noexception damo_c_last_error_code;
%noexception damo_last_error_message;
%inline %{
/* Returns the status of the last call that failed on this thread; valid only right after it. */
int damo_c_last_error_code(void) { return damo_last_error_code(); }
%}


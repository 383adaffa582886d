// A failed call is an exception of the language, in Go a panic, whose message begins with the status.
// Included by damo_c.i.

%include <exception.i>

%{
#ifdef __cplusplus
#define DAMO_C_THREAD_LOCAL thread_local
#else
#define DAMO_C_THREAD_LOCAL _Thread_local
#endif

/* Where SWIG's wrappers have no kinds. */
#ifndef SWIG_ValueError
#define SWIG_IOError -2
#define SWIG_RuntimeError -3
#define SWIG_ValueError -9
#define SWIG_MemoryError -12
#endif

/* What the wrapper itself has to say against an argument; "" when nothing. */
static DAMO_C_THREAD_LOCAL char damo_c_refused[256];

static void damo_c_begin(void) {
  damo_last_error_clear();
  damo_c_refused[0] = '\0';
}

static bool damo_c_failed(void) {
  return damo_c_refused[0] != '\0' || damo_last_error_code() != DAMO_STATUS_OK;
}

/* There until the next failure of this thread. */
static const char *damo_c_message(void) {
  static DAMO_C_THREAD_LOCAL char message[4096];
  if (damo_c_refused[0] != '\0') {
    snprintf(message, sizeof message, "INVALID_ARGUMENT: %s", damo_c_refused);
  } else {
    snprintf(message, sizeof message, "%s: %s", damo_status_name(damo_last_error_code()), damo_last_error_message());
  }
  return message;
}

/* SWIG's kind of exception for a failure. */
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

// All in one native call, so that it does not matter on which thread the next one runs.
#if defined(SWIGJAVA)
#define DAMO_RAISE SWIG_JavaException(jenv, damo_c_kind(), damo_c_message())
#elif defined(SWIGCSHARP)
#define DAMO_RAISE SWIG_CSharpException(damo_c_kind(), damo_c_message())
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

// Failures are exceptions, so a status that comes back says nothing. In Java and Go it is still
// there, and is always OK.
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

// They ask for failures, and do not fail. As a number, since the status of a call is none here.
%ignore damo_last_error_code;
%ignore damo_last_error_clear;
%ignore damo_failure_code;
%ignore damo_failure_message;
%rename(damo_last_error_code) damo_c_last_error_code;
%noexception damo_c_last_error_code;
%noexception damo_last_error_message;
%inline %{
/* The status of the last call that failed on this thread; only right after it. */
int damo_c_last_error_code(void) { return damo_last_error_code(); }
%}

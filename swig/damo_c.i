// damo for every language that SWIG knows, over damo.h alone:
//
//     swig -LANGUAGE -I<folder of damo.h> damo_c.i          # writes damo_c_wrap.c, for a C compiler
//
// The functions are those of damo.h, under its names. What differs:
//
// - A status that is not OK, and NULL from a _new function, are exceptions of the language (in Go a
//   panic). Their message begins with the status: "BUSY: damo_storage_new: ...".
// - A pointer and its length are one argument, an array of the language: damo_c_arrays.i. Keys are
//   64-bit integers everywhere.
// - A number that is written through a pointer comes back as SWIG's OUTPUT does it: as the result,
//   or in an array of one element in Java, by out in C#.
// - Handles are objects. The language frees them, or damo_..._free does, or delete() in Java,
//   Dispose() in C#. None, null, nil or NULL stand for a handle that is not wanted.
//
// README.md beside this file has an example a language. Needs SWIG 4.0 or later.

%module(threads="1") damo_c

%{
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "damo.h"
%}

// ---- numbers ------------------------------------------------------------------------------------

// Not stdint.i: what it calls a long is 32 bits in Java and C#, and another pointer in C++.
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
%apply bool *OUTPUT { bool *found, bool *admitted };
%apply double *OUTPUT { double *rate, double *learning_rate };
%apply unsigned int *OUTPUT { uint32_t *group };
%apply long long *OUTPUT { int64_t *key, int64_t *step, int64_t *update_time, int64_t *update_num };
#ifdef SWIGJAVA
%apply long long *OUTPUT {
#else
%apply unsigned long long *OUTPUT {
#endif
  uint64_t *rows, uint64_t *number, uint64_t *removed, uint64_t *imported, uint64_t *refused, uint64_t *value,
  size_t *row_len, size_t *dim
};

// A literal beyond an int is none in every language.
%ignore DAMO_GROUP_BY_NAME;
%ignore DAMO_ALL_GROUPS;
%rename(DAMO_GROUP_BY_NAME) damo_c_group_by_name;
%rename(DAMO_ALL_GROUPS) damo_c_all_groups;
%constant long long damo_c_group_by_name = 4294967294LL;
%constant long long damo_c_all_groups = 4294967295LL;

// ---- errors -------------------------------------------------------------------------------------

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

// ---- handles ------------------------------------------------------------------------------------

#if defined(SWIGJAVA) || defined(SWIGCSHARP)
#define DAMO_FREE %ignore
#else
#define DAMO_FREE %delobject
#endif
%define DAMO_HANDLE(NAME)
%nodefaultctor NAME;
typedef struct NAME {} NAME;
%extend NAME {
  ~NAME() { NAME ## _free($self); }
}
%noexception NAME::~NAME;
DAMO_FREE NAME ## _free;
%newobject NAME ## _new;
%enddef

#ifdef SWIGRUBY
// Its classes begin with a capital letter.
%rename(Damo_params) damo_params;
%rename(Damo_initializer) damo_initializer;
%rename(Damo_scheduler) damo_scheduler;
%rename(Damo_optimizer) damo_optimizer;
%rename(Damo_filter) damo_filter;
%rename(Damo_storage) damo_storage;
%rename(Damo_embedding) damo_embedding;
%rename(Damo_iterator) damo_iterator;
%rename(Damo_table) damo_table;
#endif
DAMO_HANDLE(damo_params)
DAMO_HANDLE(damo_initializer)
DAMO_HANDLE(damo_scheduler)
DAMO_HANDLE(damo_optimizer)
DAMO_HANDLE(damo_filter)
DAMO_HANDLE(damo_storage)
DAMO_HANDLE(damo_embedding)
DAMO_HANDLE(damo_iterator)
DAMO_HANDLE(damo_table)
%newobject damo_table_open;

// ---- arrays and texts ---------------------------------------------------------------------------

%include "damo_c_arrays.i"
%include "damo_c_calls.i"

%include "damo.h"

// damo for every language that SWIG knows, over damo.h alone:
//
//     swig -LANGUAGE -I<folder of damo.h> damo_c.i     # writes damo_c_wrap.c, for a C compiler
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

// ---- errors, numbers, texts, arrays -------------------------------------------------------------

%include "damo_c_errors.i"
%include "damo_c_numbers.i"
%include "damo_c_texts.i"
%include "damo_c_arrays.i"

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

// ---- the functions ------------------------------------------------------------------------------

%include "damo_c_calls.i"
%include "damo.h"

// Arrays of Ruby and Lua, whose elements are objects. They are copied, and each element is checked.
// Included by damo_c_arrays.i.

#if defined(SWIGRUBY)

#define DAMO_LONG damo_c_integer, INT64_MIN, INT64_MAX, LL2NUM
#define DAMO_ULONG damo_c_integer, 0, UINT64_MAX, ULL2NUM
#define DAMO_UINT damo_c_integer, 0, UINT32_MAX, UINT2NUM
#define DAMO_BYTE damo_c_integer, 0, UINT8_MAX, UINT2NUM
#define DAMO_FLOAT damo_c_float, 0, 0, DBL2NUM
%{
/* Returns the number of an Array's elements; raises first if it could not be written into. */
static size_t damo_c_array_len(VALUE array, const char *name, bool writes) {
  if (!RB_TYPE_P(array, T_ARRAY)) {
    rb_raise(rb_eTypeError, "%s is a %s; an Array is needed", name, rb_obj_classname(array));
  }
  if (writes && RB_OBJ_FROZEN(array)) {
    rb_raise(rb_eFrozenError, "%s is frozen, and would be written", name);
  }
  return (size_t)RARRAY_LEN(array);
}
%}
%define DAMO_COPIED(CTYPE, READ, MIN, MAX, NAME, POINTER, WRITES)
%typemap(in) (POINTER NAME, size_t NAME ## _len) (VALUE memory) {
  $1 = NULL;
  $2 = 0;
  if (!NIL_P($input)) {
    size_t index;
    $2 = damo_c_array_len($input, #NAME, WRITES);
    $1 = ALLOCV_N(CTYPE, memory, $2);
    for (index = 0; index < $2; index++) {
      $1[index] = (CTYPE)READ(rb_ary_entry($input, (long)index), #NAME, (long)index, MIN, MAX);
    }
  }
}
%enddef
%define DAMO_RUBY_IN(CTYPE, READ, MIN, MAX, WRITE, NAME)
DAMO_COPIED(CTYPE, READ, MIN, MAX, NAME, const CTYPE *, false)
%enddef
%define DAMO_RUBY_INOUT(CTYPE, READ, MIN, MAX, WRITE, NAME)
DAMO_COPIED(CTYPE, READ, MIN, MAX, NAME, CTYPE *, true)
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

#define DAMO_LONG damo_c_integer, LUA_MININTEGER, LUA_MAXINTEGER, lua_pushinteger, lua_Integer
#define DAMO_ULONG damo_c_integer, LUA_MININTEGER, LUA_MAXINTEGER, lua_pushinteger, lua_Integer
#define DAMO_UINT damo_c_integer, 0, UINT32_MAX, lua_pushinteger, lua_Integer
#define DAMO_BYTE damo_c_integer, 0, UINT8_MAX, lua_pushinteger, lua_Integer
#define DAMO_FLOAT damo_c_float, 0, 0, lua_pushnumber, lua_Number
%{
#define damo_c_is_array(L, index) (lua_istable(L, index) || lua_isnil(L, index))
%}
%define DAMO_TABLE(CTYPE, READ, MIN, MAX, NAME, POINTER)
%typemap(in, checkfn="damo_c_is_array") (POINTER NAME, size_t NAME ## _len) {
  size_t index;
  $2 = lua_isnil(L, $input) ? 0 : lua_rawlen(L, $input);
  /* Lua's own memory, so that an error does not leak it. */
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
DAMO_ARRAYS

#endif

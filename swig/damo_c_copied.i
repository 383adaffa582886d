// Arrays of Ruby and Lua, whose elements are objects: they are copied. Included by damo_c_arrays.i.

#if defined(SWIGRUBY)

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

#endif

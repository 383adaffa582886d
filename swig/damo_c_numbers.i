// Numbers: keys have 64 bits everywhere. Included by damo_c.i.

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

//! Has the page cache keep the rows that damo writes.
//!
//! RocksDB's SstFileWriter tells the system to drop what it has written, after each megabyte and at
//! the end (`invalidate_page_cache`). But these are the rows that were used last, and in training
//! many are soon read again. Neither RocksDB's interface in C nor the crate has the parameter. So
//! the linker puts this in the place of the constructor (build.rs).

// The constructor of whole objects, and that of parts of objects. They are the same; which of them
// is called depends on the compiler.
#define WHOLE "_ZN7rocksdb13SstFileWriterC1" PARAMETERS
#define PART "_ZN7rocksdb13SstFileWriterC2" PARAMETERS
#define PARAMETERS                                                        \
  "ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_10ComparatorEPNS_"               \
  "18ColumnFamilyHandleEbNS_3Env10IOPriorityE"

// The parameters are as the ABI passes them: a reference is a pointer, and the priority an int.
#define CONSTRUCTOR(name)                                                              \
  void name(void *writer, const void *env_options, const void *options,                \
            const void *comparator, void *column_family, bool invalidate_page_cache,   \
            int io_priority)

CONSTRUCTOR(make_whole) __asm__("__real_" WHOLE);
CONSTRUCTOR(make_part) __asm__("__real_" PART);
CONSTRUCTOR(make_whole_keeping) __asm__("__wrap_" WHOLE);
CONSTRUCTOR(make_part_keeping) __asm__("__wrap_" PART);

void make_whole_keeping(void *writer, const void *env_options, const void *options,
                        const void *comparator, void *column_family, bool, int io_priority) {
  make_whole(writer, env_options, options, comparator, column_family, false, io_priority);
}

void make_part_keeping(void *writer, const void *env_options, const void *options,
                       const void *comparator, void *column_family, bool, int io_priority) {
  make_part(writer, env_options, options, comparator, column_family, false, io_priority);
}

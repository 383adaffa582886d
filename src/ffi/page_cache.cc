//! Has the page cache keep the rows that damo writes.
//!
//! RocksDB's SstFileWriter tells the system to drop what it has written, after each megabyte and at
//! the end (`invalidate_page_cache`). But these are the rows that were used last, and in training
//! many are soon read again. Neither RocksDB's interface in C nor the crate has the parameter. So
//! the linker puts this in the place of the constructor (build.rs).

#define CONSTRUCTOR                                                         \
  "_ZN7rocksdb13SstFileWriterC1ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_"      \
  "10ComparatorEPNS_18ColumnFamilyHandleEbNS_3Env10IOPriorityE"

// The parameters are as the ABI passes them: a reference is a pointer, and the priority an int.
void construct(void *writer, const void *env_options, const void *options, const void *comparator,
               void *column_family, bool invalidate_page_cache,
               int io_priority) __asm__("__real_" CONSTRUCTOR);
void construct_keeping(void *writer, const void *env_options, const void *options,
                       const void *comparator, void *column_family, bool invalidate_page_cache,
                       int io_priority) __asm__("__wrap_" CONSTRUCTOR);

void construct_keeping(void *writer, const void *env_options, const void *options,
                       const void *comparator, void *column_family, bool, int io_priority) {
  construct(writer, env_options, options, comparator, column_family, false, io_priority);
}

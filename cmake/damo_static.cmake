# The target damo::static, for the build tree and for an installed package.

# Adds damo::static, the static library, with what it is linked with.
function(damo_add_static library include_dir)
  if(TARGET damo::static)
    return()
  endif()
  set(libraries pthread ${CMAKE_DL_LIBS} m)
  set(options "")
  if(APPLE)
    list(APPEND libraries c++ "-framework CoreFoundation" "-framework Security")
  else()
    # A program in C needs it, too.
    list(APPEND libraries stdc++)
    # Calls that are tried again when the system is short of something, merges that do without
    # threads, and files that stay in the page cache: src/ffi/memory_maps.rs, start_thread.cc and
    # page_cache.cc.
    set(replaced
      mmap
      _ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE
      _ZNSt6thread4joinEv
      _ZN7rocksdb13CompactionJob3RunEv
      "_ZN7rocksdb13SstFileWriterC1ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_10ComparatorEPNS_\
18ColumnFamilyHandleEbNS_3Env10IOPriorityE"
      "_ZN7rocksdb13SstFileWriterC2ERKNS_10EnvOptionsERKNS_7OptionsEPKNS_10ComparatorEPNS_\
18ColumnFamilyHandleEbNS_3Env10IOPriorityE")
    list(TRANSFORM replaced PREPEND LINKER:--wrap= OUTPUT_VARIABLE options)
  endif()
  add_library(damo::static STATIC IMPORTED GLOBAL)
  set_target_properties(damo::static PROPERTIES
    IMPORTED_LOCATION "${library}"
    INTERFACE_INCLUDE_DIRECTORIES "${include_dir}"
    INTERFACE_COMPILE_FEATURES cxx_std_17
    INTERFACE_LINK_OPTIONS "${options}"
    INTERFACE_LINK_LIBRARIES "${libraries}")
endfunction()

# Says that BUILD_SHARED_LIBS=OFF leaves damo::damo shared. The variable is usually set for a
# project's own libraries. A static damo::damo would put a second RocksDB into programs that have
# one, and the linker mixes the two silently.
function(damo_say_shared)
  if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
    message(NOTICE "damo: BUILD_SHARED_LIBS is OFF, and damo::damo is the shared library all the "
      "same. Link damo::static instead where nothing else in the program has RocksDB, zstd, lz4 or "
      "another Rust library.")
  endif()
endfunction()

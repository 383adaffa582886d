# Makes cargo compile this checkout, and not trust what another one left. In a target directory that
# checkouts share, cargo tells their packages apart by the files' age alone. Everything else in it
# stays shared, RocksDB above all.
#
#   cmake -DTARGET_DIR=... -DCHECKOUT=... -P claim_target_dir.cmake
file(REAL_PATH "${CHECKOUT}" CHECKOUT)
set(stamp "${TARGET_DIR}/.damo-checkout")
set(claimed "")
if(EXISTS "${stamp}")
  file(READ "${stamp}" claimed)
endif()
if(NOT claimed STREQUAL CHECKOUT)
  file(GLOB fingerprints "${TARGET_DIR}/*/.fingerprint/damo-*")
  if(fingerprints)
    file(REMOVE_RECURSE ${fingerprints})
  endif()
  file(MAKE_DIRECTORY "${TARGET_DIR}")
  file(WRITE "${stamp}" "${CHECKOUT}")
endif()

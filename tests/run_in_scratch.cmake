# Runs PROGRAM with an empty folder SCRATCH as its only argument.
file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}")
execute_process(COMMAND "${PROGRAM}" "${SCRATCH}"
  WORKING_DIRECTORY "${SCRATCH}" RESULT_VARIABLE result)
if(NOT result STREQUAL "0")
  message(FATAL_ERROR "${PROGRAM} ended with ${result}")
endif()
file(REMOVE_RECURSE "${SCRATCH}")

# Compiles damo.hpp under each standard of C++:
#
#   cmake -DCXX=c++ -DCHECKOUT=DIR -DSCRATCH=DIR -P standards.cmake
#
# Below C++17 there is one error, which says what is needed; from C++17 on there is none.

file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}")
file(WRITE "${SCRATCH}/include.cpp" "#include \"damo.hpp\"\nint main() { return 0; }\n")
file(WRITE "${SCRATCH}/use.cpp" "#include \"damo.hpp\"\n\
int main() { damo::storage storage(\"t\"); return storage.stat(\"groups\") != 0; }\n")

function(compile standard source)
  execute_process(
    COMMAND "${CXX}" "-std=${standard}" -fsyntax-only -Wall -Wextra -pedantic -Werror
      "-I${CHECKOUT}/include"
      "${SCRATCH}/${source}"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX MATCHALL "error:" errors "${output}")
  list(LENGTH errors count)
  set(count ${count} PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

foreach(standard c++98 c++11 gnu++11 c++14 gnu++14)
  compile(${standard} include.cpp)
  if(NOT count EQUAL 1
      OR NOT output MATCHES "damo.hpp needs C\\+\\+17: compile with -std=c\\+\\+17")
    message(FATAL_ERROR "as ${standard} there are ${count} errors, and one is expected:\n${output}")
  endif()
  # In a program that uses damo.hpp, the first error is the one that helps.
  compile(${standard} use.cpp)
  string(FIND "${output}" "error:" at)
  string(SUBSTRING "${output}" ${at} 60 first)
  if(NOT first MATCHES "damo.hpp needs C\\+\\+17")
    message(FATAL_ERROR "as ${standard} the first error is another one:\n${output}")
  endif()
endforeach()

foreach(standard c++17 gnu++17 c++20 c++23)
  compile(${standard} use.cpp)
  if(output MATCHES "-std=c\\+\\+2")
    message(STATUS "SKIPPED ${standard}, which this compiler does not know")
  elseif(NOT count EQUAL 0)
    message(FATAL_ERROR "as ${standard} there are ${count} errors:\n${output}")
  endif()
endforeach()
file(REMOVE_RECURSE "${SCRATCH}")

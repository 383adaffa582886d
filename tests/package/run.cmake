# Builds and runs a user's project in every way that there is: against the package, installed into
# an empty prefix, and with the checkout as a subdirectory; with the shared library and with the
# static one.

function(run)
  execute_process(COMMAND ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result STREQUAL "0")
    string(JOIN " " command ${ARGN})
    message(FATAL_ERROR "${command} ended with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect text)
  if(NOT output MATCHES "${text}")
    message(FATAL_ERROR "there is no '${text}' in:\n${output}")
  endif()
endfunction()

function(expect_no text)
  if(output MATCHES "${text}")
    message(FATAL_ERROR "there is '${text}' in:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}/tables")
set(project "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" "-DQUICKSTART=${QUICKSTART}"
  -G "${GENERATOR}")
set(shared "-DBUILD_SHARED_LIBS=OFF")
set(is_needed "NEEDED.*libdamo")
set(is_said "BUILD_SHARED_LIBS is OFF, and damo::damo is the shared library.*damo::static")

# Builds the project NAME with the arguments, and runs it. `output` becomes what configuring said.
macro(build name)
  run(${project} -B "${SCRATCH}/${name}" ${ARGN})
  set(said "${output}")
  run("${CMAKE_COMMAND}" --build "${SCRATCH}/${name}")
  run("${CMAKE_COMMAND}" -E chdir "${SCRATCH}/tables" "${SCRATCH}/${name}/trainer")
  run(objdump -p "${SCRATCH}/${name}/trainer")
  set(linked "${output}")
  set(output "${said}")
endmacro()
macro(expect_linked_shared)
  set(output "${linked}")
  expect("${is_needed}")
endmacro()
macro(expect_linked_static)
  set(output "${linked}")
  expect_no("${is_needed}")
endmacro()

run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${SCRATCH}/prefix")
# Moved after installation: the package must not remember where it was put.
file(RENAME "${SCRATCH}/prefix" "${SCRATCH}/moved")
set(prefix "-DCMAKE_PREFIX_PATH=${SCRATCH}/moved")
build(found ${prefix})
expect_no("BUILD_SHARED_LIBS")
expect_linked_shared()
build(found_off ${prefix} "${shared}")
expect("${is_said}")
expect_linked_shared()
# Configuring the project NAME fails and says why.
function(refused name text)
  execute_process(COMMAND ${project} -B "${SCRATCH}/${name}" ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(result STREQUAL "0")
    message(FATAL_ERROR "damo was found with ${ARGN}")
  endif()
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  expect("${text}")
endfunction()
# Without DAMO_INSTALL_STATIC there is no static library, and a project that asks for it is told so.
refused(lacking "DAMO_INSTALL_STATIC=ON" ${prefix} -DCOMPONENTS=static)
# An unknown component is not found. It is no error if the project marks it as optional.
foreach(component nonsense Static damo)
  refused(component "no component '${component}': its components are shared and static"
    ${prefix} -DCOMPONENTS=${component})
endforeach()
run(${project} -B "${SCRATCH}/component" ${prefix}
  -DCOMPONENTS=shared -DOPTIONAL_COMPONENTS=nonsense)
expect("component shared: TRUE.*component nonsense: FALSE")
run(${project} -B "${SCRATCH}/component" ${prefix} -DCOMPONENTS= -DOPTIONAL_COMPONENTS=static)
expect("component static: FALSE")

# Found through links: /lib may be a link to /usr/lib, and the package's folder or its file a link
# into another prefix.
file(GLOB_RECURSE config RELATIVE "${SCRATCH}/moved" "${SCRATCH}/moved/*/damoConfig.cmake")
get_filename_component(package "${config}" DIRECTORY)
string(REGEX REPLACE "/.*" "" lib "${package}")
file(MAKE_DIRECTORY "${SCRATCH}/root" "${SCRATCH}/links/file")
file(CREATE_LINK "${SCRATCH}/moved" "${SCRATCH}/root/usr" SYMBOLIC)
file(CREATE_LINK "usr/${lib}" "${SCRATCH}/root/${lib}" SYMBOLIC)
build(merged "-Ddamo_DIR=${SCRATCH}/root/${package}")
expect("included from ${SCRATCH}/moved/include")
expect_linked_shared()
file(CREATE_LINK "${SCRATCH}/moved/${package}" "${SCRATCH}/links/folder" SYMBOLIC)
foreach(file damoConfig damoConfigVersion)
  file(CREATE_LINK "${SCRATCH}/moved/${package}/${file}.cmake"
    "${SCRATCH}/links/file/${file}.cmake" SYMBOLIC)
endforeach()
foreach(link folder file)
  build("link_to_${link}" "-Ddamo_DIR=${SCRATCH}/links/${link}")
  expect("included from ${SCRATCH}/moved/include")
endforeach()
# A prefix of links to files stays the prefix.
file(GLOB_RECURSE installed RELATIVE "${SCRATCH}/moved" "${SCRATCH}/moved/*")
foreach(file IN LISTS installed)
  get_filename_component(folder "${SCRATCH}/farm/${file}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  file(CREATE_LINK "${SCRATCH}/moved/${file}" "${SCRATCH}/farm/${file}" SYMBOLIC)
endforeach()
build(farm "-DCMAKE_PREFIX_PATH=${SCRATCH}/farm")
expect("included from ${SCRATCH}/farm/include")
# A package that lacks its library is not whole.
file(COPY "${SCRATCH}/moved/${package}" DESTINATION "${SCRATCH}/torn/${lib}/cmake")
refused(torn "not whole.*Install it again" "-Ddamo_DIR=${SCRATCH}/torn/${lib}/cmake/damo")

# As DAMO_INSTALL_STATIC installs it.
find_library(found_library damo PATHS "${SCRATCH}/moved/lib" "${SCRATCH}/moved/lib64"
  PATH_SUFFIXES "${ARCHITECTURE}"
  NO_DEFAULT_PATH REQUIRED)
get_filename_component(found_library "${found_library}" DIRECTORY)
file(CREATE_LINK "${TARGET_DIR}/release/libdamo.a" "${found_library}/libdamo.a" SYMBOLIC)
build(found_static ${prefix} -DCOMPONENTS=static -DTARGET_NAME=damo::static)
expect_linked_static()

# The same without CMake.
find_program(pkg_config pkg-config)
if(pkg_config)
  file(GLOB_RECURSE pc "${SCRATCH}/moved/*/damo.pc")
  get_filename_component(pc_dir "${pc}" DIRECTORY)
  foreach(what cflags libs modversion variable=libdir variable=swigdir)
    string(MAKE_C_IDENTIFIER "${what}" name)
    # Not set in this process's environment: cargo would build RocksDB again for another
    # environment.
    execute_process(
      COMMAND "${CMAKE_COMMAND}" -E env "PKG_CONFIG_PATH=${pc_dir}" "${pkg_config}" --${what} damo
      OUTPUT_VARIABLE "said_${name}" COMMAND_ERROR_IS_FATAL ANY OUTPUT_STRIP_TRAILING_WHITESPACE)
  endforeach()
  if(NOT EXISTS "${said_variable_swigdir}/damo_c.i")
    message(FATAL_ERROR "damo_c.i is not in ${said_variable_swigdir}")
  endif()
  file(GLOB interfaces "${said_variable_swigdir}/damo_c*.i")
  foreach(interface IN LISTS interfaces)
    file(STRINGS "${interface}" included REGEX "^%include \"damo_c")
    foreach(line IN LISTS included)
      string(REGEX REPLACE ".*\"(.*)\".*" "\\1" name "${line}")
      if(NOT EXISTS "${said_variable_swigdir}/${name}")
        message(FATAL_ERROR
          "${name}, which ${interface} includes, is not in ${said_variable_swigdir}")
      endif()
    endforeach()
  endforeach()
  separate_arguments(flags UNIX_COMMAND
    "${said_cflags} ${said_libs} -Wl,-rpath,${said_variable_libdir}")
  run("${CXX}" -std=c++17 "${QUICKSTART}" ${flags} -o "${SCRATCH}/with_pkg_config")
  run("${CMAKE_COMMAND}" -E make_directory "${SCRATCH}/other_tables")
  run("${CMAKE_COMMAND}" -E chdir "${SCRATCH}/other_tables" "${SCRATCH}/with_pkg_config")
else()
  message(STATUS "pkg-config is not installed: damo.pc is not tried")
endif()

set(added "-DDAMO_CHECKOUT=${CHECKOUT}" "-DDAMO_TARGET_DIR=${TARGET_DIR}")
build(added ${added})
expect_no("BUILD_SHARED_LIBS")
expect_linked_shared()
# Only the user's files are installed, and none of damo's.
run("${CMAKE_COMMAND}" --install "${SCRATCH}/added" --prefix "${SCRATCH}/users")
file(GLOB_RECURSE installed RELATIVE "${SCRATCH}/users" "${SCRATCH}/users/*")
if(NOT installed STREQUAL "bin/trainer")
  message(FATAL_ERROR "a project with damo as a subdirectory installs ${installed}")
endif()
# The folder for data may lie outside the prefix.
build(added_static ${added} "${shared}" -DTARGET_NAME=damo::static
  -DDAMO_INSTALL=ON -DDAMO_INSTALL_STATIC=ON
  "-DCMAKE_INSTALL_DATADIR=${SCRATCH}/data")
expect("${is_said}")
expect_linked_static()
run("${CMAKE_COMMAND}" --install "${SCRATCH}/added_static" --prefix "${SCRATCH}/all")
file(GLOB_RECURSE installed RELATIVE "${SCRATCH}/all" "${SCRATCH}/all/*")
set(output "${installed}")
foreach(file bin/damo bin/trainer include/damo.hpp libdamo.a "libdamo.so|libdamo.dylib"
    damo_static.cmake damoConfig.cmake)
  expect("${file}")
endforeach()
expect_no("damo_c.i")
file(GLOB_RECURSE pc "${SCRATCH}/all/*/damo.pc")
file(READ "${pc}" output)
expect("swigdir=${SCRATCH}/data/damo/swig\n")
if(NOT EXISTS "${SCRATCH}/data/damo/swig/damo_c.i")
  message(FATAL_ERROR "damo_c.i is not in ${SCRATCH}/data/damo/swig")
endif()
file(REMOVE_RECURSE "${SCRATCH}")

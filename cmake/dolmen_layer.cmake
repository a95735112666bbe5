# SPDX-License-Identifier: Apache-2.0
#   dolmen_layer(<name> [ONE_THREAD] [TESTS_APART] [DEPENDS <layer>…] [TEST_DEPENDS <layer>…] [EXCLUDE <subfolder>…]
#                [PRECOMPILE <header>…] [APART <source>…] [TOGETHER …] [THREADED <test source>…])
# makes of the folder that calls it (subfolders included) the layer <name>:
#   *.cpp        library dolmen_<name>: static, or interface while the folder has no source
#   *_test.cpp   one GoogleTest program dolmen_<name>_test; it also links TEST_DEPENDS and finds
#                the files of tests/golden/ in DOLMEN_GOLDEN_DIR
#   *_fuzz.cpp   one libFuzzer program <name>_<file> each, with DOLMEN_FUZZ
#   *_bench.cpp  left to bench/; main.cpp is left to the folder's own CMakeLists.txt
# ONE_THREAD: neither it nor its tests start threads; the thread sanitizer's build leaves the tests out. THREADED: only
# these of its tests run more than one thread; that build leaves out the others.
# With DOLMEN_PCH several sources are compiled as one, for most of each is headers. Those in APART are compiled alone:
# their own names are other sources' names too. TESTS_APART: so is every test, but those that TOGETHER names,
# by batches: TOGETHER <batch> <test source>… <batch> ….
# EXCLUDE names subfolders that are layers of their own, PRECOMPILE foreign headers that most sources here name
# (cmake/dolmen_precompile.cmake).

function(dolmen_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ONE_THREAD;TESTS_APART" "" "DEPENDS;TEST_DEPENDS;EXCLUDE;PRECOMPILE;APART;TOGETHER;THREADED")
  set(here "${CMAKE_CURRENT_SOURCE_DIR}")
  file(GLOB_RECURSE all CONFIGURE_DEPENDS "${here}/*.cpp")
  foreach(folder IN LISTS arg_EXCLUDE)
    list(FILTER all EXCLUDE REGEX "^${here}/${folder}/")
  endforeach()

  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(fuzzers ${all})
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cpp$")
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|_bench|/main)\\.cpp$")
  list(TRANSFORM arg_DEPENDS PREPEND dolmen_ OUTPUT_VARIABLE depends)
  list(TRANSFORM arg_TEST_DEPENDS PREPEND dolmen_ OUTPUT_VARIABLE test_depends)

  set_source_files_properties(${arg_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(sources)
    add_library(dolmen_${name} STATIC ${sources})
    target_link_libraries(dolmen_${name} PUBLIC dolmen_internal ${depends})
    if(arg_PRECOMPILE)
      dolmen_precompile(dolmen_${name} ${arg_PRECOMPILE})
    else()
      dolmen_precompile(dolmen_${name} REUSE dolmen_pch_layers)
    endif()
    if(DOLMEN_PCH)
      set_target_properties(dolmen_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 7)
    endif()
    set_property(GLOBAL APPEND PROPERTY DOLMEN_LAYERS_WITH_SOURCES ${name})
    if(DOLMEN_TIDY)
      set_target_properties(dolmen_${name} PROPERTIES
        CXX_CLANG_TIDY "clang-tidy-19;--quiet;--warnings-as-errors=*")
    endif()
  else()
    add_library(dolmen_${name} INTERFACE)
    target_link_libraries(dolmen_${name} INTERFACE dolmen_internal ${depends})
  endif()

  if(arg_THREADED AND DOLMEN_SANITIZE MATCHES "thread")
    list(TRANSFORM arg_THREADED PREPEND "${here}/" OUTPUT_VARIABLE tests)
  endif()
  if(DOLMEN_TESTS AND tests AND NOT (arg_ONE_THREAD AND DOLMEN_SANITIZE MATCHES "thread"))
    add_executable(dolmen_${name}_test ${tests})
    target_link_libraries(dolmen_${name}_test
      PRIVATE dolmen_${name} ${test_depends} dolmen_internal dolmen_test_flags)
    dolmen_precompile(dolmen_${name}_test REUSE dolmen_pch_tests)
    if(DOLMEN_PCH AND NOT arg_TESTS_APART)
      set_target_properties(dolmen_${name}_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 5)
    elseif(DOLMEN_PCH AND arg_TOGETHER)
      set_target_properties(dolmen_${name}_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
      foreach(word IN LISTS arg_TOGETHER)
        if(word MATCHES "\\.cpp$")
          set_source_files_properties("${here}/${word}" PROPERTIES UNITY_GROUP ${batch})
        else()
          set(batch ${word})
        endif()
      endforeach()
    endif()
    target_compile_definitions(dolmen_${name}_test
      PRIVATE DOLMEN_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/golden")
    dolmen_discover(dolmen_${name}_test PREFIX "${name}." LABELS unit TIMEOUT 300)
  endif()

  if(DOLMEN_FUZZ)
    foreach(source IN LISTS fuzzers)
      dolmen_fuzzer(${name} "${source}" ${test_depends})
    endforeach()
  endif()
endfunction()

# Registers every test of one GoogleTest program with ctest, each in its own process, or under a sanitizer suite by
# suite (dolmen_discover_suites.cmake). A test labelled slow or crash reads DOLMEN_SOAK from its environment: 1 asks for
# its full length; and it starts early. Suites named …Crash simulate crashes in one thread, thousands of them: they are
# labelled crash instead, and the thread sanitizer leaves them out.
function(dolmen_discover target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PREFIX;TIMEOUT;LABELS" "")
  if(DOLMEN_SANITIZE)
    set(script "${CMAKE_CURRENT_BINARY_DIR}/${target}_suites.cmake")
    file(GENERATE OUTPUT "${script}" CONTENT
"include(\"${PROJECT_SOURCE_DIR}/cmake/dolmen_discover_suites.cmake\")
dolmen_add_suites(\"$<TARGET_FILE:${target}>\" PREFIX \"${arg_PREFIX}\" TIMEOUT 1200 LABELS ${arg_LABELS})
")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${script}")
    return()
  endif()
  set(soak "")
  if(DOLMEN_SOAK)
    set(soak ENVIRONMENT DOLMEN_SOAK=1)
    set(arg_TIMEOUT 172800)
  endif()
  set(common DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_PREFIX "${arg_PREFIX}"
    PROPERTIES TIMEOUT ${arg_TIMEOUT} ${soak})
  set(early "")
  if(arg_LABELS STREQUAL "slow")
    set(early COST 100)
  endif()
  gtest_discover_tests(${target} TEST_FILTER "-*Crash.*" ${common} LABELS "${arg_LABELS}" ${early})
  gtest_discover_tests(${target} TEST_FILTER "*Crash.*" ${common} LABELS crash COST 100)
endfunction()

# Its seeds are in tests/corpus/<fuzzer>/ and are only read; new inputs go to the build directory.
function(dolmen_fuzzer layer source)
  get_filename_component(stem "${source}" NAME_WE)
  set(target ${layer}_${stem})
  set(seeds "${PROJECT_SOURCE_DIR}/tests/corpus/${target}")
  if(NOT EXISTS "${seeds}")
    message(FATAL_ERROR "${target} has no seeds: give it some in tests/corpus/${target}/")
  endif()
  add_executable(${target} "${source}")
  target_link_libraries(${target} PRIVATE dolmen_${layer} ${ARGN} dolmen_internal)
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  add_test(NAME fuzz.${target}
    COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/tools/fuzz" $<TARGET_FILE:${target}>
      --seconds ${DOLMEN_FUZZ_SECONDS} --seeds "${seeds}" --found "${CMAKE_BINARY_DIR}/corpus/${target}")
  math(EXPR timeout "${DOLMEN_FUZZ_SECONDS} + 600")
  set_tests_properties(fuzz.${target} PROPERTIES LABELS fuzz TIMEOUT ${timeout})
endfunction()

# SPDX-License-Identifier: Apache-2.0
# Three interface targets carry all flags; nothing is set globally.
#   dolmen_headers   include/ and what its users must share with the library
#   dolmen_flags     warnings, hardening, sanitizers: for this project's own code only
#   dolmen_internal  both, and src/ as include path: what every layer is compiled with
include(GNUInstallDirs)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

file(GLOB_RECURSE dolmen_public_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/*.hpp")
add_library(dolmen_headers INTERFACE)
target_sources(dolmen_headers INTERFACE
  FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${dolmen_public_headers})
target_compile_features(dolmen_headers INTERFACE cxx_std_23)
# Inline code of the headers depends on these: library and users must agree.
target_compile_definitions(dolmen_headers INTERFACE
  DOLMEN_REGION_SHIFT=${DOLMEN_REGION_SHIFT} DOLMEN_CHECKED=$<BOOL:${DOLMEN_CHECKED}>)
target_link_libraries(dolmen_headers INTERFACE Threads::Threads)
set_target_properties(dolmen_headers PROPERTIES EXPORT_NAME headers)

add_library(dolmen_flags INTERFACE)
target_compile_options(dolmen_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wold-style-cast
  # Where sources are compiled together, a name of one is not hidden by a name of another.
  $<$<NOT:$<BOOL:${DOLMEN_PCH}>>:-Wshadow>
  -fstack-protector-strong
  $<$<BOOL:${DOLMEN_WERROR}>:-Werror>
  # g++ 12 reports these inside libstdc++ where nothing is wrong.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # clang 19 reports std::stable_sort of libstdc++ 12 as deprecated.
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wno-deprecated-declarations>)
target_compile_definitions(dolmen_flags INTERFACE _GLIBCXX_ASSERTIONS)

if(DOLMEN_SANITIZE)
  target_compile_options(dolmen_flags INTERFACE
    -fsanitize=${DOLMEN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-tsan>)
  target_link_options(dolmen_flags INTERFACE -fsanitize=${DOLMEN_SANITIZE})
else()
  # Fortified libc calls need optimisation and do not go together with the sanitizers' own checks.
  target_compile_options(dolmen_flags INTERFACE
    $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()
if(DOLMEN_FUZZ)
  target_compile_options(dolmen_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(DOLMEN_COVERAGE)
  target_compile_options(dolmen_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(dolmen_flags INTERFACE --coverage)
endif()

# xxHash is compiled into the files that use it (XXH_INLINE_ALL): only its header is needed.
find_path(DOLMEN_XXHASH_INCLUDE xxhash.h)
if(NOT DOLMEN_XXHASH_INCLUDE)
  message(FATAL_ERROR "xxhash.h not found: apt-get install libxxhash-dev (or run tools/install-deps)")
endif()

add_library(dolmen_internal INTERFACE)
target_include_directories(dolmen_internal INTERFACE "${PROJECT_SOURCE_DIR}/src")
target_include_directories(dolmen_internal SYSTEM INTERFACE "${DOLMEN_XXHASH_INCLUDE}")
target_link_libraries(dolmen_internal INTERFACE dolmen_headers dolmen_flags)
target_compile_definitions(dolmen_internal INTERFACE DOLMEN_SIM_HOOKS=$<BOOL:${DOLMEN_HOOKS}>)

if(DOLMEN_TESTS OR DOLMEN_FUZZ)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
endif()
if(DOLMEN_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  # What every test program is compiled with besides. Under a sanitizer the optimiser's work on their many
  # checks takes longer than it saves; the layers stay optimised.
  add_library(dolmen_test_flags INTERFACE)
  target_link_libraries(dolmen_test_flags INTERFACE GTest::gtest_main)
  if(DOLMEN_SANITIZE)
    target_compile_options(dolmen_test_flags INTERFACE -O0)
  endif()
endif()

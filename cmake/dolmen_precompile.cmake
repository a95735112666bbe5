# SPDX-License-Identifier: Apache-2.0
# With DOLMEN_PCH, headers that are not this project's own are read once and not by every source.
#   dolmen_pch_layers   the standard headers that most sources name
#   dolmen_pch_tests    those and GoogleTest
#   dolmen_precompile(<target> REUSE <one of them>)
#   dolmen_precompile(<target> <header>…)   further headers, for this target alone
# A forgotten #include does not show in such a build; the others find it.
set(dolmen_standard_headers <algorithm> <array> <atomic> <bit> <cstddef> <cstdint> <cstring> <deque> <expected>
  <functional> <map> <memory> <optional> <set> <span> <string> <string_view> <thread>
  <unordered_map> <utility> <vector>)

function(dolmen_precompile target)
  if(NOT DOLMEN_PCH)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "REUSE" "")
  if(arg_REUSE)
    target_precompile_headers(${target} REUSE_FROM ${arg_REUSE})
  else()
    target_precompile_headers(${target} PRIVATE ${dolmen_standard_headers} ${arg_UNPARSED_ARGUMENTS})
  endif()
endfunction()

if(DOLMEN_PCH)
  # A precompiled header belongs to a target, and a target has a source.
  file(WRITE "${PROJECT_BINARY_DIR}/precompiled.cpp" "")
  add_library(dolmen_pch_layers OBJECT "${PROJECT_BINARY_DIR}/precompiled.cpp")
  target_link_libraries(dolmen_pch_layers PRIVATE dolmen_internal)
  dolmen_precompile(dolmen_pch_layers)
  if(DOLMEN_TESTS)
    add_library(dolmen_pch_tests OBJECT "${PROJECT_BINARY_DIR}/precompiled.cpp")
    target_link_libraries(dolmen_pch_tests PRIVATE dolmen_internal dolmen_test_flags)
    dolmen_precompile(dolmen_pch_tests <gtest/gtest.h>)
  endif()
endif()

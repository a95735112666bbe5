# SPDX-License-Identifier: Apache-2.0
# Builds TARGET, which must fail with MESSAGE in an error of ORIGIN ("dolmen: " begins those of dolmen's own
# static_asserts), and with TRACE (if given) among the instantiations in front of it. The texts are plain,
# not regular expressions.
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD_DIR} --target ${TARGET}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
string(APPEND output "${errors}")
if(status EQUAL 0)
  message(FATAL_ERROR "${TARGET} compiled, but must be refused")
endif()
foreach(text "${ORIGIN}" "${MESSAGE}" "${TRACE}")
  string(FIND "${output}" "${text}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "not found: ${text}\n--- in the compiler's output:\n${output}")
  endif()
endforeach()

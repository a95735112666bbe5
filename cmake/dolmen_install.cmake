# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, and how other projects find it: find_package(dolmen) and pkg-config.
include(CMakePackageConfigHelpers)

set(dolmen_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/dolmen")
install(TARGETS dolmen dolmen_headers EXPORT dolmenTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT dolmenTargets NAMESPACE dolmen:: DESTINATION "${dolmen_package_dir}")
if(TARGET dolmen_command)
  install(TARGETS dolmen_command RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  # The unit names the command by its path, which is known when it is installed: --prefix says it then.
  install(CODE "
    get_filename_component(DOLMEN_COMMAND_PATH \"${CMAKE_INSTALL_BINDIR}/dolmen\" ABSOLUTE BASE_DIR \"\${CMAKE_INSTALL_PREFIX}\")
    set(unit \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/dolmen-node@.service\")
    message(STATUS \"Installing: \$ENV{DESTDIR}\${unit}\")
    configure_file(\"${PROJECT_SOURCE_DIR}/packaging/dolmen-node@.service.in\" \"\$ENV{DESTDIR}\${unit}\" @ONLY)
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${unit}\")")
endif()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/dolmenConfig.cmake.in" "${PROJECT_BINARY_DIR}/dolmenConfig.cmake"
  INSTALL_DESTINATION "${dolmen_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/dolmenConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/dolmenConfig.cmake"
              "${PROJECT_BINARY_DIR}/dolmenConfigVersion.cmake"
        DESTINATION "${dolmen_package_dir}")

# Relative to the .pc file, so that the installed tree can be moved.
file(RELATIVE_PATH dolmen_pc_prefix
  "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" dolmen_pc_prefix "${dolmen_pc_prefix}")
set(dolmen_checked 0)
if(DOLMEN_CHECKED)
  set(dolmen_checked 1)
endif()
set(dolmen_fabric_libraries "")
if(DOLMEN_VERBS)
  string(APPEND dolmen_fabric_libraries " -libverbs")
endif()
if(DOLMEN_OFI)
  string(APPEND dolmen_fabric_libraries " -lfabric")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/dolmen.pc.in" "${PROJECT_BINARY_DIR}/dolmen.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/dolmen.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

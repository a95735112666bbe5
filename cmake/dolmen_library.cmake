# SPDX-License-Identifier: Apache-2.0
# dolmen::dolmen, the one library that users link: every object file of the product's layers in one archive
# (or shared library). It needs libc, libstdc++, pthread, libsodium and libcrypto (and libibverbs, if
# it has RDMA, and libfabric, if it has other fabrics), and shows its users include/ only.
set(dolmen_product base sys sys_linux object store txn log cluster security fabric replication node)
get_property(dolmen_built GLOBAL PROPERTY DOLMEN_LAYERS_WITH_SOURCES)

set(dolmen_objects)
foreach(layer IN LISTS dolmen_product)
  if(layer IN_LIST dolmen_built)
    list(APPEND dolmen_objects $<TARGET_OBJECTS:dolmen_${layer}>)
  endif()
endforeach()

if(dolmen_objects)
  add_library(dolmen ${dolmen_objects})
  set_target_properties(dolmen PROPERTIES LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_link_libraries(dolmen PUBLIC dolmen_headers sodium crypto $<$<BOOL:${DOLMEN_VERBS}>:ibverbs>
    $<$<BOOL:${DOLMEN_OFI}>:fabric>
    PRIVATE $<BUILD_INTERFACE:dolmen_flags>)
else()
  add_library(dolmen INTERFACE)
  target_link_libraries(dolmen INTERFACE dolmen_headers)
endif()
add_library(dolmen::dolmen ALIAS dolmen)

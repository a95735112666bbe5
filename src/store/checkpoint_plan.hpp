// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint request as what happens to the tree, in key order, at most one change per key. An
// object's own change (it is erased, or has this class from now on) stands at its page 0.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "store/page_reader.hpp"

namespace dolmen::store {

struct TreeChange {
  PageKey key;
  bool write = false;              ///< the page's contents changed
  bool erase = false;              ///< at page 0: all keys of the object go
  std::uint8_t capacity_log2 = 0;  ///< at page 0: the object's class, new or changed; 0 = as before
  std::uint32_t order = 0;         ///< among equal keys of the request, the last class counts
};

/// Errors: invalid_argument (a class outside the range, an object both erased and given a class, a
/// page of an object that neither exists nor is created), corrupt, io_error.
[[nodiscard]] Result<std::vector<TreeChange>> plan_checkpoint(const CheckpointRequest& request,
                                                              PageReader& reader,
                                                              const TreeRoot& root);

}  // namespace dolmen::store

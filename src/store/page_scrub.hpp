// SPDX-License-Identifier: Apache-2.0
//
// Verification of everything below a root, from the disk: each node, each page, that no block has
// two users, and that the root's counts are true. Finds all damage it can reach, not only the
// first.
#pragma once

#include <functional>

#include <dolmen/error.hpp>

#include "store/page_reader.hpp"

namespace dolmen::store {

/// Requires: nothing below `root` is reused meanwhile.
[[nodiscard]] Result<void> scrub_pages(
    PageReader& reader, const TreeRoot& root, std::uint64_t file_bytes, ScrubReport& report,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress);

}  // namespace dolmen::store

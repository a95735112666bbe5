// SPDX-License-Identifier: Apache-2.0
#include "fabric/assembly.hpp"

#include <dolmen/assert.hpp>

namespace dolmen::fabric {

Result<Assembly::Whole> Assembly::add(std::uint32_t left, base::Bytes data) {
  DOLMEN_ASSERT_CMP(data.size(), <=, left);
  if (left_ == 0) {
    if (left == data.size()) return Whole{.is_complete = true, .bytes = data};
    whole_.clear();
  } else if (left != left_) {
    return fail(Errc::corrupt, "bytes from another node");
  }
  whole_.insert(whole_.end(), data.begin(), data.end());
  left_ = left - static_cast<std::uint32_t>(data.size());
  if (left_ > 0) return Whole{};
  return Whole{.is_complete = true, .bytes = whole_};
}

}  // namespace dolmen::fabric

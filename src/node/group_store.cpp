// SPDX-License-Identifier: Apache-2.0
#include "node/group_store.hpp"

#include <dolmen/assert.hpp>

namespace dolmen::node {

Result<store::Index> GroupStore::append(base::Bytes payload, store::Reserve,
                                        void (*on_index)(void*, store::Index), void* argument) {
  records_.emplace_back(payload.begin(), payload.end());
  const store::Index index = last_index() + 1;
  last_index_ = index;
  if (on_index != nullptr) on_index(argument, index);
  return index;
}

Result<store::CheckpointStats> GroupStore::checkpoint(const store::CheckpointRequest& request) {
  DOLMEN_ASSERT_CMP(image_.last_index(), >=, request.as_of);
  DOLMEN_CHECK(image_.wait_durable(request.as_of));
  return image_.checkpoint(request);
}

store::StoreStats GroupStore::stats() {
  store::StoreStats stats = image_.stats();
  stats.last_index = last_index();
  stats.durable_index = last_index();
  return stats;
}

}  // namespace dolmen::node

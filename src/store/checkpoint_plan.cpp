// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_plan.hpp"

#include <algorithm>

namespace dolmen::store {
namespace {

// Everything the request says, unordered and with repetitions; a later one of equal key wins.
Result<std::vector<TreeChange>> collect(const CheckpointRequest& request) {
  std::vector<TreeChange> changes;
  changes.reserve(request.capacity_log2.size() + request.erased.size() + request.pages.size());
  for (const auto& [object, capacity_log2] : request.capacity_log2) {
    const bool known =
        capacity_log2 >= base::kMinCapacityLog2 && capacity_log2 <= base::kMaxCapacityLog2;
    if (!known || object.is_null()) {
      return fail(Errc::invalid_argument, "a checkpoint names an impossible object", capacity_log2);
    }
    const auto order = static_cast<std::uint32_t>(changes.size());
    changes.push_back({{object, 0}, false, false, capacity_log2, order});
  }
  for (const ObjectId& object : request.erased) {
    changes.push_back({{object, 0}, false, true, 0, 0});
  }
  for (const PageKey& key : request.pages) changes.push_back({key, true, false, 0, 0});
  std::ranges::sort(changes, [](const TreeChange& a, const TreeChange& b) {
    return a.key != b.key ? a.key < b.key : a.order < b.order;
  });
  return changes;
}

// Of equal keys one, and nothing but the erasure of an erased object.
Result<void> combine(std::vector<TreeChange>& changes) {
  std::size_t kept = 0;
  for (const TreeChange& change : changes) {
    TreeChange* const last = kept > 0 ? &changes[kept - 1] : nullptr;
    if (last != nullptr && last->key == change.key) {
      last->write |= change.write;
      last->erase |= change.erase;
      if (change.capacity_log2 != 0) last->capacity_log2 = change.capacity_log2;
      if (last->erase && last->capacity_log2 != 0) {
        return fail(Errc::invalid_argument, "a checkpoint erases an object that it also creates");
      }
    } else if (last == nullptr || !last->erase || last->key.object != change.key.object) {
      changes[kept++] = change;
    }
  }
  changes.resize(kept);
  return {};
}

// A page above 0 says nothing of its object. Where the object's page 0 is not changed too, the tree
// is asked: pages of unknown objects are refused, pages beyond the object's end left out.
Result<void> confine(std::vector<TreeChange>& changes, PageReader& reader, const TreeRoot& root) {
  std::size_t kept = 0;
  ObjectId object;
  std::uint32_t pages = kMaxPages;
  for (const TreeChange& change : changes) {
    const bool next_object = change.key.object != object;
    object = change.key.object;
    if (change.key.page == 0) {
      // The merge meets page 0 first and knows the class from there.
      pages = change.capacity_log2 == 0 ? kMaxPages : pages_of(change.capacity_log2);
    } else if (next_object) {
      DOLMEN_TRY(const auto first, reader.find(root, {object, 0}));
      if (!first) {
        return fail(Errc::invalid_argument, "a checkpoint names a page of an unknown object",
                    change.key.page);
      }
      pages = pages_of(first->loc.tag());
    }
    if (change.key.page < pages) changes[kept++] = change;
  }
  changes.resize(kept);
  return {};
}

}  // namespace

Result<std::vector<TreeChange>> plan_checkpoint(const CheckpointRequest& request,
                                                PageReader& reader, const TreeRoot& root) {
  DOLMEN_TRY(std::vector<TreeChange> changes, collect(request));
  DOLMEN_CHECK(combine(changes));
  DOLMEN_CHECK(confine(changes, reader, root));
  return changes;
}

}  // namespace dolmen::store

// SPDX-License-Identifier: Apache-2.0
//
// One object looked at in full: header, id, heap, every pointer that a described type has, and the
// words of all other fields, among which an absolute address has no business.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "node/inspect.hpp"
#include "object/fot.hpp"
#include "object/type_query.hpp"
#include "txn/container_check.hpp"
#include "txn/types.hpp"
#include "txn/view_core.hpp"

namespace dolmen::node {

using object::TypeDescription;
using object::TypeEntry;

namespace {

constexpr std::size_t kFindingsPerObject = 100;

/// Where Linux puts the arena, programs, libraries, heaps and stacks (x86-64 and arm64, 47 bits).
constexpr bool looks_like_address(std::uint64_t word) noexcept {
  return word >= 0x2000'0000'0000 && word < 0x8000'0000'0000;
}
/// Six characters in a word: few addresses consist of such bytes alone.
constexpr bool looks_like_text(std::uint64_t word) noexcept {
  for (; word != 0; word >>= 8) {
    if ((word & 0xFF) < ' ' || (word & 0xFF) > '~') return false;
  }
  return true;
}
/// Random numbers look like addresses once in about 175,000; fields that hold addresses, always.
constexpr std::uint64_t kWordsPerSuspicion = 16;

struct Words {
  std::uint64_t set = 0;
  std::uint64_t suspicious = 0;
  std::uint64_t first = 0;  ///< offset of the first suspicious one
};

}  // namespace

class Explorer::Checker {
 public:
  Checker(Explorer& explorer, const ObjectId& id, const Image& image) noexcept
      : explorer_(explorer), id_(id), heap_(image.base, image.capacity_log2) {}

  Result<std::vector<Finding>> run() {
    const auto header = object::check_header(
        base::Bytes(heap_.base(), std::min<std::size_t>(heap_.capacity(), 4096)), id_,
        heap_.capacity_log2());
    if (!header) {
      add("header", "", header.error());
      return std::move(findings_);
    }
    if (const auto heap = heap_.verify(); !heap) {
      add("heap", "at offset " + std::to_string(heap.error().detail()), heap.error());
      return std::move(findings_);
    }
    if (const auto table = object::fot_verify(heap_); !table) {
      add("foreign object table", "at offset " + std::to_string(table.error().detail()),
          table.error());
    }
    check_root();
    const auto walked = heap_.for_each_allocation([&](const object::Allocation& allocation) {
      explorer_.looked_at_bytes_ += allocation.bytes;
      check_allocation(allocation);
    });
    if (!walked) add("heap", "", walked.error());
    report_words();
    return std::move(findings_);
  }

 private:
  void add(std::string what, std::string where, std::string detail) {
    if (findings_.size() == kFindingsPerObject) return;
    findings_.push_back({id_, std::move(what), std::move(where), std::move(detail)});
  }
  void add(std::string what, std::string where, const Error& error) {
    add(std::move(what), std::move(where), error.message());
  }

  void check_root() {
    const object::ObjectHeader header = object::load_header(heap_.base());
    if (header.root_offset == 0) return;
    const auto root = heap_.at(header.root_offset);
    if (!root || root->offset != header.root_offset) {
      add("root", "at offset " + std::to_string(header.root_offset), "no allocation begins there");
    } else if (root->type_tag != header.root_type) {
      add("root", "at offset " + std::to_string(header.root_offset), "has another type");
    }
  }

  const TypeDescription* description(std::uint32_t tag) {
    const auto found = types_.find(tag);
    if (found != types_.end()) return found->second.get();
    auto described = txn::type_description(explorer_.space_->core(), tag);
    if (!described) {
      add("type", "tag " + std::to_string(tag), described.error());
      return types_.emplace(tag, nullptr).first->second.get();
    }
    return types_.emplace(tag, std::move(*described)).first->second.get();
  }

  void check_allocation(const object::Allocation& allocation) {
    if (allocation.type_tag < object::kFirstUserTag) return;
    const TypeDescription* types = description(allocation.type_tag);
    if (types == nullptr) return;
    const TypeEntry& type = types->types[0];
    if (type.size == 0 || allocation.element_bytes == 0) return;
    place_ = {types, allocation.type_tag, 0};
    const std::uint64_t count = allocation.is_array ? allocation.count : 1;
    if (type.size > allocation.element_bytes) {
      add("type", type.name + " at offset " + std::to_string(allocation.offset),
          "the allocation's elements are smaller than the type");
      return;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      place_.element = allocation.offset + i * allocation.element_bytes;
      visit(0, place_.element);
    }
  }

  void visit(std::uint16_t index, std::uint64_t offset) {
    const TypeEntry& type = place_.types->types[index];
    switch (type.kind) {
      case TypeKind::pointer:
        check_pointer(type, offset);
        return;
      case TypeKind::string:
        if (load<std::uint8_t>(offset + 23) == 0xFF) {
          const std::uint64_t capacity = load<std::uint32_t>(offset + 12);
          if (load<std::uint32_t>(offset + 8) > capacity) {
            add("string", path(offset), "size above capacity");
          }
          (void)check_storage(offset, capacity + 1);
        } else if (load<std::uint8_t>(offset + 23) > 22) {
          add("string", path(offset), "impossible size");
        }
        return;
      case TypeKind::vector: {
        const auto size = load<std::uint32_t>(offset + 8);
        const auto capacity = load<std::uint32_t>(offset + 12);
        if (size > capacity) add("vector", path(offset), "size above capacity");
        const TypeEntry* element = entry_of(type.element);
        if (capacity != 0) (void)check_storage(offset, capacity * (element ? element->size : 1ull));
        return;
      }
      case TypeKind::hash_map:
      case TypeKind::ordered_map:
        if (load<std::uint64_t>(offset) == 0 || check_storage(offset, 1)) check_map(type, offset);
        return;
      case TypeKind::link:
        if (load<std::uint64_t>(offset) != 0 || load<std::uint64_t>(offset + 8) != 0) {
          check_link(offset);
        }
        return;
      case TypeKind::array: {
        const TypeEntry& element = place_.types->types[type.element];
        for (std::uint32_t i = 0; i < type.count; ++i) {
          visit(type.element, offset + std::uint64_t{i} * element.size);
        }
        return;
      }
      case TypeKind::record:
        for (const object::FieldDescription& field : type.fields) {
          const std::uint32_t step = place_.types->types[field.type].size;
          for (std::uint32_t i = 0; i < field.count; ++i) {
            visit(field.type, offset + field.offset + std::uint64_t{i} * step);
          }
        }
        return;
      case TypeKind::signed_integer:
      case TypeKind::unsigned_integer:
      case TypeKind::enumeration:
      case TypeKind::opaque:
        for (std::uint64_t at = 0; at + 8 <= type.size; at += 8) check_word(offset + at);
        return;
      default:
        return;
    }
  }

  void check_word(std::uint64_t offset) {
    const auto word = load<std::uint64_t>(offset);
    if (word == 0) return;
    Words& words = words_[{place_.tag, static_cast<std::uint32_t>(offset - place_.element)}];
    ++words.set;
    if (!looks_like_address(word) || looks_like_text(word)) return;
    if (words.suspicious++ == 0) words.first = offset;
  }

  void report_words() {
    for (const auto& [field, words] : words_) {
      if (words.suspicious * kWordsPerSuspicion < words.set || words.suspicious == 0) continue;
      place_ = {types_[field.first].get(), field.first, words.first - field.second};
      add("absolute address", path(words.first),
          std::to_string(words.suspicious) + " of " + std::to_string(words.set) +
              " values look like addresses of a running program; keep a ptr<T> or link<T> instead");
    }
  }

  const TypeEntry* entry_of(std::uint16_t type) const noexcept {
    return type < place_.types->types.size() ? &place_.types->types[type] : nullptr;
  }

  void check_pointer(const TypeEntry& type, std::uint64_t offset) {
    const auto bits = load<std::uint64_t>(offset);
    if (bits == 0) return;
    const bool is_local = type.name.starts_with("local_ptr");  // the containers' own
    const TypeEntry* const pointee = is_local ? nullptr : entry_of(type.element);
    if (bits <= detail::kOffsetMask) {
      check_pointee(offset, heap_, bits, pointee, "to offset " + std::to_string(bits));
      return;
    }
    if (is_local || !detail::is_foreign(bits)) {
      add("absolute address", path(offset), "a pointer that is valid in one process only");
      return;
    }
    const auto target = object::fot_entry(heap_, detail::fot_index(bits));
    if (!target) {
      add("dangling pointer", path(offset), "through a foreign index that is not in use");
      return;
    }
    check_target(offset, *target, bits & detail::kOffsetMask, pointee);
  }

  /// A link is looked at when it is followed, so its type is no matter here.
  void check_link(std::uint64_t offset) {
    const auto target_offset = load<std::uint64_t>(offset + sizeof(ObjectId));
    // A link to an object's begin means its root.
    check_target(offset, load<ObjectId>(offset), target_offset, nullptr, target_offset == 0);
  }

  void check_target(std::uint64_t offset, const ObjectId& target, std::uint64_t target_offset,
                    const TypeEntry* pointee, bool as_a_whole = false) {
    const auto image = explorer_.image(target);
    if (!image) {
      add("dangling pointer", path(offset), image.error());
    } else if (!as_a_whole) {
      check_pointee(
          offset, object::HeapReader(image->base, image->capacity_log2), target_offset, pointee,
          "to offset " + std::to_string(target_offset) + " of object " + target.to_string());
    }
  }

  /// What the field at `offset` points to: in use, and where such a value lies.
  void check_pointee(std::uint64_t offset, const object::HeapReader& heap, std::uint64_t target,
                     const TypeEntry* pointee, const std::string& where) {
    const auto found = heap.at(target);
    if (!found) {
      add("dangling pointer", path(offset), where + ", not in use");
      return;
    }
    if (pointee == nullptr || pointee->size == 0 || found->element_bytes == 0) return;
    const TypeDescription* const types = description(found->type_tag);
    if (types == nullptr) return;
    const std::uint64_t inside = target - found->offset;
    if (inside + pointee->size > found->bytes ||
        !object::type_lies_at(*types, 0, static_cast<std::uint32_t>(inside % found->element_bytes),
                              pointee->fingerprint)) {
      add("wrong pointer", path(offset),
          where + ", where a `" + types->types[0].name + "` lies and no `" + pointee->name + "`");
    }
  }

  void check_map(const TypeEntry& map, std::uint64_t offset) {
    const TypeEntry* key = entry_of(map.element);
    const TypeEntry* mapped = entry_of(map.element2);
    if (key == nullptr || mapped == nullptr) return;
    const txn::ContainerCheck check(heap_);
    const std::size_t key_align = std::max(key->align, 1u);
    const std::size_t mapped_align = std::max(mapped->align, 1u);
    const auto sound = [&] {
      if (map.kind == TypeKind::ordered_map) {
        return check.ordered_map(offset, {key->size, key_align, mapped->size, mapped_align});
      }
      const std::uint64_t key_at = detail::round_up(8, std::max(key_align, mapped_align));
      const std::uint64_t value_at = key_at + detail::round_up(key->size, mapped_align);
      return check.hash_map(offset, value_at + mapped->size, {});
    }();
    if (!sound) add("container", path(offset), sound.error());
  }

  [[nodiscard]] bool check_storage(std::uint64_t offset, std::uint64_t bytes) {
    const auto location = load<std::uint64_t>(offset);
    if (location > detail::kOffsetMask) {
      add("absolute address", path(offset), "a container whose storage is outside its object");
      return false;
    }
    const auto storage = heap_.at(location);
    if (!storage || storage->offset != location) {
      add("container", path(offset), "its storage is not in use");
      return false;
    }
    if (bytes <= storage->bytes) return true;
    add("container", path(offset), "its storage is smaller than its capacity");
    return false;
  }

  [[nodiscard]] std::string path(std::uint64_t offset) const {
    const std::string field =
        object::field_path(*place_.types, 0, static_cast<std::uint32_t>(offset - place_.element));
    std::string text = place_.types->types[0].name;
    if (!field.empty()) text += (field.front() == '[' ? "" : ".") + field;
    return text + " at offset " + std::to_string(offset);
  }

  template <class T>
  [[nodiscard]] T load(std::uint64_t offset) const noexcept {
    T value{};
    if (offset <= heap_.capacity() - sizeof value) {
      std::memcpy(&value, heap_.base() + offset, sizeof value);
    }
    return value;
  }

  struct Place {
    const TypeDescription* types = nullptr;
    std::uint32_t tag = 0;
    std::uint64_t element = 0;  ///< offset of the element that is being looked at
  };

  Explorer& explorer_;
  ObjectId id_;
  object::HeapReader heap_;
  Place place_;
  std::map<std::uint32_t, std::shared_ptr<const TypeDescription>> types_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Words> words_;
  std::vector<Finding> findings_;
};

Result<std::vector<Finding>> Explorer::check(const ObjectId& id) {
  DOLMEN_CHECK(let_go());
  const auto image = this->image(id);
  if (!image) {
    if (image.error().code() != Errc::corrupt && image.error().code() != Errc::not_found) {
      return std::unexpected(image.error());
    }
    return std::vector<Finding>{{id, "unreadable", "", image.error().message()}};
  }
  DOLMEN_TRY(auto findings, Checker(*this, id, *image).run());
  if (damaged(id)) {
    findings.insert(findings.begin(),
                    {id, "unreadable", "", "pages fail their checksum; run `dolmen scrub`"});
  }
  return findings;
}

}  // namespace dolmen::node

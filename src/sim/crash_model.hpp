// SPDX-License-Identifier: Apache-2.0
//
// What the crash campaign keeps in a space, a model of it in plain std::, and both as text: equal
// texts mean equal structures, whatever their addresses.
//
// Threads: values; a space is read by the calling thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

namespace dolmen::sim {

struct Item {
  std::uint64_t value;
  ptr<Item> next;
};

/// Root of the large objects.
struct Box {
  std::uint64_t serial;  // never changes: tells which box a pointer leads to
  std::uint64_t version;
  string text;
  vector<std::uint64_t> numbers;
  hash_map<std::uint64_t, std::uint64_t> table;
  ordered_map<std::uint64_t, std::uint64_t> sorted;
  hash_map<string, string> words;
  ptr<Item> list;
  ptr<Box> other;  // into another object, or null
};

/// Root of objects of 512 bytes.
struct Small {
  std::uint64_t value;
  ptr<Box> box;
  link<Box> far;
};

/// Root of an object that points into many others.
struct Hub {
  vector<ptr<Small>> smalls;
};

/// Root of an object whose commits have records of two lengths: see stamp_sheet().
struct Sheet {
  std::array<std::uint64_t, 10> words;
};

struct ModelBox {
  ObjectId id;
  std::uint64_t serial = 0;
  std::uint64_t version = 0;
  std::string text;
  std::vector<std::uint64_t> numbers;
  std::map<std::uint64_t, std::uint64_t> table;
  std::map<std::uint64_t, std::uint64_t> sorted;
  std::map<std::string, std::string> words;
  std::vector<std::uint64_t> list;  // newest first
  std::string other;                // name of the box pointed to, or empty
};
struct ModelSmall {
  ObjectId id;
  std::uint64_t value = 0;
  std::string box;
  std::string far;
};
struct ModelHub {
  ObjectId id;
  std::uint64_t made = 0;  // small objects so far: their values are told apart
  std::vector<std::pair<ObjectId, std::uint64_t>> smalls;
};
struct ModelSheet {
  ObjectId id;  // null: there is none yet
  std::uint64_t stamps = 0;
  std::array<std::uint64_t, 10> words{};
};
struct Model {
  std::map<std::string, ModelBox> boxes;
  std::map<std::string, ModelSmall> smalls;
  std::map<std::string, ModelHub> hubs;
  ModelSheet sheet;
};

[[nodiscard]] std::string render(const Model& model);
/// Errors: whatever reading gives (corrupt, deleted, …).
[[nodiscard]] Result<std::string> render(const View& view);
/// The same through a view of its own.
[[nodiscard]] Result<std::string> render_space(Space& space);
/// The same through the running images, in one read section over everything.
[[nodiscard]] Result<std::string> render_images(Space& space);
/// Everything else that must be so: objects are those of the model and the space's own, their heaps
/// and pointers are sound, no stored byte is damaged. Empty if all is well.
[[nodiscard]] std::string unsound(Space& space, const Model& model);

}  // namespace dolmen::sim

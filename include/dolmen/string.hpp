// SPDX-License-Identifier: Apache-2.0
//
// string: text in 24 bytes, up to 22 characters inside them, longer ones in one allocation of the
// string's home. Lives in an object or off it; copying across that border copies the characters.
// Reads like std::string; single characters are written by `set`, ranges by `edit_all`.
//
// Stored form (little-endian words): inline, bytes 0 … 21 the characters and a zero, byte 23 the
// size; else word 0 the location of size + 1 or more characters, word 1 size and capacity (32 bits
// each), byte 23 is 0xFF. 24 zero bytes are the empty string.
//
// Views, data() and iterators are valid until the string changes and within the section.
// Errors: AccessError (object_full, no_transaction, limit, out_of_bounds, …). In a transaction the
// abort restores everything; off the arena a failed call leaves the string as it was. Threads: as
// std::string.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dolmen/detail/container_base.hpp>

namespace dolmen {

class string;

namespace detail {
template <class S>
concept Text = std::is_convertible_v<const S&, std::string_view> &&
               !std::is_same_v<std::remove_cvref_t<S>, string>;
}

class string {
 public:
  using value_type = char;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using const_reference = const char&;
  using const_iterator = const char*;
  using iterator = const_iterator;
  static constexpr size_type npos = std::string_view::npos;

  constexpr string() noexcept = default;
  template <detail::Text S>
  string(const S& text) {  // NOLINT(google-explicit-constructor): as std::string from text
    construct_from(text);
  }
  string(size_type count, char c) : string() { append(count, c); }
  string(const string& other) { construct_from(other.view()); }
  /// Takes the storage over inside one home, else copies.
  string(string&& other) {  // NOLINT(performance-noexcept-move-constructor): may have to copy
    if (detail::Home(this) == detail::Home(&other)) {
      take(other);
    } else {
      construct_from(other.view());
    }
  }
  string& operator=(const string& other) {
    if (this != &other) assign(other.view());
    return *this;
  }
  string& operator=(string&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this == &other) return *this;
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      release();
      take(other);
    } else {
      assign(other.view());
    }
    return *this;
  }
  template <detail::Text S>
  string& operator=(const S& text) {
    return assign(text);
  }
  ~string() {
    if (on_heap()) detail::quietly([this] { release(); });
  }

  // ---- Reading ----

  [[nodiscard]] size_type size() const noexcept {
    return on_heap() ? words_[1] & 0xFFFFFFFFu : words_[2] >> kTagShift;
  }
  [[nodiscard]] size_type length() const noexcept { return size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] size_type capacity() const noexcept {
    return on_heap() ? words_[1] >> 32 : kInlineMax;
  }
  [[nodiscard]] static constexpr size_type max_size() noexcept { return kSizeMax; }
  /// size() characters and a zero.
  [[nodiscard]] const char* data() const { return characters(); }
  [[nodiscard]] const char* c_str() const { return characters(); }
  [[nodiscard]] std::string_view view() const { return {characters(), size()}; }
  operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] std::string str() const { return std::string(view()); }
  [[nodiscard]] const_iterator begin() const { return characters(); }
  [[nodiscard]] const_iterator end() const { return characters() + size(); }
  [[nodiscard]] const_iterator cbegin() const { return begin(); }
  [[nodiscard]] const_iterator cend() const { return end(); }
  /// Throws AccessError out_of_bounds, in every build.
  [[nodiscard]] const char& operator[](size_type index) const {
    if (index >= size()) [[unlikely]]
      detail::throw_absent("string", index);
    return characters()[index];
  }
  [[nodiscard]] const char& at(size_type index) const { return (*this)[index]; }
  [[nodiscard]] const char& front() const { return (*this)[0]; }
  [[nodiscard]] const char& back() const { return (*this)[size() - 1]; }

  [[nodiscard]] int compare(std::string_view other) const { return view().compare(other); }
  [[nodiscard]] bool starts_with(std::string_view text) const { return view().starts_with(text); }
  [[nodiscard]] bool ends_with(std::string_view text) const { return view().ends_with(text); }
  [[nodiscard]] bool contains(std::string_view text) const { return find(text) != npos; }
  [[nodiscard]] size_type find(std::string_view text, size_type from = 0) const {
    return view().find(text, from);
  }
  [[nodiscard]] size_type find(char c, size_type from = 0) const { return view().find(c, from); }
  [[nodiscard]] size_type rfind(std::string_view text, size_type from = npos) const {
    return view().rfind(text, from);
  }
  /// A view, not a copy. Throws AccessError out_of_bounds if `from` > size().
  [[nodiscard]] std::string_view substr(size_type from, size_type count = npos) const {
    check_position(from);
    return view().substr(from, count);
  }

  friend bool operator==(const string& left, const string& right) {
    return left.view() == right.view();
  }
  friend std::strong_ordering operator<=>(const string& left, const string& right) {
    return left.view() <=> right.view();
  }
  template <detail::Text S>
  friend bool operator==(const string& left, const S& right) {
    return left.view() == std::string_view(right);
  }
  template <detail::Text S>
  friend std::strong_ordering operator<=>(const string& left, const S& right) {
    return left.view() <=> std::string_view(right);
  }

  // ---- Writing ----

  string& assign(std::string_view text) { return replace(0, npos, text); }
  string& assign(size_type count, char c) {
    clear();
    return append(count, c);
  }
  string& append(std::string_view text) { return replace(size(), 0, text); }
  string& append(size_type count, char c) {
    const size_type old = size();
    char* const to = open_tail(count);
    std::memset(to, c, count);
    to[count] = '\0';
    set_size(old + count);
    return *this;
  }
  string& operator+=(std::string_view text) { return append(text); }
  string& operator+=(char c) { return append(1, c); }
  void push_back(char c) { append(1, c); }
  void pop_back() {
    check_position(size() - 1);
    resize(size() - 1);
  }
  string& insert(size_type at, std::string_view text) { return replace(at, 0, text); }
  string& erase(size_type at = 0, size_type count = npos) { return replace(at, count, {}); }
  void clear() { resize(0); }
  /// Replaces `count` characters (or up to the end) from `at`. `text` may be a part of this string.
  string& replace(size_type at, size_type count, std::string_view text);
  void resize(size_type count, char c = '\0') {
    const size_type old = size();
    if (count > old) {
      append(count - old, c);
    } else if (count < old) {
      char* const end = mutable_characters() + count;
      log_range(end, 1);
      *end = '\0';
      set_size(count);
    }
  }
  void reserve(size_type count) {
    if (count > capacity()) move_to_storage(storage_capacity(count));
  }
  void shrink_to_fit();
  void set(size_type index, char c) { edit_all(index, 1)[0] = c; }
  /// Write access to characters [from, from + count).
  [[nodiscard]] std::span<char> edit_all(size_type from = 0, size_type count = npos) {
    check_position(from);
    count = count < size() - from ? count : size() - from;
    char* const first = mutable_characters() + from;
    log_range(first, count);
    return {first, count};
  }
  void swap(string& other) {
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      detail::log_write(&other, sizeof(other));
      for (int i = 0; i < 3; ++i) std::swap(words_[i], other.words_[i]);
    } else {
      string mine(*this);
      *this = other;
      other = mine;
    }
  }
  friend void swap(string& left, string& right) { left.swap(right); }

 private:
  static constexpr size_type kInlineMax = 22;
  static constexpr size_type kSizeMax = (size_type{1} << 30) - 64;
  static constexpr unsigned kTagShift = 56;
  static constexpr std::uint64_t kHeapTag = std::uint64_t{0xFF} << kTagShift;

  [[nodiscard]] bool on_heap() const noexcept { return static_cast<std::int64_t>(words_[2]) < 0; }
  [[nodiscard]] const char* characters() const {
    if (!on_heap()) return static_cast<const char*>(static_cast<const void*>(words_));
    if (words_[0] == 0) [[unlikely]]
      detail::throw_error(Errc::corrupt, "string");
    return static_cast<const char*>(detail::Home(this).at(words_[0]));
  }
  [[nodiscard]] char* mutable_characters() { return const_cast<char*>(characters()); }
  void check_position(size_type at) const {
    if (at > size()) [[unlikely]]
      detail::throw_absent("string", at);
  }
  /// Characters inside the string are logged with it, by every caller of set_size() anyway.
  void log_range(const char* first, size_type count) {
    if (on_heap()) {
      if (count != 0) detail::log_write(first, count);
    } else {
      detail::log_write(this, sizeof(*this));
    }
  }
  void set_size(size_type count) {
    if (on_heap()) {
      detail::put(words_[1], (words_[1] & ~std::uint64_t{0xFFFFFFFF}) | count);
    } else {
      detail::log_write(this, sizeof(*this));
      words_[2] = (words_[2] & ~kHeapTag) | (std::uint64_t{count} << kTagShift);
    }
  }
  [[nodiscard]] size_type storage_capacity(size_type needed) const {
    if (needed > kSizeMax) detail::throw_error(Errc::limit, "string", needed);
    const size_type old = on_heap() ? capacity() + 1 : 0;
    return detail::grown_capacity(this, 1, old, needed + 1, kSizeMax + 1, "string") - 1;
  }
  [[nodiscard]] char* new_storage(size_type room) const {
    return detail::allocate_array<char>(this, room + 1);
  }
  /// Requires: these 24 bytes are logged.
  void set_storage(const char* memory, size_type count, size_type room) noexcept {
    const detail::Home home(this);
    words_[0] = home.location_of(memory) | (home.is_object() ? 0 : detail::kTransientTag);
    words_[1] = count | (std::uint64_t{room} << 32);
    words_[2] = kHeapTag;
  }
  void release() {
    if (on_heap()) detail::deallocate_array(mutable_characters(), capacity() + 1);
  }
  // Constructors' part: this string is empty and its bytes are logged.
  void construct_from(std::string_view text) {
    if (text.size() <= kInlineMax) {
      if (!text.empty()) std::memcpy(words_, text.data(), text.size());
      words_[2] |= std::uint64_t{text.size()} << kTagShift;
    } else {
      const size_type room = storage_capacity(text.size());
      char* const memory = new_storage(room);
      std::memcpy(memory, text.data(), text.size());
      set_storage(memory, text.size(), room);
    }
  }
  /// Requires: same home, this string holds no storage and is logged.
  void take(string& other) {
    detail::log_write(&other, sizeof(other));
    for (int i = 0; i < 3; ++i) words_[i] = std::exchange(other.words_[i], 0);
  }
  /// Room for `count` more characters and a zero behind the present ones, logged.
  char* open_tail(size_type count) {
    const size_type old = size();
    if (count > kSizeMax - old) detail::throw_error(Errc::limit, "string", count);
    reserve(old + count);
    char* const tail = mutable_characters() + old;
    log_range(tail, count + 1);
    return tail;
  }
  void move_to_storage(size_type room) {
    const size_type count = size();
    char* const memory = new_storage(room);
    detail::log_write(this, sizeof(*this));
    std::memcpy(memory, characters(), count);
    release();
    set_storage(memory, count, room);
  }

  std::uint64_t words_[3] = {};
};
static_assert(sizeof(string) == 24);

inline string& string::replace(size_type at, size_type count, std::string_view text) {
  check_position(at);
  const size_type old = size();
  const size_type removed = count < old - at ? count : old - at;
  const size_type tail = old - at - removed;
  if (text.size() > kSizeMax - (old - removed)) detail::throw_error(Errc::limit, "string", old);
  const size_type result = old - removed + text.size();
  if (result > capacity()) {  // both buffers live until `text` has been copied
    const size_type room = storage_capacity(result);
    char* const memory = new_storage(room);
    detail::log_write(this, sizeof(*this));
    const char* const from = characters();
    std::memcpy(memory, from, at);
    std::memcpy(memory + at, text.data(), text.size());
    std::memcpy(memory + at + text.size(), from + at + removed, tail);
    memory[result] = '\0';
    release();
    set_storage(memory, result, room);
    return *this;
  }
  char* const to = mutable_characters();
  const std::less<const char*> before;
  const bool own = !text.empty() && !before(text.data(), to) && before(text.data(), to + old + 1);
  const std::string copy = own ? std::string(text) : std::string();
  if (own) text = copy;
  log_range(to + at, (result == old ? text.size() : (result > old ? result : old) - at) + 1);
  if (result != old) detail::relocate(to + at + text.size(), to + at + removed, tail);
  if (!text.empty()) std::memcpy(to + at, text.data(), text.size());
  to[result] = '\0';
  set_size(result);
  return *this;
}

inline void string::shrink_to_fit() {
  if (!on_heap()) return;
  const size_type count = size();
  if (count > kInlineMax) {
    if (detail::allocation_bytes(this, count + 1) <= capacity()) move_to_storage(count);
    return;
  }
  detail::log_write(this, sizeof(*this));
  char* const memory = mutable_characters();
  const size_type room = capacity();
  words_[0] = words_[1] = words_[2] = 0;
  std::memcpy(words_, memory, count);
  words_[2] |= std::uint64_t{count} << kTagShift;
  detail::deallocate_array(memory, room + 1);
}

[[nodiscard]] inline std::string operator+(const string& left, std::string_view right) {
  return left.str().append(right);
}
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                             const string& text) {
  return out << text.view();
}

template <>
struct StorableTraits<string> {
  static constexpr TypeKind kind = TypeKind::string;
  static constexpr std::string_view name = "string";
  static constexpr std::uint32_t layout_version = 1;
};

}  // namespace dolmen

template <>
struct std::hash<dolmen::string> {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

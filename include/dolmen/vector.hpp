// SPDX-License-Identifier: Apache-2.0
//
// vector<T>: elements side by side in one allocation of the vector's home (an object or the heap).
// Reads like std::vector; begin(), end(), front() and data() are const even through mut. Writing is
// by name: `edit(i)`, `update(i, fn)`, `edit_all()`, `edit_span()`; a non-const `v[i]` logs the
// element.
//
// Stored form: location of the elements (8 bytes), size and capacity (4 each). Elements beyond the
// size are zero where T holds pointers. 16 bytes; growth by half.
//
// Addresses, iterators and references are valid within the section, until the vector moves its
// elements (growth, insert, erase, assignment), as std::vector's. A copy into another home is a
// deep one. Errors: AccessError (object_full, no_transaction, limit, out_of_bounds, …). In a
// transaction the abort restores everything; off the arena a failed call leaves a valid vector.
// Threads: as std::vector.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include <dolmen/detail/container_base.hpp>

namespace dolmen {

namespace detail {

/// Elements [first, first + count), each logged when it is reached: a range of mut<T>.
template <class T>
class EditRange {
 public:
  class Iterator {
   public:
    using value_type = mut<T>;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(T* at) noexcept : at_(at) {}
    mut<T> operator*() const {
      log_write(at_, sizeof(T));
      return Access::make_mut(at_);
    }
    Iterator& operator++() noexcept {
      ++at_;
      return *this;
    }
    Iterator operator++(int) noexcept { return Iterator(at_++); }
    friend bool operator==(Iterator, Iterator) noexcept = default;

   private:
    T* at_ = nullptr;
  };

  EditRange(T* first, std::size_t count) noexcept : first_(first), count_(count) {}
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(first_); }
  [[nodiscard]] Iterator end() const noexcept { return Iterator(first_ + count_); }

 private:
  T* first_;
  std::size_t count_;
};

}  // namespace detail

template <class T>
class vector {
 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using const_iterator = const T*;
  using iterator = const_iterator;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;
  using reverse_iterator = const_reverse_iterator;

  vector() = default;
  explicit vector(size_type count) : vector() { resize(count); }
  vector(size_type count, const T& value) : vector() { append_copies(count, value); }
  vector(std::initializer_list<T> values) : vector(values.begin(), values.end()) {}
  template <std::input_iterator It>
  vector(It first, It last) : vector() {
    append(first, last);
  }
  vector(const vector& other) : vector(other.begin(), other.end()) {}
  /// Takes the storage over inside one home, else copies.
  vector(vector&& other) : vector() {  // NOLINT(performance-noexcept-move-constructor)
    if (detail::Home(this) == detail::Home(&other)) {
      take(other);
    } else {
      append(other.begin(), other.end());
    }
  }
  vector& operator=(const vector& other) {
    if (this != &other) assign(other.begin(), other.end());
    return *this;
  }
  vector& operator=(vector&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this == &other) return *this;
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      release();
      take(other);
    } else {
      assign(other.begin(), other.end());
    }
    return *this;
  }
  vector& operator=(std::initializer_list<T> values) {
    assign(values.begin(), values.end());
    return *this;
  }
  ~vector() {
    if (!data_.is_null()) detail::quietly([this] { release(); });
  }

  // ---- Reading ----

  [[nodiscard]] size_type size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_type capacity() const noexcept { return capacity_; }
  [[nodiscard]] static constexpr size_type max_size() noexcept { return kCountMax; }
  [[nodiscard]] const T* data() const { return elements(); }
  [[nodiscard]] const_iterator begin() const { return elements(); }
  [[nodiscard]] const_iterator end() const { return elements() + size_; }
  [[nodiscard]] const_iterator cbegin() const { return begin(); }
  [[nodiscard]] const_iterator cend() const { return end(); }
  [[nodiscard]] const_reverse_iterator rbegin() const { return const_reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator rend() const { return const_reverse_iterator(begin()); }
  /// Throws AccessError out_of_bounds, in every build.
  [[nodiscard]] const T& operator[](size_type index) const { return *element(index); }
  [[nodiscard]] const T& at(size_type index) const { return *element(index); }
  [[nodiscard]] const T& front() const { return *element(0); }
  [[nodiscard]] const T& back() const { return *element(size_type{size_} - 1); }

  friend bool operator==(const vector& left, const vector& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end());
  }
  friend auto operator<=>(const vector& left, const vector& right)
    requires std::three_way_comparable<T>
  {
    return std::lexicographical_compare_three_way(left.begin(), left.end(), right.begin(),
                                                  right.end());
  }

  // ---- Writing elements ----

  /// Logs the element, as every access through a non-const vector's brackets does.
  [[nodiscard]] T& operator[](size_type index) { return *logged(index, 1); }
  [[nodiscard]] mut<T> edit(size_type index) { return detail::Access::make_mut(logged(index, 1)); }
  /// Calls fn(T&).
  template <class F>
  void update(size_type index, F&& fn) {
    std::forward<F>(fn)(*logged(index, 1));
  }
  /// A range of mut<T>; each element is logged when it is reached.
  [[nodiscard]] detail::EditRange<T> edit_all() { return detail::EditRange<T>(elements(), size_); }
  /// Elements [first, first + count), logged at once: for bulk changes.
  [[nodiscard]] std::span<T> edit_span(size_type first, size_type count) {
    return {logged(first, count), count};
  }
  [[nodiscard]] std::span<T> edit_span() { return edit_span(0, size_); }

  // ---- Writing the sequence ----

  void push_back(const T& value) { emplace_back(value); }
  void push_back(T&& value) { emplace_back(std::move(value)); }
  /// Returns the new element, which is logged.
  template <class... Args>
  T& emplace_back(Args&&... args) {
    check_storable<T>();
    if (size_ == capacity_) [[unlikely]] {
      return *grow_and_insert(size_, 1,
                              [&](T* at) { detail::construct(at, std::forward<Args>(args)...); });
    }
    T* const at = elements() + size_;
    detail::log_write(at, sizeof(T));
    detail::construct(at, std::forward<Args>(args)...);
    detail::put(size_, size_ + 1);
    return *at;
  }
  void pop_back() {
    check(size_type{size_} - 1);
    drop_tail(size_ - 1u);
  }
  const_iterator insert(const_iterator at, const T& value) { return emplace(at, value); }
  const_iterator insert(const_iterator at, T&& value) { return emplace(at, std::move(value)); }
  /// Requires: first … last lead into no element of this vector.
  template <std::input_iterator It>
  const_iterator insert(const_iterator at, It first, It last) {
    const size_type index = index_of(at);
    const size_type old = size_;
    append(first, last);
    rotate_tail(index, old);
    return begin() + index;
  }
  const_iterator insert(const_iterator at, std::initializer_list<T> values) {
    return insert(at, values.begin(), values.end());
  }
  template <class... Args>
  const_iterator emplace(const_iterator at, Args&&... args) {
    const size_type index = index_of(at);
    if (size_ == capacity_) {
      return grow_and_insert(index, 1,
                             [&](T* to) { detail::construct(to, std::forward<Args>(args)...); });
    }
    emplace_back(std::forward<Args>(args)...);
    rotate_tail(index, size_ - 1u);
    return begin() + index;
  }
  const_iterator erase(const_iterator at) { return erase(at, at + 1); }
  const_iterator erase(const_iterator first, const_iterator last) {
    const size_type index = index_of(first);
    const size_type count = static_cast<size_type>(last - first);
    if (count == 0) return first;
    check(index + count - 1);
    T* const at = elements() + index;
    const size_type tail = size_ - index - count;
    detail::destroy_array(at, count);
    detail::log_and_relocate(at, at + count, tail * sizeof(T));
    detail::wipe(at + tail, count);
    detail::put(size_, size_ - static_cast<std::uint32_t>(count));
    return begin() + index;
  }
  /// Removes the elements that satisfy `predicate`; returns their number.
  template <class Predicate>
  size_type remove_if(Predicate predicate) {
    const size_type old = size_;
    size_type kept = 0;
    size_type next = 0;
    auto close_gap = [&] {
      if (kept == next) return;
      T* const first = elements();
      detail::log_and_relocate(first + kept, first + next, (old - next) * sizeof(T));
      kept += old - next;
      detail::wipe(first + kept, old - kept);
      detail::put(size_, static_cast<std::uint32_t>(kept));
    };
    detail::Rollback rollback(close_gap);
    for (; next < old; ++next) {
      T* const at = elements() + next;
      if (predicate(std::as_const(*at))) {
        detail::destroy_array(at, 1);
      } else {
        if (kept != next) detail::log_and_relocate(elements() + kept, at, sizeof(T));
        ++kept;
      }
    }
    rollback.dismiss();
    close_gap();
    return old - size_;
  }
  /// Appends [first, last). Requires: it leads into no element of this vector, or there is room.
  template <std::input_iterator It>
  void append(It first, It last) {
    if constexpr (std::forward_iterator<It>) {
      const size_type count = static_cast<size_type>(std::distance(first, last));
      if (count == 0) return;
      reserve_more(count);
      extend(count, [&](T* at) { detail::construct(at, *first++); });
    } else {
      for (; first != last; ++first) emplace_back(*first);
    }
  }
  template <std::ranges::input_range R>
  void append_range(R&& range) {
    append(std::ranges::begin(range), std::ranges::end(range));
  }
  template <std::input_iterator It>
  void assign(It first, It last) {
    clear();
    append(first, last);
  }
  void assign(size_type count, const T& value) {
    const T copy(value);
    clear();
    append_copies(count, copy);
  }
  void assign(std::initializer_list<T> values) { assign(values.begin(), values.end()); }
  /// Keeps the capacity.
  void clear() {
    if (size_ != 0) drop_tail(0);
  }
  /// New elements are value-initialised.
  void resize(size_type count) {
    if (count < size_) return drop_tail(count);
    reserve_more(count - size_);
    extend(count - size_, [](T* at) { detail::construct(at); });
  }
  void resize(size_type count, const T& value) {
    if (count < size_) return drop_tail(count);
    append_copies(count - size_, value);
  }
  void reserve(size_type count) {
    if (count > kCountMax) detail::throw_error(Errc::limit, "vector", count);
    if (count > capacity_) move_to(full_capacity(count));
  }
  void shrink_to_fit() {
    if (data_.is_null() || full_capacity(size_) >= capacity_) return;
    if (size_ != 0) return move_to(full_capacity(size_));
    detail::log_write(this, sizeof(*this));
    release();
    data_.set(detail::Home(this), nullptr);
    capacity_ = 0;
  }
  void swap(vector& other) {
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      detail::log_write(&other, sizeof(other));
      data_.swap(other.data_);
      std::swap(size_, other.size_);
      std::swap(capacity_, other.capacity_);
    } else {
      const vector mine(*this);
      *this = other;
      other = mine;
    }
  }
  friend void swap(vector& left, vector& right) { left.swap(right); }

 private:
  static constexpr size_type kCountMax = 0xFFFFFFFFu;

  [[nodiscard]] T* elements() const { return data_.get(detail::Home(this)); }
  void check(size_type index) const {
    if (index >= size_) [[unlikely]]
      detail::throw_absent("vector", index);
  }
  [[nodiscard]] T* element(size_type index) const {
    check(index);
    return data_.must(detail::Home(this)) + index;
  }
  [[nodiscard]] T* logged(size_type first, size_type count) {
    check_storable<T>();
    if (first > size_ || count > size_ - first) [[unlikely]] {
      detail::throw_absent("vector", first);
    }
    T* const at = elements() + first;
    if (count != 0) detail::log_write(at, count * sizeof(T));
    return at;
  }
  [[nodiscard]] size_type index_of(const_iterator at) const {
    const size_type index = static_cast<size_type>(at - begin());
    if (index > size_) [[unlikely]]
      detail::throw_absent("vector", index);
    return index;
  }
  [[nodiscard]] size_type full_capacity(size_type count) const {
    const size_type room = detail::allocation_bytes(this, count * sizeof(T)) / sizeof(T);
    return std::clamp(room, count, kCountMax);
  }
  [[nodiscard]] size_type next_capacity(size_type more) const {
    return detail::grown_capacity(this, sizeof(T), capacity_, size_ + more, kCountMax, "vector");
  }
  void reserve_more(size_type count) {
    if (count > capacity_ - size_) move_to(next_capacity(count));
  }
  /// Requires: this vector holds no storage and is logged; same home.
  void take(vector& other) {
    detail::log_write(&other, sizeof(other));
    data_.take(other.data_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
  }
  void release() {
    if (data_.is_null()) return;
    detail::destroy_array(elements(), size_);
    detail::deallocate_array(elements(), capacity_);
  }
  /// Swaps the storage for `memory`, which holds `count` elements already.
  void set_storage(T* memory, size_type count, size_type room) {
    detail::log_write(this, sizeof(*this));
    T* const old = elements();
    const size_type old_room = capacity_;
    data_.set(detail::Home(this), memory);
    size_ = static_cast<std::uint32_t>(count);
    capacity_ = static_cast<std::uint32_t>(room);
    if (old != nullptr) detail::deallocate_array(old, old_room);
  }
  void move_to(size_type room) {
    check_storable<T>();
    T* const memory = detail::allocate_array<T>(this, room);
    detail::relocate(memory, elements(), size_ * sizeof(T));
    set_storage(memory, size_, room);
  }
  /// Constructs before the old elements move: arguments may refer to them.
  template <class Make>
  T* grow_and_insert(size_type index, size_type count, Make&& make) {
    const size_type room = next_capacity(count);
    T* const memory = detail::allocate_array<T>(this, room);
    detail::Rollback rollback([&] { detail::deallocate_array(memory, room); });
    for (size_type i = 0; i < count; ++i) make(memory + index + i);
    rollback.dismiss();
    const T* const from = elements();
    detail::relocate(memory, from, index * sizeof(T));
    detail::relocate(memory + index + count, from + index, (size_ - index) * sizeof(T));
    set_storage(memory, size_ + count, room);
    return memory + index;
  }
  /// Requires: room for `count` more.
  template <class Make>
  void extend(size_type count, Make&& make) {
    check_storable<T>();
    if (count == 0) return;
    T* const first = elements() + size_;
    detail::log_write(first, count * sizeof(T));
    size_type made = 0;
    detail::Rollback rollback([&] { detail::destroy_array(first, made); });
    for (; made < count; ++made) make(first + made);
    rollback.dismiss();
    detail::put(size_, size_ + static_cast<std::uint32_t>(count));
  }
  void append_copies(size_type count, const T& value) {
    if (count > size_type{capacity_} - size_) {
      grow_and_insert(size_, count, [&](T* at) { detail::construct(at, value); });
    } else {
      extend(count, [&](T* at) { detail::construct(at, value); });
    }
  }
  void drop_tail(size_type count) {
    const size_type dropped = size_ - count;
    T* const first = elements() + count;
    detail::destroy_array(first, dropped);
    detail::wipe(first, dropped);
    detail::put(size_, static_cast<std::uint32_t>(count));
  }
  /// Elements [middle, size) go before those at [index, middle).
  void rotate_tail(size_type index, size_type middle) {
    if (index == middle || middle == size_) return;
    T* const first = elements() + index;
    const size_type front_bytes = (middle - index) * sizeof(T);
    const size_type tail_bytes = (size_ - middle) * sizeof(T);
    detail::log_write(first, front_bytes + tail_bytes);
    const detail::ByteBuffer tail(elements() + middle, tail_bytes);
    std::byte* const to = static_cast<std::byte*>(static_cast<void*>(first));
    detail::relocate(to + tail_bytes, to, front_bytes);
    tail.copy_to(to);
  }

  detail::raw_ptr<T> data_;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
};

/// Removes the elements that satisfy `predicate`; returns their number.
template <class T, class Predicate>
std::size_t erase_if(vector<T>& from, Predicate predicate) {
  return from.remove_if(std::move(predicate));
}

template <class T>
struct StorableTraits<vector<T>> {
  static constexpr TypeKind kind = TypeKind::vector;
  static constexpr std::string_view name = "vector";
  using element = T;
  static constexpr std::uint32_t layout_version = 1;
};

}  // namespace dolmen

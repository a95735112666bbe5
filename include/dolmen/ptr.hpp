// SPDX-License-Identifier: Apache-2.0
//
// ptr<T>: 8 bytes that mean the same in every process, on every machine, after every restart, while
// they lie inside an object; always read access. link<T>: id and offset, valid anywhere for ever.
// mut<T>: the right to write one T, for the length of the transaction that gave it.
//
// A ptr copied out of an object (to the stack, into a heap container) is transient: it works within
// the section or view it was read in, and no longer. Copying it into an object makes it persistent
// again.
//
// Threads: values; two threads may not write one ptr at the same time.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dolmen/detail/ambient.hpp>
#include <dolmen/id.hpp>
#include <dolmen/reflect.hpp>

namespace dolmen {

template <class T>
class ptr;
template <class T>
class mut;
template <class T>
class link;

template <class T>
struct StorableTraits<ptr<T>> {
  static constexpr TypeKind kind = TypeKind::pointer;
  static constexpr std::string_view name = "ptr";
  using element = T;
};
template <class T>
struct StorableTraits<link<T>> {
  static constexpr TypeKind kind = TypeKind::link;
  static constexpr std::string_view name = "link";
  using element = T;
};

namespace detail {
struct Access;  // the library's own key to the private constructors below
}

template <class T>
class ptr {
 public:
  using element_type = T;

  constexpr ptr() noexcept = default;
  constexpr ptr(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor)
  ptr(const ptr& other) : bits_(detail::rebase(other.bits_, &other, detail::place(this))) {}
  ptr& operator=(const ptr& other) {
    bits_ = detail::rebase(other.bits_, &other, detail::place(this));
    return *this;
  }
  ptr& operator=(std::nullptr_t) noexcept {
    bits_ = 0;
    return *this;
  }
  ptr(const mut<T>& target);             // NOLINT(google-explicit-constructor)
  ptr& operator=(const mut<T>& target);  // persistent if this ptr lies in an object
  ~ptr() = default;

  /// Reads. Throws AccessError: null_pointer, not_named, deleted, corrupt; in checked builds also
  /// wrong_type, out_of_bounds, stale_pointer, wrong_space.
  /// Cost: inside one object a compare and an add; else three cached loads.
  [[gnu::always_inline]] const T* get() const { return bits_ == 0 ? nullptr : operator->(); }
  [[gnu::always_inline]] const T* operator->() const {
    return static_cast<const T*>(detail::resolve(bits_, this, &type_info<T>));
  }
  [[gnu::always_inline]] const T& operator*() const { return *operator->(); }
  explicit constexpr operator bool() const noexcept { return bits_ != 0; }

  /// Equal if both lead to the same offset of the same object (never a comparison of bits).
  friend bool operator==(const ptr& left, const ptr& right) {
    if (left.bits_ == 0 || right.bits_ == 0) return left.bits_ == right.bits_;
    return detail::target_of(left.bits_, &left) == detail::target_of(right.bits_, &right);
  }
  friend bool operator==(const ptr& left, std::nullptr_t) noexcept { return left.bits_ == 0; }
  friend std::strong_ordering operator<=>(const ptr& left, const ptr& right) {
    return detail::target_of(left.bits_, &left) <=> detail::target_of(right.bits_, &right);
  }

 private:
  friend struct detail::Access;
  std::uint64_t bits_ = 0;
};

/// Object id and offset: means the same anywhere, for ever; costs a look-up to follow.
template <class T>
class link {
 public:
  using element_type = T;

  constexpr link() noexcept = default;
  constexpr link(ObjectId object, std::uint64_t offset) noexcept
      : object_(object), offset_(offset) {}
  link(const ptr<T>& target);  // NOLINT(google-explicit-constructor)
  link(const mut<T>& target);  // NOLINT(google-explicit-constructor)

  [[nodiscard]] constexpr ObjectId object() const noexcept { return object_; }
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept { return offset_; }
  explicit constexpr operator bool() const noexcept { return !object_.is_null(); }
  friend constexpr auto operator<=>(const link&, const link&) = default;

 private:
  ObjectId object_{};
  std::uint64_t offset_ = 0;
};

/// Write access to one T inside the ambient transaction. Made by transact(), edit() and make(); the
/// T's pre-image is kept once. Do not keep it beyond the transaction.
template <class T>
class mut {
 public:
  using element_type = T;

  [[nodiscard]] T* get() const noexcept { return address_; }
  T* operator->() const noexcept { return address_; }
  T& operator*() const noexcept { return *address_; }
  explicit operator bool() const noexcept { return address_ != nullptr; }
  friend bool operator==(const mut& left, const mut& right) noexcept = default;

 private:
  friend struct detail::Access;
  explicit mut(T* address) noexcept : address_(address) {}
  T* address_ = nullptr;
};

namespace detail {

/// The largest T whose pre-image mut<T> keeps whole; of a larger one the parts are edited.
inline constexpr std::size_t kMutBytesMax = 4096;

template <class T>
constexpr void check_editable_whole() {
  static_assert(
      sizeof(T) <= kMutBytesMax,
      "dolmen: mut<T> keeps a copy of T, of at most 4 KiB: take a larger T as ref<T>, and "
      "edit() its parts");
}

struct Access {
  template <class T>
  static std::uint64_t bits(const ptr<T>& p) noexcept {
    return p.bits_;
  }
  template <class T>
  static void set_bits(ptr<T>& p, std::uint64_t bits) noexcept {
    p.bits_ = bits;
  }
  template <class T>
  static mut<T> make_mut(T* address) noexcept {
    return mut<T>(address);
  }
};

}  // namespace detail

template <class T>
ptr<T>::ptr(const mut<T>& target)
    : bits_(detail::encode_address(target.get(), detail::place(this))) {}
template <class T>
ptr<T>& ptr<T>::operator=(const mut<T>& target) {
  bits_ = detail::encode_address(target.get(), detail::place(this));
  return *this;
}

/// A transient or stored pointer to a T that lies in an object, from a reference obtained by
/// reading.
template <class T>
[[nodiscard]] ptr<T> ptr_to(const T& target) {
  ptr<T> result;
  detail::Access::set_bits(result, detail::encode_address(&target, detail::place(&result)));
  return result;
}

template <class T>
link<T>::link(const ptr<T>& target) {
  const detail::Target where = detail::target_of(detail::Access::bits(target), &target);
  object_ = where.object;
  offset_ = where.offset;
}
template <class T>
link<T>::link(const mut<T>& target) : link(ptr<T>(target)) {}

/// Write access to what `target` points to. In `transact(any, …)` this takes the object's lock; in
/// `transact(objects…)` the object must be named. Throws AccessError: null_pointer, not_named,
/// no_transaction, read_only.
template <class T>
[[nodiscard]] mut<T> edit(const ptr<T>& target) {
  check_storable<T>();
  detail::check_editable_whole<T>();
  T* address = const_cast<T*>(target.operator->());
  detail::open_for_edit(address, sizeof(T));
  return detail::Access::make_mut(address);
}
/// The same for a T inside an object that was reached by reading; edit<ptr<U>>(place) for a ptr
/// that is itself to lead elsewhere.
template <class T>
[[nodiscard]] mut<T> edit(const T& target) {
  check_storable<T>();
  detail::check_editable_whole<T>();
  T* address = const_cast<T*>(&target);
  detail::open_for_edit(address, sizeof(T));
  return detail::Access::make_mut(address);
}

// An aggregate may be made from its first fields alone; the others get their defaults.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
/// A new T in the object that holds `*where`. Throws AccessError: object_full, no_transaction.
template <class T, class Where, class... Args>
[[nodiscard]] mut<T> make(const mut<Where>& where, Args&&... args) {
  check_storable<T>();
  void* memory = detail::allocate(where.get(), &type_info<T>, sizeof(T), 1);
  if constexpr (std::is_aggregate_v<T>) {
    return detail::Access::make_mut(::new (memory) T{std::forward<Args>(args)...});
  } else {
    return detail::Access::make_mut(::new (memory) T(std::forward<Args>(args)...));
  }
}
#pragma GCC diagnostic pop

/// Destroys a T made by make() and frees its memory; pointers to it dangle.
template <class T>
void destroy(const mut<T>& target) {
  target.get()->~T();
  detail::deallocate(target.get(), sizeof(T));
}

}  // namespace dolmen

template <class T>
struct std::hash<dolmen::ptr<T>> {
  std::size_t operator()(const dolmen::ptr<T>& p) const {
    const auto where = dolmen::detail::target_of(dolmen::detail::Access::bits(p), &p);
    return std::hash<dolmen::ObjectId>{}(where.object) ^
           static_cast<std::size_t>(where.offset * 0x9E3779B97F4A7C15ull);
  }
};

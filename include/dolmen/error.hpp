// SPDX-License-Identifier: Apache-2.0
//
// Errors as values. Every operation that can fail for a reason outside the caller's control returns
// `Result<T>`; the sentence for a person is made at the edge by `Error::message()`.
//
// Thread contract: everything here is a value or constant data; safe from any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dolmen {

/// What may be done after an error.
enum class Retry : std::uint8_t {
  never,  ///< the same call fails again until something else changes
  safe,   ///< nothing happened; the same call may be made again
  /// The effect may or may not have happened; ask before repeating: of calls of a group and a
  /// cluster outcome() says which (replicated.hpp).
  unknown_outcome,
};

// One row per code: name, never-reused number, retry class, sentence with the remedy. A code exists
// only if some caller can react to it in its own way.
// clang-format off
#define DOLMEN_ERROR_TABLE(X)                                                                        \
  X(invalid_argument, 1, never, "an argument is outside what the call accepts")                      \
  X(not_found, 2, never, "no such name, object or file")                                             \
  X(already_exists, 3, never, "it exists already; open it, or choose another name")                  \
  X(not_a_space, 4, never, "this directory holds no dolmen space; make one with `dolmen init`")      \
  X(version_unsupported, 5, never, "the format is newer than this library; use a newer dolmen")      \
  X(corrupt, 6, never, "stored bytes fail their checksum; run `dolmen scrub` to see which")          \
  X(io_error, 7, never, "the operating system reported an input/output error")                       \
  X(no_space, 8, safe, "no space left on the device; free some and repeat, nothing was applied")     \
  X(store_failed, 9, unknown_outcome, "a write or sync failed earlier; close and reopen the space")  \
  X(held, 10, safe, "another process holds the space for writing")                                   \
  X(read_only, 11, never, "the space was opened read-only")                                          \
  X(object_full, 12, never, "the object has no room left; create it larger or resize() it")          \
  X(fot_full, 13, never, "the object references too many other objects")                             \
  X(too_large, 14, never, "the transaction exceeds max_transaction_bytes; commit in smaller parts")  \
  X(not_named, 15, never, "a pointer led to an object outside the scope; name it in the call")       \
  X(no_transaction, 16, never, "no transaction on this thread; mutate inside transact()")            \
  X(nested, 17, never, "the inner transaction names objects that the outer one does not hold")       \
  X(would_deadlock, 18, never, "a transaction inside a read section could wait for itself")          \
  X(conflict, 19, safe, "another transaction holds an object; repeat")                               \
  X(null_pointer, 20, never, "a null pointer was dereferenced")                                      \
  X(deleted, 21, never, "the pointer's target object was deleted")                                   \
  X(wrong_type, 22, never, "the target holds another type than the pointer names")                   \
  X(out_of_bounds, 23, never, "the offset lies outside every allocation of the target")              \
  X(stale_pointer, 24, never, "a pointer copy outlived its section; keep a link<T> instead")         \
  X(wrong_space, 25, never, "the pointer belongs to another space or view")                          \
  X(outside_arena, 26, never, "an address outside every object cannot be stored")                    \
  X(layout_changed, 27, never, "the program's struct differs from the stored one")                   \
  X(unlogged_store, 28, never, "memory changed without mut<T>; write through mut or a container")    \
  X(forked, 29, never, "a child of fork() cannot use spaces; let it exec() before it opens one")             \
  X(unsupported, 30, never, "this machine or build does not offer that")                             \
  X(out_of_memory, 31, safe, "the system refused memory or address space")                           \
  X(closed, 32, never, "the space is closed")                                                        \
  X(aborted, 33, never, "it was given up, and will not be done")                                     \
  X(limit, 34, never, "a fixed limit was reached")                                                   \
  X(unfinished, 35, never, "a load into this directory was cut short; run `dolmen load` again") \
  X(busy, 36, safe, "too much is queued for that node; let it drain and repeat")                     \
  X(not_connected, 37, safe, "no connection to that life of the node; wait until there is one")      \
  X(connection_lost, 38, unknown_outcome, "the connection ended with work under way; ask before repeating") \
  X(superseded, 39, never, "a newer life of the node has taken its place; end this one")             \
  X(not_authentic, 40, never, "the other side does not hold this cluster's key; give both the same") \
  X(no_right, 41, never, "no such right was granted; ask whoever owns what it is about")              \
  X(timed_out, 42, unknown_outcome, "the other side did not answer in time; ask before repeating")
// clang-format on

/// Error codes. Numbers are stable across versions: they are stored and travel between programs.
enum class Errc : std::uint16_t {
#define DOLMEN_ERROR_ENUM(name, number, retry, sentence) name = number,
  DOLMEN_ERROR_TABLE(DOLMEN_ERROR_ENUM)
#undef DOLMEN_ERROR_ENUM
};

struct ErrorRow {
  Errc code;
  std::string_view name;
  Retry retry;
  std::string_view sentence;
};

inline constexpr ErrorRow kErrorTable[] = {
#define DOLMEN_ERROR_ROW(name, number, retry, sentence) \
  ErrorRow{Errc::name, #name, Retry::retry, sentence},
    DOLMEN_ERROR_TABLE(DOLMEN_ERROR_ROW)
#undef DOLMEN_ERROR_ROW
};

constexpr const ErrorRow& error_row(Errc code) noexcept {
  for (const ErrorRow& row : kErrorTable) {
    if (row.code == code) return row;
  }
  return kErrorTable[0];
}

/// One failure: code, place, what it was about, and a number (an errno, an object offset, an
/// index). Trivially copyable, no allocation; `context` points to a string that lives as long as
/// the process.
class [[nodiscard]] Error {
 public:
  constexpr explicit Error(Errc code, const char* context = "", std::uint64_t detail = 0,
                           std::source_location where = std::source_location::current()) noexcept
      : file_(where.file_name()),
        context_(context),
        detail_(detail),
        line_(where.line()),
        code_(code) {}

  [[nodiscard]] constexpr Errc code() const noexcept { return code_; }
  [[nodiscard]] constexpr Retry retry() const noexcept { return error_row(code_).retry; }
  [[nodiscard]] constexpr std::string_view name() const noexcept { return error_row(code_).name; }
  [[nodiscard]] constexpr std::string_view context() const noexcept { return context_; }
  /// Of `busy` that a group or a cluster says: milliseconds after which to come again; 0: unknown.
  [[nodiscard]] constexpr std::uint64_t detail() const noexcept { return detail_; }
  [[nodiscard]] constexpr const char* file() const noexcept { return file_; }
  [[nodiscard]] constexpr std::uint32_t line() const noexcept { return line_; }

  /// "not_named: Page::next — a pointer led to …": name, context, sentence with the remedy, detail.
  [[nodiscard]] std::string message() const;

 private:
  const char* file_;
  const char* context_;
  std::uint64_t detail_;
  std::uint32_t line_;
  Errc code_;
};
static_assert(sizeof(Error) == 32 && std::is_trivially_copyable_v<Error>,
              "errors are returned on hot paths and copied into messages");

template <class T = void>
using Result = std::expected<T, Error>;

/// A failed Result, with the place of the call: `return fail(Errc::no_space, "log segment");`
[[nodiscard]] constexpr std::unexpected<Error> fail(
    Errc code, const char* context = "", std::uint64_t detail = 0,
    std::source_location where = std::source_location::current()) noexcept {
  return std::unexpected<Error>(Error(code, context, detail, where));
}

/// A copy of `text` that lives as long as the process, for error contexts made at run time.
/// Equal texts share one copy. Error paths only: takes a lock and may allocate.
[[nodiscard]] const char* interned(std::string_view text);

/// Thrown by checked access (a pointer's dereference, a container's method) inside a section, which
/// turns it into its `Result`; seen by callers only for access through a `View`.
class AccessError {
 public:
  explicit AccessError(Error error) noexcept : error_(error) {}
  [[nodiscard]] const Error& error() const noexcept { return error_; }
  [[nodiscard]] std::string message() const { return error_.message(); }

 private:
  Error error_;
};

}  // namespace dolmen

#define DOLMEN_CONCAT_INNER(a, b) a##b
#define DOLMEN_CONCAT(a, b) DOLMEN_CONCAT_INNER(a, b)

/// `DOLMEN_TRY(auto x, expr);` declares x from a Result or returns its error.
#define DOLMEN_TRY(declaration, ...) \
  DOLMEN_TRY_INNER(declaration, DOLMEN_CONCAT(dolmen_try_, __LINE__), __VA_ARGS__)
#define DOLMEN_TRY_INNER(declaration, temporary, ...)                         \
  auto temporary = (__VA_ARGS__);                                             \
  if (!temporary) return std::unexpected<::dolmen::Error>(temporary.error()); \
  declaration = std::move(*temporary)

/// `DOLMEN_CHECK(expr);` returns the error of a Result<void>, or goes on.
#define DOLMEN_CHECK(...)                                                              \
  do {                                                                                 \
    auto dolmen_check_result = (__VA_ARGS__);                                          \
    if (!dolmen_check_result)                                                          \
      return std::unexpected<::dolmen::Error>(std::move(dolmen_check_result).error()); \
  } while (false)

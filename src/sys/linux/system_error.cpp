// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/system_error.hpp"

#include <cerrno>
#include <string>
#include <system_error>

namespace dolmen::sys {
namespace {

Errc code_of(int number) noexcept {
  switch (number) {
    case ENOSPC:
    case EDQUOT:
      return Errc::no_space;
    case ENOENT:
      return Errc::not_found;
    case EEXIST:
      return Errc::already_exists;
    case EROFS:
      return Errc::read_only;
    case ENOMEM:
    case ENOBUFS:
      return Errc::out_of_memory;
    default:
      return Errc::io_error;
  }
}

}  // namespace

std::unexpected<Error> system_failure(int number, std::string_view about,
                                      std::source_location where) {
  return system_failure_as(code_of(number), number, about, where);
}

std::unexpected<Error> system_failure_as(Errc code, int number, std::string_view about,
                                         std::source_location where) {
  std::string text(about);
  text += ": ";
  text += std::generic_category().message(number);
  return fail(code, interned(text), static_cast<std::uint64_t>(number), where);
}

}  // namespace dolmen::sys

// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <dolmen/error.hpp>

#include "base/mutex.hpp"

namespace dolmen {

std::string Error::message() const {
  const ErrorRow& row = error_row(code_);
  std::string text(row.name);
  if (*context_ != '\0') {
    text += ": ";
    text += context_;
  }
  text += " - ";
  text += row.sentence;
  if (detail_ != 0) {
    text += " [";
    text += std::to_string(detail_);
    text += "]";
  }
  return text;
}

const char* interned(std::string_view text) {
  static base::Mutex mutex;
  static std::set<std::string, std::less<>> texts DOLMEN_GUARDED_BY(mutex);
  const base::Lock lock(mutex);
  const auto found = texts.find(text);
  return (found != texts.end() ? found : texts.emplace(text).first)->c_str();
}

}  // namespace dolmen

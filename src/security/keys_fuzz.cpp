// SPDX-License-Identifier: Apache-2.0
//
// Whatever stands in a key file, a trust file (also one that its owner signed) or a token. The
// first byte says which. What is taken is what would be written.
#include <cstdint>
#include <string>
#include <string_view>

#include <dolmen/assert.hpp>

#include "security/test_cluster.hpp"
#include "security/text.hpp"
#include "security/token.hpp"

namespace {

void read_trust(std::string_view text) {
  using namespace dolmen::security;
  static const TestCluster cluster;
  const auto as_it_is = Trust::parse(text, cluster.id, cluster.owner.public_key());
  // With a head and a signature that fit.
  std::string whole = "dolmen trust 1\ncluster " + to_hex(cluster.id.bytes) + "\nowner " +
                      to_hex(cluster.owner.public_key().bytes) + "\n";
  whole += text;
  const Signature signature = cluster.owner.sign(dolmen::base::as_bytes(whole));
  whole += "signature " + to_hex(signature.bytes) + "\n";
  auto trust = Trust::parse(whole, cluster.id, cluster.owner.public_key());
  if (!trust || trust->serial() == 0) return;
  // The same entries, signed as the next file, are read again.
  if (trust->serial() == ~std::uint64_t{0}) return;
  const auto next = trust->sign(cluster.owner);
  DOLMEN_ASSERT(next.has_value());
  const auto again = Trust::parse(*next, cluster.id, cluster.owner.public_key());
  DOLMEN_ASSERT(again && again->entries().size() == trust->entries().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dolmen::security;
  if (size == 0 || !prepare()) return 0;
  const std::string text(data + 1, data + size);
  switch (data[0] % 3) {
    case 0:
      if (const auto key = Key::parse(text)) DOLMEN_ASSERT(key->text() == text);
      break;
    case 1:
      read_trust(text);
      break;
    default:
      if (const auto token = JoinToken::parse(text)) DOLMEN_ASSERT(token->text() == text);
      break;
  }
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// A cluster with known keys, for tests and fuzzers.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <dolmen/assert.hpp>

#include "security/handshake.hpp"
#include "security/keys.hpp"
#include "security/trust.hpp"

namespace dolmen::security {

inline Secret filled_secret(unsigned char with) {
  std::array<std::byte, 32> bytes{};
  bytes.fill(std::byte{with});
  return Secret(bytes);
}

/// Nodes 1 and 2 and client 1, all trusted; the seed of each is its number, 0x10 higher for
/// clients.
struct TestCluster {
  ClusterId id;
  Key owner;
  Trust trust;

  explicit TestCluster(unsigned char number = 0xC1)
      : id(id_of(number)),
        owner(Key::make_owner(id, "owner", filled_secret(number)).value()),
        trust(id, owner.public_key()) {
    add(node(1));
    add(node(2));
    add(client(1));
  }
  static ClusterId id_of(unsigned char number) {
    ClusterId id;
    id.bytes.fill(std::byte{number});
    return id;
  }
  [[nodiscard]] Key key(const Identity& identity, unsigned char seed) const {
    const std::string name(name_of(identity.role));
    return Key::make(id, owner.public_key(), identity, name + std::to_string(identity.number),
                     filled_secret(seed))
        .value();
  }
  [[nodiscard]] Key node(unsigned char number) const { return key({Role::node, number}, number); }
  [[nodiscard]] Key client(unsigned char number) const {
    return key({Role::client, number}, static_cast<unsigned char>(number + 0x10));
  }
  void add(const Key& key) {
    DOLMEN_ASSERT(trust.add(key.identity(), key.name(), key.public_key()).has_value());
  }
  [[nodiscard]] LinkSelf self(Key key) const {
    return {std::make_shared<const Key>(std::move(key)), std::make_shared<const Trust>(trust)};
  }
};

inline Payload filled_payload(unsigned char with) {
  Payload payload{};
  payload.fill(std::byte{with});
  return payload;
}

}  // namespace dolmen::security

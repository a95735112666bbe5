// SPDX-License-Identifier: Apache-2.0
#include "fabric/tcp_format.hpp"

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

/// "DLMF"
constexpr std::uint32_t kMagic = 0x464D4C44;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "bytes from another node"); }

template <std::size_t N>
class Fixed {
 public:
  template <class T>
  Fixed& put(T value) noexcept {
    base::store(bytes_, used_, value);
    used_ += sizeof value;
    return *this;
  }
  [[nodiscard]] std::array<std::byte, N> finish() const noexcept {
    DOLMEN_ASSERT_CMP(used_, ==, N);
    return bytes_;
  }

 private:
  std::array<std::byte, N> bytes_{};
  std::size_t used_ = 0;
};

NodeName get_name(base::ByteReader& in) noexcept {
  NodeName name;
  name.node = static_cast<NodeId>(in.get<std::uint64_t>());
  name.incarnation = in.get<std::uint64_t>();
  if (name.node == NodeId::nobody) in.fail();
  return name;
}

}  // namespace

std::array<std::byte, kGreetingBytes> encode(const Greeting& greeting) noexcept {
  return Fixed<kGreetingBytes>()
      .put(kMagic)
      .put(kTcpVersion)
      .put(static_cast<std::uint8_t>(greeting.kind))
      .put(greeting.body_bytes)
      .finish();
}

Result<Greeting> decode_greeting(Bytes bytes) {
  base::ByteReader in(bytes);
  if (in.get<std::uint32_t>() != kMagic) {
    return fail(Errc::corrupt, "what connects is no dolmen node");
  }
  const auto version = in.get<std::uint8_t>();
  const auto kind = in.get<std::uint8_t>();
  Greeting greeting{.kind = static_cast<GreetingKind>(kind), .body_bytes = in.get<std::uint16_t>()};
  if (in.failed()) return damaged();
  // A refusal of another version is understood: it is how the versions find out.
  if (version != kTcpVersion && greeting.kind != GreetingKind::refusal) {
    return fail(Errc::version_unsupported, "the other node's protocol", version);
  }
  switch (greeting.kind) {
    case GreetingKind::hello:
    case GreetingKind::answer:
    case GreetingKind::refusal:
    case GreetingKind::link_hello:
    case GreetingKind::link_answer:
    case GreetingKind::link_proof:
    case GreetingKind::link_verdict:
      return greeting;
  }
  return damaged();
}

std::array<std::byte, kHelloBytes> encode(const Hello& hello) noexcept {
  return Fixed<kHelloBytes>()
      .put(hello.self.node)
      .put(hello.self.incarnation)
      .put(hello.target)
      .finish();
}

Result<Hello> decode_hello(Bytes bytes) {
  base::ByteReader in(bytes);
  Hello hello;
  hello.self = get_name(in);
  hello.target = static_cast<NodeId>(in.get<std::uint64_t>());
  if (!in.finished()) return damaged();
  return hello;
}

std::array<std::byte, kAnswerBytes> encode(const Answer& answer) noexcept {
  return Fixed<kAnswerBytes>()
      .put(answer.self.node)
      .put(answer.self.incarnation)
      .put(answer.refused)
      .put(std::uint16_t{0})
      .put(std::uint32_t{0})
      .finish();
}

Result<Answer> decode_answer(Bytes bytes) {
  base::ByteReader in(bytes);
  Answer answer;
  answer.self = get_name(in);
  const auto refused = in.get<std::uint16_t>();
  const bool spare = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  if (!in.finished() || spare) return damaged();
  answer.refused = static_cast<Errc>(refused);
  if (refused != 0 && refusal_error(answer.refused).code() == Errc::corrupt) return damaged();
  return answer;
}

std::array<std::byte, kRefusalBytes> encode_refusal(Errc why) noexcept {
  return Fixed<kRefusalBytes>().put(why).put(static_cast<std::uint16_t>(kTcpVersion)).finish();
}

Error decode_refusal(Bytes bytes) {
  base::ByteReader in(bytes);
  const auto why = static_cast<Errc>(in.get<std::uint16_t>());
  const auto version = in.get<std::uint16_t>();
  if (!in.finished()) return damaged().error();
  switch (why) {
    case Errc::version_unsupported:
      return Error(why, "the other node refuses this one's protocol; its own is in brackets",
                   version);
    case Errc::not_authentic:
      return Error(why, "the other node refuses this one's key");
    default:
      return damaged().error();
  }
}

std::array<std::byte, kVerdictBytes> encode_verdict(Errc refused) noexcept {
  return Fixed<kVerdictBytes>().put(refused).put(std::uint16_t{0}).put(std::uint32_t{0}).finish();
}

Result<Errc> decode_verdict(Bytes bytes) {
  base::ByteReader in(bytes);
  const auto refused = static_cast<Errc>(in.get<std::uint16_t>());
  const bool spare = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  if (!in.finished() || spare) return damaged();
  if (refused != Errc{} && refusal_error(refused).code() == Errc::corrupt) return damaged();
  return refused;
}

security::Payload encode_name(const NodeName& name) noexcept {
  return Fixed<security::kPayloadBytes>().put(name.node).put(name.incarnation).finish();
}

Result<NodeName> decode_name(Bytes bytes) {
  base::ByteReader in(bytes);
  const NodeName name = get_name(in);
  if (!in.finished()) return damaged();
  return name;
}

Error refusal_error(Errc code) {
  switch (code) {
    case Errc::superseded:
      return Error(code, "the other node knows a newer life of this one");
    case Errc::limit:
      return Error(code, "the other node has as many connections as it takes");
    case Errc::already_exists:
      return Error(code, "the other node has this one's name");
    case Errc::invalid_argument:
      return Error(code, "another node answers at the address of the one that is meant");
    case Errc::unsupported:
      return Error(code,
                   "one side says that the fabric between them is trusted, and the other does not");
    default:
      return damaged().error();
  }
}

std::array<std::byte, kUnitHeaderBytes> encode(const UnitHeader& header) noexcept {
  return Fixed<kUnitHeaderBytes>()
      .put(header.body_bytes)
      .put(static_cast<std::uint8_t>(header.kind))
      .put(header.detail)
      .put(header.number)
      .finish();
}

Result<UnitHeader> decode_unit_header(Bytes bytes) {
  base::ByteReader in(bytes);
  UnitHeader header;
  header.body_bytes = in.get<std::uint32_t>();
  header.kind = static_cast<UnitKind>(in.get<std::uint8_t>());
  header.detail = in.get<std::uint8_t>();
  header.number = in.get<std::uint16_t>();
  if (in.failed()) return damaged();
  std::size_t least = 0;
  std::size_t most = 0;
  std::uint8_t detail_max = 0;
  bool has_number = true;
  switch (header.kind) {
    case UnitKind::ready:
      has_number = false;
      break;
    case UnitKind::message:
      has_number = false;
      most = kTcpBytesMax;
      break;
    case UnitKind::write:
      least = kRequestHeadBytes;
      most = kRequestHeadBytes + kTcpBytesMax;
      detail_max = 1;
      break;
    case UnitKind::read:
      least = most = kRequestHeadBytes;
      break;
    case UnitKind::swap:
      least = most = kRequestHeadBytes + 16;
      break;
    case UnitKind::fetch_add:
      least = most = kRequestHeadBytes + 8;
      break;
    case UnitKind::done:
      most = kTcpBytesMax;
      detail_max = static_cast<std::uint8_t>(Status::out_of_bounds);
      break;
    default:
      return damaged();
  }
  if (header.body_bytes < least || header.body_bytes > most) return damaged();
  if (header.detail > detail_max || (!has_number && header.number != 0)) return damaged();
  return header;
}

std::array<std::byte, kRequestHeadBytes> encode(const RequestHead& head) noexcept {
  return Fixed<kRequestHeadBytes>().put(head.offset).put(head.region).put(head.count).finish();
}

Result<RequestHead> decode_request_head(UnitKind kind, Bytes body) {
  base::ByteReader in(body);
  RequestHead head;
  head.offset = in.get<std::uint64_t>();
  head.region = static_cast<RegionId>(in.get<std::uint32_t>());
  head.count = in.get<std::uint32_t>();
  if (in.failed()) return damaged();
  if (kind == UnitKind::read) {
    if (head.count > kTcpBytesMax) return damaged();
  } else if (head.count != 0) {
    return damaged();
  }
  const bool is_word = kind == UnitKind::swap || kind == UnitKind::fetch_add;
  if (is_word && head.offset % 8 != 0) return damaged();
  return head;
}

}  // namespace dolmen::fabric

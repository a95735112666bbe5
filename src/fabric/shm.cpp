// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm.hpp"

#include <algorithm>
#include <bit>

#include "fabric/shm_endpoint.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric {
namespace shm {
namespace {

// The system is asked for notices (a quarter of a microsecond) once in so many polls (some ten
// nanoseconds each when nothing happens), and in every wait().
constexpr std::uint64_t kNoticePolls = 128;
// Looks while spinning between two looks at the clock; and those between two at the notices.
constexpr int kSpinsPerLook = 64;
constexpr std::uint64_t kLooksPerNotice = 8;
// What one peer may keep poll() busy with, so that the others get their turn.
constexpr std::size_t kFramesPerTurn = 64;

void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void Door::nudge() noexcept {
  const auto waiting = word_at<std::uint32_t>(header_->memory(), kNodeWaitingAt);
  if (waiting.load(std::memory_order_seq_cst) != 0 &&
      waiting.exchange(0, std::memory_order_seq_cst) != 0) {
    bell_->ring();
  }
}

void Door::knock() noexcept {
  word_at<std::uint64_t>(header_->memory(), kNodeKnocksAt).fetch_add(1, std::memory_order_seq_cst);
  nudge();
}

bool Door::has_left() const noexcept {
  return word_at<std::uint32_t>(header_->memory(), kNodeLeftAt).load(std::memory_order_acquire) !=
         0;
}

bool Door::is_ending() const noexcept {
  const auto life = word_at<std::uint32_t>(header_->memory(), kNodeLifeAt);
  return (life.load(std::memory_order_acquire) & sys::kLifeEnded) != 0;
}

bool Door::surely_lives() const noexcept {
  const auto life = word_at<std::uint32_t>(header_->memory(), kNodeLifeAt);
  return life.load(std::memory_order_acquire) != 0 && !is_ending() && !has_left();
}

void Door::supersede(std::uint64_t incarnation) noexcept {
  word_at<std::uint64_t>(header_->memory(), kNodeLaterAt)
      .store(incarnation, std::memory_order_seq_cst);
  knock();
}

ShmEndpoint::ShmEndpoint(const sys::Env& env, std::unique_ptr<sys::SharedDirectory> directory,
                         const ShmOptions& options, std::unique_ptr<sys::OwnBell> bell,
                         std::unique_ptr<sys::OwnObject> header,
                         std::unique_ptr<sys::LifeMark> life)
    : env_(env),
      directory_(std::move(directory)),
      options_(options),
      bell_(std::move(bell)),
      header_(std::move(header)),
      life_(std::move(life)),
      pid_(env.process->pid()) {
  traits_.passive_target = true;
  traits_.mapped = true;
  traits_.atomic_with_cpu = true;
  traits_.level_max = Level::placed;
  traits_.message_bytes_max = options_.message_bytes_max;
  traits_.operation_bytes_max = kRegionBytesMax;
}

void ShmEndpoint::leave() noexcept {
  if (is_of_another_process()) return;
  word_at<std::uint32_t>(header_->memory(), kNodeLeftAt).store(1, std::memory_order_seq_cst);
}

ShmEndpoint::~ShmEndpoint() {
  if (is_of_another_process()) return;
  leave();
  life_.reset();
  header_->withdraw();
  for (const auto& peer : peers_) {
    if (peer->link != nullptr) peer->link->close(superseded_ ? Errc::superseded : Errc::closed);
    peer->door.knock();
  }
}

// --- Messages. ---

std::optional<NodeName> ShmEndpoint::connected(NodeId node) const noexcept {
  const Peer* const peer = find(node);
  if (peer == nullptr || !peer->connected) return std::nullopt;
  return peer->card.name;
}

Result<void> ShmEndpoint::send(const NodeName& to, std::span<const Bytes> parts) {
  Peer* const peer = find_connected(to);
  if (peer == nullptr) return fail(Errc::not_connected, "a message");
  const auto sent = peer->link->send(parts);
  if (!sent) {
    if (sent.error().code() != Errc::corrupt) return std::unexpected(sent.error());
    peer->closing = Errc::corrupt;
    return fail(Errc::not_connected, "a message");
  }
  // Rung once for all that is sent until then: to wake a sleeper costs more than most messages.
  peer->rings = peer->rings || *sent;
  rings_ = rings_ || *sent;
  return {};
}

void ShmEndpoint::ring() noexcept {
  if (!std::exchange(rings_, false)) return;
  for (const auto& peer : peers_) {
    if (std::exchange(peer->rings, false)) peer->door.nudge();
  }
}

void ShmEndpoint::disconnect(NodeId node) noexcept {
  Peer* const peer = find(node);
  if (peer != nullptr && peer->link != nullptr && !peer->closing) peer->closing = Errc::closed;
}

bool ShmEndpoint::lives(const NodeName& target) const noexcept {
  // Behind the loads of what it is asked about.
  std::atomic_thread_fence(std::memory_order_acquire);
  const Peer* const peer = find_connected(target);
  if (peer == nullptr || peer->ended) return false;
  if (options_.by_introduction) return peer->door.surely_lives();
  return !peer->door.is_ending() && !peer->door.has_left();
}

// --- Progress. ---

Result<bool> ShmEndpoint::poll(Sink& sink) {
  ring();
  if (++polls_ % kNoticePolls == 0) DOLMEN_CHECK(hear_notices(0));
  bool did = false;
  for (const std::uint64_t token : std::exchange(ended_, {})) {
    for (const auto& peer : peers_) peer->ended = peer->ended || peer->token == token;
    did = true;
  }
  did = report_completions(sink) || did;
  // By index: a call of the sink may come back for anything but poll(), but adds no peer.
  for (std::size_t i = 0; i < peers_.size(); ++i) did = advance(*peers_[i], sink) || did;
  std::erase_if(peers_, [&](const std::unique_ptr<Peer>& peer) {
    if (!peer->dropped) return false;
    look_ = look_ || options_.by_introduction;  // it may have been introduced again
    bell_->unwatch(peer->token);
    for (RemoteRegion& region : peer->regions) {
      if (region.handed_out()) kept_regions_.push_back(std::move(region));
    }
    return true;
  });
  const auto knocks =
      word_at<std::uint64_t>(header_->memory(), kNodeKnocksAt).load(std::memory_order_seq_cst);
  const bool again = look_ns_ != 0 && env_.clock->monotonic_ns() >= look_ns_;
  if (look_ || again || knocks != knocks_) {
    knocks_ = knocks;  // before looking: who knocks meanwhile is looked for once more
    look_ = false;
    look_ns_ = 0;
    DOLMEN_CHECK(look_around(sink));
    did = true;
  }
  if (!did && reap_ns_ != 0 && env_.clock->monotonic_ns() >= reap_ns_) {
    reap_ns_ = 0;
    reap_the_dead();
    return true;
  }
  return did;
}

bool ShmEndpoint::report_completions(Sink& sink) {
  // Those that are there now: a sink that issues one for one that ends must not keep poll().
  const std::size_t count = completions_.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto [op, former] = completions_.front();
    completions_.pop_front();
    sink.on_completed(op, former);
  }
  return count > 0;
}

bool ShmEndpoint::advance(Peer& peer, Sink& sink) {
  if (peer.dropped) return false;
  if (peer.link == nullptr) {
    if (peer.ended || peer.forgotten || peer.door.has_left()) {
      peer.dropped = true;
      reap_soon();
      return true;
    }
    const bool dials = self().node < peer.card.name.node && !peer.hopeless && !superseded_;
    if (!dials || (peer.retry_ns != 0 && env_.clock->monotonic_ns() < peer.retry_ns)) return false;
    dial(peer, sink);
    return true;
  }
  if (!peer.connected) return await_answer(peer, sink);
  if (peer.closing) {
    end_link(peer, Error(*peer.closing, "this side ended the connection"), *peer.closing, sink);
    return true;
  }
  if (peer.link->has_queued()) {
    const auto moved = peer.link->flush();
    if (!moved) {
      end_link(peer, moved.error(), Errc::corrupt, sink);
      return true;
    }
    if (*moved) peer.door.nudge();
  }
  return receive(peer, sink);
}

bool ShmEndpoint::receive(Peer& peer, Sink& sink) {
  // Read before the ring is: what was sent before these is then found in it.
  const auto closed = peer.link->closed_by_peer();
  const bool ended = peer.ended || peer.door.is_ending();
  if (!closed && !ended && !peer.link->readable()) return false;
  std::size_t looked = 0;
  bool empty = false;
  while (looked < kFramesPerTurn && !empty) {
    const auto message = peer.link->receive(looked);
    if (!message) {
      end_link(peer, message.error(), Errc::corrupt, sink);
      return true;
    }
    empty = !message->has_value();
    if (!empty) sink.on_message(peer.card.name, **message);
    if (peer.closing) return true;  // the sink did not want the rest
  }
  if (peer.link->release()) peer.door.nudge();
  if (!closed && !ended) return looked > 0;
  // A message that is longer than the ring comes in parts that need the room of those before.
  if (!empty || looked > 0) return true;
  const Errc why = closed == Errc::superseded ? Errc::superseded : Errc::connection_lost;
  end_link(peer, Error(why, ended ? "its process has ended" : "it ended the connection"),
           Errc::closed, sink);
  return true;
}

void ShmEndpoint::end_link(Peer& peer, const Error& why, Errc to_peer, Sink& sink) {
  peer.link->close(to_peer);
  peer.door.nudge();
  // To unmap it takes a tenth of a millisecond, which who lost a leader has not.
  if (peer.door.is_ending()) peer.last_link = std::move(peer.link);
  peer.link.reset();
  peer.closing.reset();
  peer.retry_ns = 0;
  if (superseded_ || why.code() == Errc::superseded) peer.hopeless = true;
  if (peer.door.is_ending()) peer.hopeless = true;  // it is dropped when it has ended
  if (peer.ended || peer.forgotten || peer.door.has_left()) {
    peer.dropped = true;
    reap_soon();
  }
  if (!std::exchange(peer.connected, false)) return;
  // From here on no operation to it is accepted; those that were are done.
  (void)report_completions(sink);
  sink.on_lost(peer.card.name, why);
}

Result<void> ShmEndpoint::hear_notices(std::uint64_t until_ns) {
  return bell_->wait(until_ns, ended_);
}

// --- Waiting. ---

std::uint64_t ShmEndpoint::next_retry_ns() const noexcept {
  std::uint64_t next = look_ns_ != 0 ? look_ns_ : ~std::uint64_t{0};
  if (reap_ns_ != 0) next = std::min(next, reap_ns_);
  for (const auto& peer : peers_) {
    if (peer->link == nullptr && peer->retry_ns != 0 && !peer->hopeless) {
      next = std::min(next, peer->retry_ns);
    }
  }
  return next;
}

bool ShmEndpoint::pending(bool about_to_sleep) noexcept {
  if (woken_.load(std::memory_order_seq_cst) || look_) return true;
  if (!ended_.empty() || !completions_.empty()) return true;
  const auto knocks =
      word_at<std::uint64_t>(header_->memory(), kNodeKnocksAt).load(std::memory_order_seq_cst);
  if (knocks != knocks_) return true;
  for (const auto& peer : peers_) {
    if (peer->closing || peer->ended || peer->forgotten || peer->dropped) return true;
    if (!peer->connected && peer->door.has_left()) return true;
    Link* const link = peer->link.get();
    if (link == nullptr) {
      const bool dials = self().node < peer->card.name.node && !peer->hopeless && !superseded_;
      if (dials && peer->retry_ns == 0) return true;
      continue;
    }
    if (!peer->connected && link->accepted()) return true;
    if (peer->connected && peer->door.is_ending()) return true;
    if (link->closed_by_peer() || link->readable() || link->can_flush(about_to_sleep)) return true;
  }
  return false;
}

Result<void> ShmEndpoint::wait(std::uint64_t until_ns) {
  ring();
  sys::Clock& clock = *env_.clock;
  const std::uint64_t start = clock.monotonic_ns();
  const std::uint64_t spin_until =
      options_.wait.spin_ns > ~start ? ~std::uint64_t{0} : start + options_.wait.spin_ns;
  const auto waiting = word_at<std::uint32_t>(header_->memory(), kNodeWaitingAt);
  const std::uint64_t deadline = std::min(until_ns, next_retry_ns());
  std::uint64_t now = start;
  for (std::uint64_t looks = 0;; ++looks) {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (pending(false)) {
        woken_.store(false, std::memory_order_relaxed);
        return {};
      }
      if (now >= deadline || now >= spin_until) break;
      relax();
    }
    now = clock.monotonic_ns();
    if (now < deadline && now >= spin_until) break;  // who sleeps hears of the dead as well
    // Also with a deadline that is past: who only ever polls and waits so hears of the dead.
    if (looks % kLooksPerNotice == 0) DOLMEN_CHECK(hear_notices(0));
    if (!ended_.empty() || now >= deadline) return {};
  }
  Result<void> slept;
  if (arm()) slept = hear_notices(deadline);
  waiting.store(0, std::memory_order_relaxed);
  woken_.store(false, std::memory_order_relaxed);
  return slept;
}

bool ShmEndpoint::arm() noexcept {
  // See RingWriter::put(): from here on whoever publishes something rings.
  word_at<std::uint32_t>(header_->memory(), kNodeWaitingAt).store(1, std::memory_order_seq_cst);
  return !pending(true);
}

Result<void> ShmEndpoint::disarm() noexcept {
  word_at<std::uint32_t>(header_->memory(), kNodeWaitingAt).store(0, std::memory_order_relaxed);
  woken_.store(false, std::memory_order_relaxed);
  return hear_notices(0);
}

void ShmEndpoint::wake() noexcept {
  woken_.store(true, std::memory_order_seq_cst);
  const auto waiting = word_at<std::uint32_t>(header_->memory(), kNodeWaitingAt);
  if (waiting.load(std::memory_order_seq_cst) != 0) bell_->ring();
}

Result<std::unique_ptr<ShmEndpoint>> open(const sys::Env& env,
                                          std::unique_ptr<sys::SharedDirectory> directory,
                                          const ShmOptions& options) {
  const NodeName& name = options.self;
  if (name.node == NodeId::nobody || !std::has_single_bit(options.ring_bytes) ||
      options.ring_bytes < kRingBytesMin || options.ring_bytes > kRingBytesMax ||
      options.message_bytes_max == 0 || options.message_bytes_max > ~std::uint32_t{0} ||
      options.operations_max == 0) {
    return fail(Errc::invalid_argument, "the options of a shared-memory endpoint");
  }
  DOLMEN_TRY(const sys::ProcessMark process, directory->self());
  DOLMEN_TRY(const auto objects, directory->list());
  for (const std::string& object : objects) {
    DOLMEN_TRY(const bool gone, directory->reap(object));
    const auto other = node_of_object(object);
    if (gone || !other || other->node != name.node) continue;
    if (other->incarnation == name.incarnation) {
      return fail(Errc::already_exists, "this life of the node", name.incarnation);
    }
    if (other->incarnation > name.incarnation) {
      return fail(Errc::superseded, "a later life of the node", other->incarnation);
    }
  }
  DOLMEN_TRY(auto bell, directory->make_bell(bell_of(name)));
  DOLMEN_TRY(auto header, directory->create(kHeaderBytes));
  write_card(
      header->memory(),
      NodeCard{.name = name, .process = process, .message_bytes_max = options.message_bytes_max});
  // Without it the others hear a little later that this process was ended.
  void* const word = header->memory().data() + kNodeLifeAt;
  auto life = directory->mark_life(static_cast<std::uint32_t*>(word));
  DOLMEN_CHECK(header->publish(node_object(name)));
  return std::make_unique<ShmEndpoint>(env, std::move(directory), options, std::move(bell),
                                       std::move(header), life ? std::move(*life) : nullptr);
}

}  // namespace shm

Result<std::unique_ptr<Endpoint>> open_shm(const sys::Env& env,
                                           std::unique_ptr<sys::SharedDirectory> directory,
                                           const ShmOptions& options) {
  return shm::open(env, std::move(directory), options);
}

}  // namespace dolmen::fabric

// SPDX-License-Identifier: Apache-2.0
#include "sys/rdma.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "sys/linux/linux.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

#if DOLMEN_VERBS

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <unistd.h>

namespace dolmen::sys {
namespace {

constexpr std::uint8_t kPort = 1;
constexpr std::uint8_t kTimeout = 14;  ///< 67 ms until a packet is sent again
constexpr std::uint8_t kRetries = 7;
constexpr std::uint8_t kNotReadyTimer = 12;  ///< 0.64 ms
constexpr std::uint8_t kReadsAtOnce = 16;

std::unexpected<Error> failure(int number, const char* about) {
  switch (number) {
    case EMFILE:
    case ENFILE:
    case EAGAIN:
      return system_failure_as(Errc::limit, number, about);
    default:
      return system_failure(number, about);
  }
}

template <class T, int (*End)(T*)>
struct Ender {
  void operator()(T* object) const noexcept { (void)End(object); }
};
int end_channel(ibv_comp_channel* channel) noexcept { return ibv_destroy_comp_channel(channel); }

template <class T, int (*End)(T*)>
std::shared_ptr<T> owned(T* object) {
  return std::shared_ptr<T>(object, Ender<T, End>());
}

unsigned flags_of(RdmaAccess access) noexcept {
  return (access.read ? unsigned{IBV_ACCESS_REMOTE_READ} : 0) |
         (access.write ? unsigned{IBV_ACCESS_REMOTE_WRITE} : 0) |
         (access.atomic ? unsigned{IBV_ACCESS_REMOTE_ATOMIC} : 0);
}

/// What all that was made of a device holds on to, so that it ends last.
struct Context {
  std::shared_ptr<ibv_context> context;
  std::shared_ptr<ibv_comp_channel> channel;
  ibv_port_attr port{};
  ibv_gid gid{};
  std::uint8_t gid_index = 0;
  std::uint8_t reads_at_once = 1;
};

class LinuxRdmaMemory final : public RdmaMemory {
 public:
  LinuxRdmaMemory(std::shared_ptr<ibv_pd> domain, std::shared_ptr<ibv_mr> memory) noexcept
      : domain_(std::move(domain)), memory_(std::move(memory)) {}
  [[nodiscard]] std::uint32_t local_key() const noexcept override { return memory_->lkey; }
  [[nodiscard]] std::uint32_t remote_key() const noexcept override { return memory_->rkey; }

 private:
  const std::shared_ptr<ibv_pd> domain_;
  const std::shared_ptr<ibv_mr> memory_;
};

class LinuxRdmaQueue final : public RdmaQueue {
 public:
  LinuxRdmaQueue(std::shared_ptr<const Context> context, std::shared_ptr<ibv_pd> domain,
                 std::uint32_t first_packet)
      : context_(std::move(context)), domain_(std::move(domain)) {
    address_.first_packet = first_packet;
  }

  Result<void> open(Depth depth) {
    const auto entries = static_cast<int>(depth.sends + depth.receives);
    completions_ = owned<ibv_cq, ibv_destroy_cq>(
        ibv_create_cq(context_->context.get(), entries, this, context_->channel.get(), 0));
    if (!completions_) return failure(errno, "make a completion queue");
    ibv_qp_init_attr wanted{};
    wanted.send_cq = completions_.get();
    wanted.recv_cq = completions_.get();
    wanted.cap.max_send_wr = depth.sends;
    wanted.cap.max_recv_wr = depth.receives;
    wanted.cap.max_send_sge = 1;
    wanted.cap.max_recv_sge = 1;
    wanted.qp_type = IBV_QPT_RC;
    wanted.sq_sig_all = 1;
    pair_ = owned<ibv_qp, ibv_destroy_qp>(ibv_create_qp(domain_.get(), &wanted));
    if (!pair_) return failure(errno, "make a queue pair");
    ibv_qp_attr state{};
    state.qp_state = IBV_QPS_INIT;
    state.port_num = kPort;
    DOLMEN_CHECK(
        modify(state, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
    base::MutableBytes gid(address_.gid);
    std::ranges::copy(std::as_bytes(std::span(context_->gid.raw)), gid.begin());
    address_.queue = pair_->qp_num;
    address_.lid = context_->port.lid;
    address_.mtu = static_cast<std::uint8_t>(context_->port.active_mtu);
    return {};
  }

  [[nodiscard]] const RdmaAddress& address() const noexcept override { return address_; }

  Result<void> connect(const RdmaAddress& peer, RdmaAccess granted) override {
    ibv_qp_attr state{};
    state.qp_state = IBV_QPS_RTR;
    state.path_mtu = static_cast<ibv_mtu>(std::min(peer.mtu, address_.mtu));
    state.dest_qp_num = peer.queue;
    state.rq_psn = peer.first_packet;
    state.max_dest_rd_atomic = context_->reads_at_once;
    state.min_rnr_timer = kNotReadyTimer;
    state.qp_access_flags = flags_of(granted);
    state.ah_attr.port_num = kPort;
    state.ah_attr.dlid = peer.lid;
    if (context_->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
      state.ah_attr.is_global = 1;
      state.ah_attr.grh.sgid_index = context_->gid_index;
      state.ah_attr.grh.hop_limit = 64;
      std::ranges::copy(peer.gid,
                        std::as_writable_bytes(std::span(state.ah_attr.grh.dgid.raw)).begin());
    }
    DOLMEN_CHECK(modify(state, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                                   IBV_QP_MIN_RNR_TIMER | IBV_QP_ACCESS_FLAGS));
    state = {};
    state.qp_state = IBV_QPS_RTS;
    state.sq_psn = address_.first_packet;
    state.timeout = kTimeout;
    state.retry_cnt = kRetries;
    state.rnr_retry = kRetries;
    state.max_rd_atomic = context_->reads_at_once;
    return modify(state, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                             IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  }

  Result<void> set_access(RdmaAccess granted) override {
    ibv_qp_attr state{};
    state.qp_access_flags = flags_of(granted);
    return modify(state, IBV_QP_ACCESS_FLAGS);
  }

  Result<void> post_receive(std::uint64_t tag, base::MutableBytes into,
                            std::uint32_t local_key) override {
    ibv_sge piece = piece_of(into.data(), static_cast<std::uint32_t>(into.size()), local_key);
    ibv_recv_wr work{};
    work.wr_id = tag;
    work.sg_list = &piece;
    work.num_sge = 1;
    ibv_recv_wr* refused = nullptr;
    return checked(ibv_post_recv(pair_.get(), &work, &refused), "post a receive");
  }

  Result<void> post(const RdmaWork& work) override {
    ibv_sge piece = piece_of(work.local, work.bytes, work.local_key);
    ibv_send_wr request{};
    request.wr_id = work.tag;
    request.sg_list = &piece;
    request.num_sge = work.bytes == 0 ? 0 : 1;
    switch (work.kind) {
      case RdmaWork::Kind::send:
        request.opcode = IBV_WR_SEND;
        break;
      case RdmaWork::Kind::write:
      case RdmaWork::Kind::read:
        request.opcode = work.kind == RdmaWork::Kind::write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
        request.wr.rdma.remote_addr = work.remote_address;
        request.wr.rdma.rkey = work.remote_key;
        break;
      case RdmaWork::Kind::compare_and_swap:
      case RdmaWork::Kind::fetch_add:
        request.opcode = work.kind == RdmaWork::Kind::fetch_add ? IBV_WR_ATOMIC_FETCH_AND_ADD
                                                                : IBV_WR_ATOMIC_CMP_AND_SWP;
        request.wr.atomic.remote_addr = work.remote_address;
        request.wr.atomic.rkey = work.remote_key;
        request.wr.atomic.compare_add = work.operand;
        request.wr.atomic.swap = work.desired;
        break;
    }
    ibv_send_wr* refused = nullptr;
    return checked(ibv_post_send(pair_.get(), &request, &refused), "post work");
  }

  Result<std::size_t> poll(std::span<RdmaDone> into) override {
    std::size_t found = 0;
    if (has_early_ && !into.empty()) {
      into[found++] = early_;
      has_early_ = false;
    }
    while (found < into.size()) {
      std::array<ibv_wc, 16> ended;
      const auto most = std::min(into.size() - found, ended.size());
      const int count = ibv_poll_cq(completions_.get(), static_cast<int>(most), ended.data());
      if (count < 0) return fail(Errc::io_error, "poll a completion queue");
      for (const ibv_wc& one : std::span(ended).first(static_cast<std::size_t>(count))) {
        into[found++] = done_of(one);
      }
      if (static_cast<std::size_t>(count) < most) break;
    }
    return found;
  }

  Result<bool> arm() override {
    if (has_early_) return true;
    if (!is_armed_) {
      if (ibv_req_notify_cq(completions_.get(), 0) != 0) {
        return fail(Errc::io_error, "arm a completion queue");
      }
      is_armed_ = true;
    }
    DOLMEN_TRY(const std::size_t found, poll(std::span(&early_, 1)));
    has_early_ = found != 0;
    return has_early_;
  }
  void rang() noexcept { is_armed_ = false; }

 private:
  static ibv_sge piece_of(const std::byte* bytes, std::uint32_t count, std::uint32_t key) noexcept {
    ibv_sge piece{};
    piece.addr = reinterpret_cast<std::uint64_t>(bytes);
    piece.length = count;
    piece.lkey = key;
    return piece;
  }
  static RdmaDone done_of(const ibv_wc& one) noexcept {
    RdmaDone done{.tag = one.wr_id, .how = RdmaDone::How::failed, .bytes = 0};
    switch (one.status) {
      case IBV_WC_SUCCESS:
        done.how = RdmaDone::How::done;
        done.bytes = one.byte_len;
        break;
      case IBV_WC_REM_ACCESS_ERR:
      case IBV_WC_REM_INV_REQ_ERR:
        done.how = RdmaDone::How::refused;
        break;
      case IBV_WC_WR_FLUSH_ERR:
        done.how = RdmaDone::How::flushed;
        break;
      default:
        break;
    }
    return done;
  }
  static Result<void> checked(int result, const char* about) {
    if (result == 0) return {};
    if (result == ENOMEM) return system_failure_as(Errc::limit, result, about);
    return failure(result, about);
  }
  Result<void> modify(ibv_qp_attr& state, int mask) {
    const int result = ibv_modify_qp(pair_.get(), &state, mask);
    if (result == 0) return {};
    return failure(result, "change a queue pair");
  }

  const std::shared_ptr<const Context> context_;
  const std::shared_ptr<ibv_pd> domain_;
  std::shared_ptr<ibv_cq> completions_;
  std::shared_ptr<ibv_qp> pair_;
  RdmaAddress address_;
  RdmaDone early_;  ///< found by arm()
  bool has_early_ = false;
  bool is_armed_ = false;
};

class LinuxRdmaDomain final : public RdmaDomain {
 public:
  LinuxRdmaDomain(std::shared_ptr<const Context> context, std::shared_ptr<ibv_pd> domain) noexcept
      : context_(std::move(context)), domain_(std::move(domain)) {}

  Result<std::unique_ptr<RdmaQueue>> make_queue(RdmaQueue::Depth depth,
                                                std::uint32_t first_packet) override {
    auto queue = std::make_unique<LinuxRdmaQueue>(context_, domain_, first_packet);
    DOLMEN_CHECK(queue->open(depth));
    return queue;
  }
  Result<std::unique_ptr<RdmaMemory>> register_memory(base::MutableBytes memory,
                                                      RdmaAccess granted) override {
    return enter(memory.data(), memory.size(), flags_of(granted) | IBV_ACCESS_LOCAL_WRITE);
  }
  Result<std::unique_ptr<RdmaMemory>> register_source(base::Bytes memory) override {
    return enter(const_cast<std::byte*>(memory.data()), memory.size(), 0);
  }

 private:
  Result<std::unique_ptr<RdmaMemory>> enter(std::byte* memory, std::size_t bytes, unsigned flags) {
    auto entered = owned<ibv_mr, ibv_dereg_mr>(ibv_reg_mr(domain_.get(), memory, bytes, flags));
    if (!entered) {
      const int number = errno;
      if (number == ENOMEM) return system_failure_as(Errc::limit, number, "register memory");
      return failure(number, "register memory");
    }
    return std::make_unique<LinuxRdmaMemory>(domain_, std::move(entered));
  }

  const std::shared_ptr<const Context> context_;
  const std::shared_ptr<ibv_pd> domain_;
};

class LinuxRdmaDevice final : public RdmaDevice {
 public:
  LinuxRdmaDevice(std::shared_ptr<const Context> context, const RdmaLimits& limits,
                  std::unique_ptr<Socket> bell) noexcept
      : context_(std::move(context)), limits_(limits), bell_(std::move(bell)) {}

  [[nodiscard]] const RdmaLimits& limits() const noexcept override { return limits_; }
  Result<std::unique_ptr<RdmaDomain>> make_domain() override {
    auto domain = owned<ibv_pd, ibv_dealloc_pd>(ibv_alloc_pd(context_->context.get()));
    if (!domain) return failure(errno, "make a protection domain");
    return std::make_unique<LinuxRdmaDomain>(context_, std::move(domain));
  }
  [[nodiscard]] Socket& bell() noexcept override { return *bell_; }
  void quiet() noexcept override {
    ibv_cq* completions = nullptr;
    void* queue = nullptr;
    while (ibv_get_cq_event(context_->channel.get(), &completions, &queue) == 0) {
      ibv_ack_cq_events(completions, 1);
      static_cast<LinuxRdmaQueue*>(queue)->rang();
    }
  }

 private:
  const std::shared_ptr<const Context> context_;
  const RdmaLimits limits_;
  const std::unique_ptr<Socket> bell_;
};

/// Over Ethernet the addresses of a port are those of its network device: an IPv4 one, or else the
/// first.
Result<void> choose_address(Context& context) {
  bool has_any = false;
  for (int i = 0; i < context.port.gid_tbl_len && i < 256; ++i) {
    ibv_gid_entry entry{};
    if (ibv_query_gid_ex(context.context.get(), kPort, static_cast<std::uint32_t>(i), &entry, 0) !=
        0) {
      continue;
    }
    const bool is_routable = entry.gid_type == IBV_GID_TYPE_ROCE_V2;
    const bool is_v4 = is_routable && entry.gid.raw[10] == 0xFF && entry.gid.raw[11] == 0xFF;
    if (has_any && !is_v4) continue;
    context.gid = entry.gid;
    context.gid_index = static_cast<std::uint8_t>(i);
    has_any = true;
    if (is_v4) break;
  }
  if (!has_any) return fail(Errc::not_found, "the RDMA device's port has no address");
  return {};
}

}  // namespace

Result<std::unique_ptr<RdmaDevice>> open_rdma(const std::string& name) {
  int count = 0;
  const std::unique_ptr<ibv_device*,
                        decltype([](ibv_device** list) { ibv_free_device_list(list); })>
      list(ibv_get_device_list(&count));
  if (!list) {
    const int number = errno;
    if (number == ENOSYS) return fail(Errc::unsupported, "this system has no RDMA");
    return failure(number, "list RDMA devices");
  }
  auto context = std::make_shared<Context>();
  for (ibv_device* const device : std::span(list.get(), static_cast<std::size_t>(count))) {
    if (!name.empty() && name != ibv_get_device_name(device)) continue;
    context->context = owned<ibv_context, ibv_close_device>(ibv_open_device(device));
    if (!context->context) return failure(errno, "open an RDMA device");
    break;
  }
  if (!context->context) return fail(Errc::not_found, interned("no RDMA device " + name));
  ibv_device_attr device{};
  if (const int result = ibv_query_device(context->context.get(), &device); result != 0) {
    return failure(result, "ask an RDMA device");
  }
  if (const int result = ibv_query_port(context->context.get(), kPort, &context->port);
      result != 0) {
    return failure(result, "ask an RDMA device's port");
  }
  if (context->port.state != IBV_PORT_ACTIVE) {
    return fail(Errc::not_found, "the RDMA device's port is not up");
  }
  DOLMEN_CHECK(choose_address(*context));
  context->reads_at_once = static_cast<std::uint8_t>(
      std::min({int{kReadsAtOnce}, device.max_qp_rd_atom, device.max_qp_init_rd_atom}));
  context->channel =
      owned<ibv_comp_channel, end_channel>(ibv_create_comp_channel(context->context.get()));
  if (!context->channel) return failure(errno, "make a completion channel");
  const int fd = context->channel->fd;
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
    return failure(errno, "make a completion channel");
  }
  DOLMEN_TRY(auto bell, watched_descriptor(fd));
  const RdmaLimits limits{.work_bytes_max = context->port.max_msg_sz,
                          .has_atomics = device.atomic_cap != IBV_ATOMIC_NONE,
                          .atomics_with_cpu = device.atomic_cap == IBV_ATOMIC_GLOB};
  return std::make_unique<LinuxRdmaDevice>(std::move(context), limits, std::move(bell));
}

}  // namespace dolmen::sys

#else

namespace dolmen::sys {

Result<std::unique_ptr<RdmaDevice>> open_rdma(const std::string&) {
  return fail(Errc::unsupported, "this library was built without libibverbs");
}

}  // namespace dolmen::sys

#endif

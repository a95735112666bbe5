// SPDX-License-Identifier: Apache-2.0
#include "sys/ofi.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "sys/linux/linux.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

#if DOLMEN_OFI

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

namespace dolmen::sys {
namespace {

constexpr std::uint32_t kApi = FI_VERSION(1, 17);
constexpr std::size_t kCompletions = 8192;
constexpr std::size_t kAddressMax = 256;

/// libfabric's errors below FI_ERRNO_OFFSET are those of the system, others are its own.
std::unexpected<Error> failure(std::int64_t result, const char* about) {
  const int number = static_cast<int>(result < 0 ? -result : result);
  switch (number) {
    case FI_EAGAIN:
      return fail(Errc::busy, about, FI_EAGAIN);
    case FI_ENOMEM:
    case FI_EMFILE:
    case FI_ENOSPC:
    case FI_ENOKEY:
      return system_failure_as(Errc::limit, number, about);
    case FI_EINVAL:
      return system_failure_as(Errc::invalid_argument, number, about);
    case FI_ENODATA:
      return fail(Errc::not_found, about, FI_ENODATA);
    case FI_ENOSYS:
      return fail(Errc::unsupported, about, FI_ENOSYS);
    default:
      break;
  }
  if (number < FI_ERRNO_OFFSET) return system_failure_as(Errc::io_error, number, about);
  return fail(Errc::io_error, interned(std::string(about) + ": " + fi_strerror(number)),
              static_cast<std::uint64_t>(number));
}

struct EndInfo {
  void operator()(fi_info* info) const noexcept { fi_freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, EndInfo>;

struct EndObject {
  template <class T>
  void operator()(T* object) const noexcept {
    (void)fi_close(&object->fid);
  }
};
template <class T>
using Owned = std::unique_ptr<T, EndObject>;

class LinuxOfiMemory final : public OfiMemory {
 public:
  LinuxOfiMemory(Owned<fid_mr> memory, std::uint64_t start) noexcept
      : memory_(std::move(memory)), start_(start) {}
  [[nodiscard]] std::uint64_t start() const noexcept override { return start_; }
  [[nodiscard]] std::uint64_t key() const noexcept override { return fi_mr_key(memory_.get()); }
  [[nodiscard]] void* descriptor() const noexcept { return fi_mr_desc(memory_.get()); }

 private:
  const Owned<fid_mr> memory_;
  const std::uint64_t start_;
};

void* descriptor_of(const OfiMemory& memory) noexcept {
  return static_cast<const LinuxOfiMemory&>(memory).descriptor();
}

class LinuxOfiPort final : public OfiPort {
 public:
  explicit LinuxOfiPort(Info info) : info_(std::move(info)) {
    const bool has_reads = (info_->caps & FI_RMA) != 0;
    limits_ = {.provider = info_->fabric_attr->prov_name,
               .send_bytes_max = info_->ep_attr->max_msg_size,
               .read_bytes_max = has_reads ? info_->ep_attr->max_msg_size : 0};
    std::array<std::byte, 8> random{};
    linux_entropy().fill(random);
    next_key_ = base::load<std::uint64_t>(random);
  }

  Result<void> open() {
    fid_fabric* fabric = nullptr;
    if (const int r = fi_fabric(info_->fabric_attr, &fabric, nullptr); r != 0) {
      return failure(r, "open a fabric");
    }
    fabric_.reset(fabric);
    fid_domain* domain = nullptr;
    if (const int r = fi_domain(fabric, info_.get(), &domain, nullptr); r != 0) {
      return failure(r, "open a fabric's domain");
    }
    domain_.reset(domain);
    fi_av_attr table{};
    fid_av* peers = nullptr;
    if (const int r = fi_av_open(domain, &table, &peers, nullptr); r != 0) {
      return failure(r, "make a table of peers");
    }
    peers_.reset(peers);
    DOLMEN_CHECK(open_queue());
    fid_ep* endpoint = nullptr;
    if (const int r = fi_endpoint(domain, info_.get(), &endpoint, nullptr); r != 0) {
      return failure(r, "make a port");
    }
    endpoint_.reset(endpoint);
    if (const int r = fi_ep_bind(endpoint, &peers_->fid, 0); r != 0) {
      return failure(r, "make a port");
    }
    if (const int r = fi_ep_bind(endpoint, &queue_->fid, FI_TRANSMIT | FI_RECV); r != 0) {
      return failure(r, "make a port");
    }
    if (const int r = fi_enable(endpoint); r != 0) return failure(r, "enable a port");
    address_.resize(kAddressMax);
    std::size_t bytes = address_.size();
    if (const int r = fi_getname(&endpoint->fid, address_.data(), &bytes); r != 0) {
      return failure(r, "ask a port's address");
    }
    address_.resize(bytes);
    return {};
  }

  [[nodiscard]] const OfiLimits& limits() const noexcept override { return limits_; }
  [[nodiscard]] base::Bytes address() const noexcept override { return address_; }

  Result<OfiPeer> add_peer(base::Bytes address) override {
    // The fabric believes the length that its kind of address has, or the end of a text.
    const bool is_text = info_->addr_format == FI_ADDR_STR;
    const bool is_whole = is_text ? !address.empty() && address.back() == std::byte{0}
                                  : address.size() == address_.size();
    if (!is_whole) {
      return fail(Errc::invalid_argument, "an address of another fabric", address.size());
    }
    fi_addr_t peer = FI_ADDR_NOTAVAIL;
    const int count = fi_av_insert(peers_.get(), address.data(), 1, &peer, 0, nullptr);
    if (count == 1) return OfiPeer{peer};
    if (count < 0) return failure(count, "add a peer");
    return fail(Errc::invalid_argument, "add a peer");
  }
  void remove_peer(OfiPeer peer) noexcept override {
    auto number = static_cast<fi_addr_t>(peer);
    (void)fi_av_remove(peers_.get(), &number, 1, 0);
  }

  Result<std::unique_ptr<OfiMemory>> register_memory(base::MutableBytes memory) override {
    return enter(memory.data(), memory.size(),
                 FI_SEND | FI_RECV | (limits_.read_bytes_max > 0 ? FI_READ : 0));
  }
  Result<std::unique_ptr<OfiMemory>> show(base::Bytes memory) override {
    if (limits_.read_bytes_max == 0) return fail(Errc::unsupported, "a fabric without reads");
    return enter(memory.data(), memory.size(), FI_REMOTE_READ);
  }

  Result<void> post_receive(std::uint64_t tag, base::MutableBytes into,
                            const OfiMemory& registered) override {
    Work* const work = begin(tag);
    return posted(work,
                  fi_recv(endpoint_.get(), into.data(), into.size(), descriptor_of(registered),
                          FI_ADDR_UNSPEC, &work->context),
                  "post a receive");
  }
  Result<void> send(OfiPeer peer, std::uint64_t tag, base::Bytes bytes,
                    const OfiMemory& registered) override {
    Work* const work = begin(tag);
    return posted(work,
                  fi_send(endpoint_.get(), bytes.data(), bytes.size(), descriptor_of(registered),
                          static_cast<fi_addr_t>(peer), &work->context),
                  "send to a peer");
  }
  Result<void> read(OfiPeer peer, std::uint64_t tag, base::MutableBytes into,
                    const OfiMemory& registered, std::uint64_t start, std::uint64_t key) override {
    Work* const work = begin(tag);
    return posted(work,
                  fi_read(endpoint_.get(), into.data(), into.size(), descriptor_of(registered),
                          static_cast<fi_addr_t>(peer), start, key, &work->context),
                  "read a peer's memory");
  }

  Result<std::size_t> poll(std::span<OfiDone> into) override {
    std::size_t found = 0;
    while (found < into.size()) {
      std::array<fi_cq_msg_entry, 16> ended;
      const auto most = std::min(into.size() - found, ended.size());
      const ssize_t count = fi_cq_read(queue_.get(), ended.data(), most);
      if (count == -FI_EAGAIN) break;
      if (count == -FI_EAVAIL) {
        DOLMEN_TRY(const bool is_there, take_failure(into[found]));
        if (is_there) ++found;
        continue;
      }
      if (count < 0) return failure(count, "poll a fabric");
      for (const fi_cq_msg_entry& one : std::span(ended).first(static_cast<std::size_t>(count))) {
        into[found++] = {.tag = end(one.op_context), .is_failed = false, .bytes = one.len};
      }
    }
    return found;
  }
  [[nodiscard]] Socket* bell() noexcept override { return bell_.get(); }
  [[nodiscard]] bool arm() noexcept override {
    fid* queue = &queue_->fid;
    return bell_ && fi_trywait(fabric_.get(), &queue, 1) == 0;
  }

 private:
  /// Of one piece of work under way; some fabrics keep their own notes in it.
  struct Work {
    fi_context2 context{};
    std::uint64_t tag = 0;
    Work* next_free = nullptr;
  };

  Result<void> open_queue() {
    fi_cq_attr attributes{};
    attributes.size = kCompletions;
    attributes.format = FI_CQ_FORMAT_MSG;
    attributes.wait_obj = FI_WAIT_FD;
    fid_cq* queue = nullptr;
    if (fi_cq_open(domain_.get(), &attributes, &queue, nullptr) == 0) {
      queue_.reset(queue);
      int fd = -1;
      if (fi_control(&queue->fid, FI_GETWAIT, &fd) == 0) {
        DOLMEN_TRY(bell_, watched_descriptor(fd));
        return {};
      }
    }
    attributes.wait_obj = FI_WAIT_NONE;
    queue_.reset();
    if (const int r = fi_cq_open(domain_.get(), &attributes, &queue, nullptr); r != 0) {
      return failure(r, "make a fabric's completion queue");
    }
    queue_.reset(queue);
    return {};
  }

  Result<std::unique_ptr<OfiMemory>> enter(const std::byte* memory, std::size_t bytes,
                                           std::uint64_t access) {
    const int mode = info_->domain_attr->mr_mode;
    fid_mr* entered = nullptr;
    int result = -FI_ENOKEY;
    for (int i = 0; i < 64 && result == -FI_ENOKEY; ++i) {
      result = fi_mr_reg(domain_.get(), memory, bytes, access, 0, own_key(), 0, &entered, nullptr);
    }
    if (result != 0) return failure(result, "register memory");
    Owned<fid_mr> owned(entered);
    if ((mode & FI_MR_ENDPOINT) != 0) {
      if (const int r = fi_mr_bind(entered, &endpoint_->fid, 0); r != 0) {
        return failure(r, "register memory");
      }
      if (const int r = fi_mr_enable(entered); r != 0) return failure(r, "register memory");
    }
    const std::uint64_t start =
        (mode & FI_MR_VIRT_ADDR) != 0 ? reinterpret_cast<std::uint64_t>(memory) : 0;
    return std::make_unique<LinuxOfiMemory>(std::move(owned), start);
  }
  /// Ignored by fabrics that choose keys themselves.
  std::uint64_t own_key() noexcept {
    const std::size_t bytes = info_->domain_attr->mr_key_size;
    const std::uint64_t key = next_key_++;
    return bytes >= 8 ? key : key & ((std::uint64_t{1} << (8 * bytes)) - 1);
  }

  Work* begin(std::uint64_t tag) {
    Work* work = free_;
    if (work == nullptr) {
      work = &works_.emplace_back();
    } else {
      free_ = work->next_free;
    }
    work->tag = tag;
    return work;
  }
  std::uint64_t end(void* context) noexcept {
    auto* const work = static_cast<Work*>(context);
    work->next_free = free_;
    free_ = work;
    return work->tag;
  }
  Result<void> posted(Work* work, ssize_t result, const char* about) {
    if (result == 0) return {};
    (void)end(work);
    return failure(result, about);
  }
  /// False: it belongs to no work.
  Result<bool> take_failure(OfiDone& into) {
    fi_cq_err_entry failed{};
    const ssize_t count = fi_cq_readerr(queue_.get(), &failed, 0);
    if (count == -FI_EAGAIN) return false;
    if (count < 0) return failure(count, "poll a fabric");
    if (failed.op_context == nullptr) return false;
    into = {.tag = end(failed.op_context), .is_failed = true, .bytes = 0};
    return true;
  }

  // Ends from the last to the first: the endpoint before what it uses.
  const Info info_;
  OfiLimits limits_;
  std::deque<Work> works_;
  Work* free_ = nullptr;
  std::uint64_t next_key_ = 0;
  std::vector<std::byte> address_;
  Owned<fid_fabric> fabric_;
  Owned<fid_domain> domain_;
  Owned<fid_av> peers_;
  Owned<fid_cq> queue_;
  std::unique_ptr<Socket> bell_;
  Owned<fid_ep> endpoint_;
};

Result<Info> choose(const OfiChoice& choice, std::uint64_t caps) {
  const Info hints(fi_allocinfo());
  if (!hints) return fail(Errc::out_of_memory, "ask for a fabric");
  hints->caps = caps;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->tx_attr->msg_order = FI_ORDER_SAS;
  hints->rx_attr->msg_order = FI_ORDER_SAS;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->domain_attr->mr_mode =
      FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  if (!choice.provider.empty()) {
    hints->fabric_attr->prov_name = ::strdup(choice.provider.c_str());
    if (hints->fabric_attr->prov_name == nullptr) return fail(Errc::out_of_memory, "a fabric");
  }
  fi_info* found = nullptr;
  const bool has_source = !choice.source.empty();
  const int result = fi_getinfo(kApi, has_source ? choice.source.c_str() : nullptr, nullptr,
                                has_source ? FI_SOURCE : 0, hints.get(), &found);
  if (result != 0) {
    if (result == -FI_ENODATA) {
      return fail(Errc::not_found, interned("no fabric for messages and provider '" +
                                            choice.provider + "' at '" + choice.source + "'"));
    }
    return failure(result, "ask for a fabric");
  }
  return Info(found);
}

}  // namespace

Result<std::unique_ptr<OfiPort>> open_ofi(const OfiChoice& choice) {
  auto info = choose(choice, FI_MSG | FI_RMA | FI_READ | FI_REMOTE_READ | FI_SEND | FI_RECV);
  if (!info && info.error().code() == Errc::not_found) {
    info = choose(choice, FI_MSG | FI_SEND | FI_RECV);
  }
  if (!info) return std::unexpected(info.error());
  auto port = std::make_unique<LinuxOfiPort>(std::move(*info));
  DOLMEN_CHECK(port->open());
  return port;
}

}  // namespace dolmen::sys

#else

namespace dolmen::sys {

Result<std::unique_ptr<OfiPort>> open_ofi(const OfiChoice&) {
  return fail(Errc::unsupported, "this library was built without libfabric");
}

}  // namespace dolmen::sys

#endif

// SPDX-License-Identifier: Apache-2.0
#include "node/dump.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "node/object_image.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {

namespace {

/// Pages of one frame.
constexpr std::uint32_t kRunPagesMax = 64;
constexpr std::uint32_t kProgressPages = 256;

class Dumper {
 public:
  Dumper(Space& space, store::ByteSink& sink, const Progress& progress)
      : space_(space),
        core_(space.core()),
        store_(core_.store()),
        writer_(sink),
        image_(*core_.env().memory),
        progress_(progress) {}

  Result<DumpSummary> run() {
    if (!core_.options().read_only) {
      return fail(Errc::invalid_argument, "dump: the space is open for writing");
    }
    const store::StoreStats stats = store_.stats();
    total_ = stats.pages_live_bytes + stats.log_tail_bytes;
    // First, so that a space without names is found before anything is written.
    DOLMEN_TRY(const View view, space_.view());
    DOLMEN_TRY(std::vector<NameEntry> names, view.names());
    std::ranges::sort(names, {}, &NameEntry::name);
    DumpSummary summary;
    summary.from = {stats.space_id, store_.last_index()};
    DOLMEN_CHECK(writer_.begin(summary.from));
    std::optional<Error> error;
    DOLMEN_CHECK(store_.for_each_object([&](const store::ObjectInfo& info) {
      const auto written = info.object == core_.catalog_id() ? Result<void>() : object(info);
      if (!written) error = written.error();
      return written.has_value();
    }));
    if (error) return std::unexpected(*error);
    for (const NameEntry& entry : names) DOLMEN_CHECK(name(entry));
    DOLMEN_CHECK(writer_.end());
    summary.space = summary.from.space;
    summary.counts = writer_.counts();
    summary.bytes = writer_.bytes();
    summary.names_elsewhere = names_elsewhere_;
    return summary;
  }

 private:
  Result<void> object(const store::ObjectInfo& info) {
    DOLMEN_CHECK(image_.begin(info));
    DOLMEN_TRY(const std::uint32_t count, store_.page_count(info.object));
    const base::MutableBytes page =
        base::MutableBytes(page_).first(store::page_bytes(info.capacity_log2));
    if (std::uint64_t{count} * page.size() > std::uint64_t{1} << info.capacity_log2) {
      return fail(Errc::corrupt,
                  interned("pages beyond the end of object " + info.object.to_string()), count);
    }
    for (std::uint32_t number = 0; number < count; ++number) {
      DOLMEN_CHECK(store_.read_page({info.object, number}, page));
      const bool is_zero = std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; });
      if (!is_zero) image_.add_page(number, page);
      if (number % kProgressPages == 0) report(image_.stored_bytes());
    }
    if (const auto sound = image_.verify(); !sound) {
      return fail(sound.error().code(),
                  interned("object " + info.object.to_string() + ", " +
                           std::string(sound.error().context())),
                  sound.error().detail());
    }
    DOLMEN_CHECK(writer_.object(info));
    const std::vector<std::uint32_t>& pages = image_.pages();
    for (std::size_t i = 0; i < pages.size();) {
      std::uint32_t run = 1;
      while (run < kRunPagesMax && i + run < pages.size() && pages[i + run] == pages[i] + run) {
        ++run;
      }
      DOLMEN_CHECK(writer_.pages(pages[i], image_.page(pages[i], run)));
      i += run;
    }
    done_ += image_.stored_bytes();
    report(0);
    return {};
  }

  void report(std::uint64_t more) const {
    if (progress_) progress_(std::min(done_ + more, total_), total_);
  }

  Result<void> name(const NameEntry& entry) {
    if (entry.name.size() > store::kDumpNameMax) {
      return fail(Errc::limit, "a name is too long to be dumped", entry.name.size());
    }
    DOLMEN_TRY(const auto object, store_.find(entry.object));
    if (!object) {
      ++names_elsewhere_;
      return {};
    }
    return writer_.name(entry.name, entry.object);
  }

  Space& space_;
  detail::SpaceCore& core_;
  store::Store& store_;
  store::DumpWriter writer_;
  ObjectImage image_;
  const Progress& progress_;
  std::array<std::byte, store::kPageBytes> page_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  std::uint64_t names_elsewhere_ = 0;
};

}  // namespace

Result<DumpSummary> dump(Space& space, store::ByteSink& sink, const Progress& progress) {
  return Dumper(space, sink, progress).run();
}

}  // namespace dolmen::node

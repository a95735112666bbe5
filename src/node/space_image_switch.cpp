// SPDX-License-Identifier: Apache-2.0
//
// An image that comes from another member, and how it takes the place of the one that is there.
//
//   receive()  new.space.unfinished … new.space          beside the image
//   adopt()    new.space -> switch.clear                 from here on it is the image
//              the former files go;  switch.clear -> switch.move
//              new.* get their names;  switch.move -> space
//
// Each step can be done again; whoever opens the directory finishes them.
#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "node/space_disk.hpp"
#include "node/space_image.hpp"
#include "node/space_merge.hpp"

namespace dolmen::node {

namespace {

constexpr std::string_view kLock = "lock";
constexpr std::string_view kStagedRoot = "new.space";

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

/// Tells the image when it ends, and when what the image has is not to be relied on.
class SpaceImage::Receiver final : public StateSink {
 public:
  Receiver(SpaceImage& image, const ImageHead& head, bool merges) : image_(image) {
    const store::CreateOptions options = image.create_options(head.space);
    if (merges) {
      sink_ = std::make_unique<SpaceMerge>(image.env_, *image.disk_, head, options);
    } else {
      sink_ = std::make_unique<SpaceSink>(image.env_, *image.disk_, head, options,
                                          image.options_.is_copy);
    }
    image_.sink_ = sink_.get();
  }
  ~Receiver() override { image_.sink_ = nullptr; }
  Result<bool> take(base::Bytes part) override { return told(sink_->take(part)); }
  Result<bool> take_over(std::vector<std::byte>& part) override {
    return told(sink_->take_over(part));
  }
  Result<bool> is_done() override { return told(sink_->is_done()); }
  Result<std::optional<std::vector<std::byte>>> question(std::uint64_t number) override {
    return told(sink_->question(number));
  }
  [[nodiscard]] StatePages pages() const override { return sink_->pages(); }

 private:
  template <class T>
  Result<T> told(Result<T> result) {
    if (!result && result.error().code() == Errc::corrupt) image_.takes_all_ = true;
    return result;
  }

  SpaceImage& image_;
  std::unique_ptr<ImageSink> sink_;
};

Result<std::unique_ptr<StateSource>> SpaceImage::send(const ImageHead& head,
                                                      std::size_t part_bytes) {
  if (!store_ || head.space.is_null() || space_ != head.space || last_index() < head.last_index) {
    return fail(Errc::not_found, "a state of a replicated space", last_index());
  }
  DOLMEN_CHECK(sync());
  return std::make_unique<SpaceSource>(env_, *disk_, head, part_bytes);
}

Result<std::unique_ptr<StateSink>> SpaceImage::receive(const ImageHead& head, bool takes_all) {
  DOLMEN_ASSERT(sink_ == nullptr);
  if (head.space.is_null()) return fail(Errc::corrupt, "a state of no space");
  DOLMEN_CHECK(remove_staged(*disk_));
  const bool is_older = store_ && space_ == head.space && last_index() > 0;
  const bool merges = is_older && !takes_all && !takes_all_;
  return std::make_unique<Receiver>(*this, head, merges);
}

Result<void> SpaceImage::adopt() {
  DOLMEN_ASSERT(received());
  sink_ = nullptr;
  takes_all_ = false;
  store_.reset();
  DOLMEN_CHECK(disk_->rename(kStagedRoot, kClearingRoot));
  DOLMEN_CHECK(disk_->sync_directory());
  DOLMEN_CHECK(finish_switch());
  DOLMEN_PROBE("space_image.loaded");
  return open_store();
}

Result<void> SpaceImage::finish_switch() {
  DOLMEN_TRY(auto names, disk_->list());
  if (has(names, kClearingRoot)) {
    for (const std::string& name : names) {
      if (name == kClearingRoot || name == kLock || name.starts_with(kStagedPrefix)) continue;
      DOLMEN_CHECK(disk_->remove(name));
    }
    DOLMEN_CHECK(disk_->sync_directory());
    DOLMEN_CHECK(disk_->rename(kClearingRoot, kMovingRoot));
    DOLMEN_CHECK(disk_->sync_directory());
    DOLMEN_TRY(names, disk_->list());
  }
  if (!has(names, kMovingRoot)) return {};
  for (const std::string& name : names) {
    if (!name.starts_with(kStagedPrefix)) continue;
    const std::string_view its = std::string_view(name).substr(kStagedPrefix.size());
    if (its == kLock || its.starts_with("readers/")) {
      DOLMEN_CHECK(disk_->remove(name));
    } else {
      DOLMEN_CHECK(disk_->rename(name, its));
    }
  }
  DOLMEN_CHECK(disk_->sync_directory());
  DOLMEN_CHECK(disk_->rename(kMovingRoot, "space"));
  return disk_->sync_directory();
}

Result<void> SpaceImage::tidy() {
  DOLMEN_TRY(const auto names, disk_->list());
  const bool any = std::ranges::any_of(names, [](std::string_view name) {
    return name.starts_with(kStagedPrefix) || name == kClearingRoot || name == kMovingRoot;
  });
  if (!any) return {};
  // Not while a member is at work here.
  std::string holder;
  auto lock = disk_->try_lock(kLock, sys::LockMode::exclusive, "", &holder);
  if (!lock && lock.error().code() == Errc::held) return fail(Errc::held, interned(holder));
  if (!lock) return std::unexpected(lock.error());
  DOLMEN_CHECK(finish_switch());
  return remove_staged(*disk_);
}

}  // namespace dolmen::node

// SPDX-License-Identifier: Apache-2.0
#include "node/dump.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <stdlib.h>
#include <unistd.h>

#include "node/dump_test_tools.hpp"
#include "object/object_header.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {
namespace {

namespace fs = std::filesystem;

class DumpTest : public testing::Test {
 public:
  DumpTest() {
    std::string pattern = (fs::temp_directory_path() / "dolmen-dump-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~DumpTest() override { fs::remove_all(root_); }

  [[nodiscard]] std::string path(const std::string& name) const { return root_ + "/" + name; }
  [[nodiscard]] Space writer(const std::string& name) const {
    return Space::open(path(name)).value();
  }
  [[nodiscard]] Space reader(const std::string& name) const {
    return Space::open(path(name), {.create = false, .read_only = true}).value();
  }
  [[nodiscard]] std::vector<std::byte> dumped(const std::string& name) const {
    Space space = reader(name);
    auto bytes = dump_of(space);
    EXPECT_TRUE(bytes) << bytes.error().message();
    return bytes ? *bytes : std::vector<std::byte>();
  }
  [[nodiscard]] Result<DumpSummary> load_into(const std::string& name, base::Bytes bytes,
                                              const BatchLimits& limits = {}) const {
    store::MemorySource source(bytes);
    const auto open_directory = [&] {
      return sys::open_directory(path(name), sys::DirectoryMode::open_or_create);
    };
    return load(sys::linux_env(), source, open_directory, {}, {}, limits);
  }
  /// Loading is refused with these words, and leaves nothing that could be taken for a space.
  void expect_refused(const std::vector<std::byte>& bytes, std::string_view words,
                      Errc code = Errc::corrupt) const {
    const auto loaded = load_into("refused", bytes);
    ASSERT_FALSE(loaded) << words;
    EXPECT_EQ(loaded.error().code(), code) << loaded.error().message();
    EXPECT_NE(loaded.error().context().find(words), std::string_view::npos)
        << loaded.error().message() << " instead of " << words;
    for (const auto& entry : fs::recursive_directory_iterator(path("refused"))) {
      EXPECT_TRUE(entry.is_directory() || entry.path().filename() == "lock") << entry.path();
    }
  }

  std::string root_;
};

TEST_F(DumpTest, ALoadedSpaceHoldsTheSameAndDumpsTheSame) {
  std::string expected;
  {
    Space space = writer("first");
    fill_space(space);
    ASSERT_TRUE(space.checkpoint());
    // Some of it in the checkpoint, some in the log.
    const auto web = space.find<DumpWeb>("web").value();
    space.transact(web, [](mut<DumpWeb> w) { w->numbers.push_back(7); }).value();
    expected = contents(space);
  }
  const auto bytes = dumped("first");
  const auto loaded = load_into("second", bytes);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->bytes, bytes.size());
  {
    Space first = reader("first");
    Space second = reader("second");
    EXPECT_EQ(contents(second), expected);
    EXPECT_EQ(loaded->from.space, first.stats().space_id);
    EXPECT_EQ(loaded->from.commit, first.stats().last_index);
    EXPECT_EQ(loaded->space, second.stats().space_id);
    EXPECT_NE(loaded->space, loaded->from.space);
    auto explorer = Explorer::make(second).value();
    const auto objects = explorer.objects().value();
    EXPECT_EQ(objects.size(), Explorer::make(first).value().objects().value().size());
    EXPECT_EQ(objects.size(), loaded->counts.objects + 1) << "the dump has no catalog";
    for (const ObjectId& id : objects) {
      EXPECT_TRUE(explorer.check(id).value().empty()) << id.to_string();
    }
  }
  const auto again = dumped("second");
  ASSERT_EQ(again.size(), bytes.size());
  EXPECT_TRUE(std::ranges::equal(behind_header(again), behind_header(bytes)));
  // The copy is a space to work in.
  Space second = writer("second");
  const auto web = second.find<DumpWeb>("web").value();
  EXPECT_TRUE(second.transact(web, [](mut<DumpWeb> w) { w->title = "changed"; }));
  EXPECT_TRUE(second.create<DumpWeb>("a new one"));
  EXPECT_TRUE(second.close());
}

TEST_F(DumpTest, AnEmptySpaceComesBackEmpty) {
  {
    Space space = writer("first");
  }
  const auto loaded = load_into("second", dumped("first"));
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->counts.names, 0u);
  EXPECT_TRUE(std::ranges::equal(behind_header(dumped("second")), behind_header(dumped("first"))));
}

TEST_F(DumpTest, OfASpaceThatIsBeingChangedShowsOneCommit) {
  Space space = writer("busy");
  const auto left = space.create<DumpCounter>("left").value();
  const auto right = space.create<DumpCounter>("right").value();
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!stop) {
      space
          .transact(left, right,
                    [](mut<DumpCounter> l, mut<DumpCounter> r) {
                      ++l->value;
                      ++r->value;
                    })
          .value();
    }
  });
  std::uint64_t last = 0;
  for (int round = 0; round < 5; ++round) {
    const auto bytes = dumped("busy");
    const std::string name = "copy" + std::to_string(round);
    const auto loaded = load_into(name, bytes);
    ASSERT_TRUE(loaded) << loaded.error().message();
    Space copy = reader(name);
    const View view = copy.view().value();
    const std::uint64_t l = view[view.find<DumpCounter>("left").value()]->value;
    EXPECT_EQ(l, view[view.find<DumpCounter>("right").value()]->value);
    EXPECT_GE(l, last);
    last = l;
  }
  stop = true;
  changer.join();
}

TEST_F(DumpTest, LargeObjectsAndManySmallOnesComeThrough) {
  constexpr BatchLimits kLimits{.bytes = 256u << 10, .objects = 100, .copy_bytes_max = 64u << 10};
  constexpr std::uint64_t kNumbers = 50'000;  // 400 KB: neither copied nor one run of pages
  constexpr std::uint64_t kSmall = 450;       // several batches
  {
    Space space = writer("first");
    const auto large = space.create<vector<std::uint64_t>>("large").value();
    const auto copied = space.create<vector<std::uint64_t>>("copied").value();
    space
        .transact(large, copied,
                  [&](mut<vector<std::uint64_t>> l, mut<vector<std::uint64_t>> c) {
                    for (std::uint64_t i = 0; i < kNumbers; ++i) l->push_back(i);
                    for (std::uint64_t i = 0; i < kNumbers / 10; ++i) c->push_back(i);
                  })
        .value();
    space
        .transact(any,
                  [&] {
                    for (std::uint64_t i = 0; i < kSmall; ++i) {
                      const auto made = space.create<DumpCounter>({.capacity = 512}).value();
                      space.edit(made)->value = i;
                    }
                  })
        .value();
  }
  const auto bytes = dumped("first");
  const auto loaded = load_into("second", bytes, kLimits);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_GT(loaded->counts.objects, kSmall);
  EXPECT_TRUE(std::ranges::equal(behind_header(dumped("second")), behind_header(bytes)));
  Space second = reader("second");
  const View view = second.view().value();
  const auto& large = *view[view.find<vector<std::uint64_t>>("large").value()];
  ASSERT_EQ(large.size(), kNumbers);
  for (std::uint64_t i = 0; i < kNumbers; ++i) ASSERT_EQ(large[i], i);
}

TEST_F(DumpTest, PagesOfZerosTakeNoRoom) {
  {
    Space space = writer("sparse");
    const auto holes = space.create<vector<std::uint64_t>>("holes").value();
    space
        .transact(holes,
                  [](mut<vector<std::uint64_t>> v) {
                    v->resize(4'000'000);  // 32 MB
                    (*v)[3'999'999] = 7;
                  })
        .value();
  }
  EXPECT_LT(dumped("sparse").size(), 200'000u);
}

TEST_F(DumpTest, ADamagedPageIsNamedAndNothingIsLeftOutSilently) {
  ObjectId id;
  {
    Space space = writer("damaged");
    const auto large = space.create<vector<std::uint64_t>>("numbers").value();
    id = large.id();
    space.transact(large, [](mut<vector<std::uint64_t>> v) { v->resize(100'000, 0x1234567); })
        .value();
    ASSERT_TRUE(space.checkpoint());
    ASSERT_TRUE(space.close());
  }
  {
    std::fstream pages(path("damaged/pages"), std::ios::in | std::ios::out | std::ios::binary);
    std::string all((std::istreambuf_iterator<char>(pages)), std::istreambuf_iterator<char>());
    const std::size_t at = all.find("\x67\x45\x23\x01", all.size() / 2);
    ASSERT_NE(at, std::string::npos);
    pages.clear();
    pages.seekp(static_cast<std::streamoff>(at));
    pages.put('\x66');
  }
  Space space = reader("damaged");
  store::MemorySink sink;
  const auto dumped = dump(space, sink);
  ASSERT_FALSE(dumped);
  EXPECT_EQ(dumped.error().code(), Errc::corrupt);
  EXPECT_NE(dumped.error().context().find(id.to_string()), std::string_view::npos)
      << dumped.error().message();
}

TEST_F(DumpTest, ASinkThatRefusesIsReported) {
  class FullSink final : public store::ByteSink {
    Result<void> write(base::Bytes) override { return fail(Errc::no_space, "full"); }
  };
  {
    Space space = writer("first");
  }
  Space space = reader("first");
  FullSink sink;
  const auto dumped = dump(space, sink);
  ASSERT_FALSE(dumped);
  EXPECT_EQ(dumped.error().code(), Errc::no_space);
}

TEST_F(DumpTest, NeedsASpaceOpenedReadOnly) {
  Space space = writer("first");
  store::MemorySink sink;
  const auto dumped = dump(space, sink);
  ASSERT_FALSE(dumped);
  EXPECT_EQ(dumped.error().code(), Errc::invalid_argument);
}

TEST_F(DumpTest, ANameTooLongToBeDumpedIsSaidToBe) {
  {
    Space space = writer("first");
    ASSERT_TRUE(space.create<DumpCounter>(std::string(store::kDumpNameMax, 'n')));
    ASSERT_TRUE(space.create<DumpCounter>(std::string(store::kDumpNameMax + 1, 'n')));
  }
  Space space = reader("first");
  store::MemorySink sink;
  const auto dumped = dump(space, sink);
  ASSERT_FALSE(dumped);
  EXPECT_EQ(dumped.error().code(), Errc::limit);
  EXPECT_EQ(dumped.error().detail(), store::kDumpNameMax + 1);
}

TEST_F(DumpTest, LoadRefusesADirectoryThatIsInUse) {
  {
    Space space = writer("first");
    fill_space(space);
  }
  const auto bytes = dumped("first");
  const std::string before = contents(*std::make_unique<Space>(reader("first")));
  const auto onto_space = load_into("first", bytes);
  ASSERT_FALSE(onto_space);
  EXPECT_EQ(onto_space.error().code(), Errc::already_exists);
  EXPECT_EQ(contents(*std::make_unique<Space>(reader("first"))), before);
  fs::create_directory(path("files"));
  std::ofstream(path("files/mine")) << "text";
  const auto onto_files = load_into("files", bytes);
  ASSERT_FALSE(onto_files);
  EXPECT_EQ(onto_files.error().code(), Errc::already_exists);
  EXPECT_FALSE(fs::exists(path("files/lock")));
  EXPECT_TRUE(fs::exists(path("files/mine")));
}

TEST_F(DumpTest, LoadIntoADirectoryThatIsBeingLoadedNamesWhoDoesIt) {
  {
    Space space = writer("first");
  }
  const auto bytes = dumped("first");
  /// Begins a second load in the middle of the first.
  class Source final : public store::ByteSource {
   public:
    Source(const DumpTest& test, base::Bytes bytes) : test_(test), bytes_(bytes) {}
    Result<std::size_t> read(base::MutableBytes out) override {
      if (left_ == 0) return 0;
      const std::size_t count = left_ == bytes_.size() ? bytes_.size() / 2 : left_;
      if (count == left_) {
        const auto second = test_.load_into("second", bytes_);
        EXPECT_FALSE(second);
        EXPECT_EQ(second.error().code(), Errc::held);
        EXPECT_NE(second.error().context().find("pid " + std::to_string(::getpid()) + " on host "),
                  std::string_view::npos)
            << second.error().message();
        const auto opened = Space::open(test_.path("second"));
        EXPECT_FALSE(opened);
        EXPECT_EQ(opened.error().code(), Errc::unfinished);
      }
      std::ranges::copy(bytes_.subspan(bytes_.size() - left_, count), out.begin());
      left_ -= count;
      return count;
    }

   private:
    const DumpTest& test_;
    base::Bytes bytes_;
    std::size_t left_ = bytes_.size();
  };
  Source source(*this, bytes);
  const auto loaded = load(sys::linux_env(), source, [&] {
    return sys::open_directory(path("second"), sys::DirectoryMode::open_or_create);
  });
  ASSERT_TRUE(loaded) << loaded.error().message();
}

TEST_F(DumpTest, LoadBelievesNothingThatDoesNotVerify) {
  using Kind = store::DumpItem::Kind;
  {
    Space space = writer("first");
    fill_space(space);
  }
  const auto good = dumped("first");
  // The pages of "web": the object with the most foreign references has a table to break.
  ObjectId web;
  {
    Space space = reader("first");
    web = space.view().value().find<DumpWeb>("web").value().id();
  }
  const auto change_web = [&](std::size_t offset, std::uint64_t value, std::size_t bytes) {
    return edited(good, [&](std::vector<OwnedItem>& items) {
      for (OwnedItem& owned : items) {
        if (owned.item.kind != Kind::pages || owned.item.object.object != web) continue;
        const std::size_t begin = std::size_t{owned.item.first_page} * 4096;
        if (offset < begin || offset + bytes > begin + owned.contents.size()) continue;
        std::memcpy(owned.contents.data() + offset - begin, &value, bytes);
      }
    });
  };
  object::ObjectHeader header;
  (void)edited(good, [&](std::vector<OwnedItem>& items) {
    for (const OwnedItem& owned : items) {
      if (owned.item.kind == Kind::pages && owned.item.object.object == web &&
          owned.item.first_page == 0) {
        header = object::load_header(owned.contents.data());
      }
    }
  });
  ASSERT_NE(header.fot_offset, 0u);
  ASSERT_TRUE(load_into("good", edited(good, [](std::vector<OwnedItem>&) {})));
  const std::string object = "object " + web.to_string() + ", ";
  expect_refused(change_web(0, 0, 4), object + "object header: magic");
  expect_refused(change_web(4, 2, 1), object + "object header", Errc::version_unsupported);
  expect_refused(change_web(8, 1, 8), object + "object header: id");
  expect_refused(change_web(44, 72, 4), object + "root");
  expect_refused(change_web(48, 99, 4), object + "root");
  expect_refused(change_web(56, 1 << 20, 4), object + "foreign object table");
  expect_refused(change_web(52, header.fot_offset + 16, 4), object + "foreign object table");
  expect_refused(change_web(header.fot_offset + 16, 2, 4), object + "entry of the foreign object");
  expect_refused(change_web(header.fot_offset + 16, 0, 4), object + "entry of the foreign object");
  expect_refused(change_web(std::size_t{header.heap_state} * 16, ~0ull, 8), object);
  expect_refused(edited(good,
                        [&](std::vector<OwnedItem>& items) {
                          std::erase_if(items, [&](const OwnedItem& owned) {
                            return owned.item.kind == Kind::pages &&
                                   owned.item.object.object == web;
                          });
                        }),
                 object + "object header: magic");
  expect_refused(edited(good,
                        [&](std::vector<OwnedItem>& items) {
                          std::erase_if(items, [&](const OwnedItem& owned) {
                            return owned.item.kind != Kind::name && owned.item.object.object == web;
                          });
                        }),
                 "a name of no object in the dump");
}

TEST_F(DumpTest, LoadRefusesADescriptionOfATypeThatIsNone) {
  {
    Space space = writer("first");
    ASSERT_TRUE(space.create<DumpCounter>("counter"));
  }
  const auto bytes = edited(dumped("first"), [](std::vector<OwnedItem>& items) {
    for (OwnedItem& owned : items) {
      if (owned.item.kind != store::DumpItem::Kind::pages) continue;
      const auto header = object::load_header(owned.contents.data());
      if ((header.flags & object::kTypeDescription) == 0) continue;
      owned.contents[header.root_offset + 3] = std::byte{0xFF};  // a length beyond the object
    }
  });
  expect_refused(bytes, "description of a type");
}

TEST_F(DumpTest, LoadRefusesAnotherSpacesCatalog) {
  ObjectId catalog;
  std::vector<std::byte> page(4096);
  {
    Space space = writer("first");
    catalog = space.core().catalog_id();
    ASSERT_TRUE(space.checkpoint());
    ASSERT_TRUE(space.core().store().read_page({catalog, 0}, page));
  }
  Space space = reader("first");
  const std::uint32_t count = space.core().store().page_count(catalog).value();
  store::MemorySink sink;
  store::DumpWriter writer(sink);
  ASSERT_TRUE(writer.begin({}));
  ASSERT_TRUE(writer.object({catalog, 28}));
  const std::vector<std::byte> zeros(page.size());
  for (std::uint32_t number = 0; number < count; ++number) {
    ASSERT_TRUE(space.core().store().read_page({catalog, number}, page));
    ASSERT_TRUE(page == zeros || writer.pages(number, page));
  }
  ASSERT_TRUE(writer.end());
  expect_refused(sink.bytes, "the names of a space");
}

}  // namespace
}  // namespace dolmen::node

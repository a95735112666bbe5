// SPDX-License-Identifier: Apache-2.0
//
// dump and load: a space as one stream, in a file or a pipe.
#include "node/dump.hpp"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "cli/command.hpp"
#include "cli/demo_screen.hpp"
#include "cli/progress.hpp"
#include "cli/source.hpp"
#include "sys/linux/child.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

namespace fs = std::filesystem;

struct DumpOptions {
  Source source;
  std::string file = "-";
  bool json = false;
};

[[nodiscard]] std::unexpected<Error> stream_failure(const std::string& name, int number) {
  const std::string text = name + ": " + std::generic_category().message(number);
  return fail(number == ENOSPC ? Errc::no_space : Errc::io_error, interned(text),
              static_cast<std::uint64_t>(number));
}

/// Standard output, or something that is there and no regular file: a device, a pipe.
class StreamSink final : public store::ByteSink {
 public:
  StreamSink(std::FILE* stream, std::string name) : stream_(stream), name_(std::move(name)) {}
  Result<void> write(base::Bytes bytes) override {
    const std::size_t written = std::fwrite(bytes.data(), 1, bytes.size(), stream_);
    if (written == bytes.size() && std::fflush(stream_) == 0) return {};
    return stream_failure(name_, errno);
  }

 private:
  std::FILE* stream_;
  std::string name_;
};

/// A file that appears, or replaces another, when it is complete and on the disk.
class FileSink final : public store::ByteSink {
 public:
  static Result<std::unique_ptr<FileSink>> make(const std::string& path) {
    const fs::path whole(path);
    const std::string folder = whole.has_parent_path() ? whole.parent_path().string() : ".";
    DOLMEN_TRY(auto disk, sys::open_directory(folder, sys::DirectoryMode::open_existing));
    auto sink = std::make_unique<FileSink>();
    sink->name_ = whole.filename().string();
    sink->part_ = sink->name_ + ".part-" + std::to_string(sys::linux_env().process->pid());
    DOLMEN_TRY(sink->file_, disk->open(sink->part_, sys::OpenMode::create_new));
    sink->disk_ = std::move(disk);
    return sink;
  }
  ~FileSink() override {
    if (file_) (void)disk_->remove(part_);
  }
  Result<void> write(base::Bytes bytes) override {
    DOLMEN_CHECK(file_->write(size_, bytes));
    size_ += bytes.size();
    return {};
  }
  Result<void> finish() {
    DOLMEN_CHECK(file_->sync());
    DOLMEN_CHECK(disk_->rename(part_, name_));
    file_.reset();
    return disk_->sync_directory();
  }

 private:
  std::unique_ptr<sys::Disk> disk_;
  std::unique_ptr<sys::File> file_;
  std::string name_;
  std::string part_;
  std::uint64_t size_ = 0;
};

std::string contents_text(const node::DumpSummary& summary) {
  return grouped(summary.counts.objects) + " objects, " + grouped(summary.counts.pages) +
         " pages and " + grouped(summary.counts.names) + " names";
}

Result<node::DumpSummary> dump_to(Space& space, store::ByteSink& sink, bool progress) {
  ProgressBar bar("dumping", progress);
  return node::dump(space, sink,
                    [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
}

Result<node::DumpSummary> dump_to_file(Space& space, const DumpOptions& options) {
  std::error_code none;
  const fs::file_status status = fs::status(options.file, none);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    std::FILE* const stream = std::fopen(options.file.c_str(), "wb");
    if (stream == nullptr) return stream_failure(options.file, errno);
    StreamSink sink(stream, options.file);
    auto summary = dump_to(space, sink, options.source.progress);
    if (std::fclose(stream) != 0 && summary) return stream_failure(options.file, errno);
    return summary;
  }
  DOLMEN_TRY(const auto sink, FileSink::make(options.file));
  DOLMEN_TRY(const auto summary, dump_to(space, *sink, options.source.progress));
  DOLMEN_CHECK(sink->finish());
  return summary;
}

int dump(const DumpOptions& options) {
  const bool to_output = options.file == "-";
  if (to_output && options.json) {
    return misused("--json needs FILE: standard output carries the dump", "dump");
  }
  if (to_output && sys::is_terminal(1)) {
    return misused("a dump is not for terminals: name a FILE, or send it into a pipe", "dump");
  }
  auto space = open_source(options.source);
  if (!space) return not_opened(options.source, space.error());
  StreamSink output(stdout, "standard output");
  const auto summary =
      to_output ? dump_to(*space, output, options.source.progress) : dump_to_file(*space, options);
  if (!summary) return failed(summary.error());
  if (options.json) {
    print_json({{"file", options.file},
                {"space", summary->from.space.to_string()},
                {"commit", summary->from.commit},
                {"objects", summary->counts.objects},
                {"pages", summary->counts.pages},
                {"names", summary->counts.names},
                {"names_elsewhere", summary->names_elsewhere},
                {"bytes", summary->bytes}});
    return kOk;
  }
  if (summary->names_elsewhere != 0) {
    std::fprintf(stderr, "%s names are of objects that live in another space; they were left out\n",
                 grouped(summary->names_elsewhere).c_str());
  }
  std::fprintf(to_output ? stderr : stdout, "dumped %s as of commit %s: %s\n",
               contents_text(*summary).c_str(), grouped(summary->from.commit).c_str(),
               size_text(summary->bytes).c_str());
  return kOk;
}

class StreamSource final : public store::ByteSource {
 public:
  StreamSource(std::FILE* stream, std::string name) : stream_(stream), name_(std::move(name)) {}
  Result<std::size_t> read(base::MutableBytes out) override {
    const std::size_t count = std::fread(out.data(), 1, std::min(out.size(), kReadBytes), stream_);
    if (count == 0 && std::ferror(stream_) != 0) return stream_failure(name_, errno);
    return count;
  }

 private:
  static constexpr std::size_t kReadBytes = std::size_t{64} << 10;
  std::FILE* stream_;
  std::string name_;
};

int load_from(std::FILE* stream, std::uint64_t total, const DumpOptions& options) {
  StreamSource source(stream, options.file == "-" ? "standard input" : options.file);
  const auto open_directory = [&] {
    return sys::open_directory(options.source.directory, sys::DirectoryMode::open_or_create);
  };
  const auto summary = [&] {
    ProgressBar bar("loading", options.source.progress);
    return node::load(sys::linux_env(), source, open_directory,
                      [&](std::uint64_t done, std::uint64_t) {
                        if (total != 0) {
                          bar.show(done, total);
                        } else {
                          bar.show_bytes(done);
                        }
                      });
  }();
  if (!summary) {
    const Error& error = summary.error();
    const bool of_stream = error.code() == Errc::corrupt && error.context().starts_with("dump, ");
    if (!of_stream) return not_made(options.source.directory, error);
    (void)failed("this cannot be loaded, and no space was made: " + std::string(error.context()));
    return kDamaged;
  }
  if (options.json) {
    print_json({{"directory", options.source.directory},
                {"space", summary->space.to_string()},
                {"objects", summary->counts.objects},
                {"pages", summary->counts.pages},
                {"names", summary->counts.names},
                {"bytes", summary->bytes},
                {"from_space", summary->from.space.to_string()},
                {"from_commit", summary->from.commit}});
  } else {
    std::printf("loaded %s into space %s in %s\n", contents_text(*summary).c_str(),
                summary->space.to_string().c_str(), shown(options.source.directory).c_str());
  }
  return kOk;
}

int load(const DumpOptions& options) {
  if (options.file == "-") {
    if (!sys::is_terminal(0)) return load_from(stdin, 0, options);
    return misused("standard input is a terminal: name a FILE, or send a dump into it", "load");
  }
  std::FILE* const stream = std::fopen(options.file.c_str(), "rb");
  if (stream == nullptr) {
    return failed(shown(options.file) + ": " + std::generic_category().message(errno));
  }
  std::error_code none;
  const std::uint64_t total =
      fs::is_regular_file(options.file, none) ? fs::file_size(options.file, none) : 0;
  const int exit = load_from(stream, total, options);
  std::fclose(stream);
  return exit;
}

}  // namespace

void add_dump(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App* command = add_command(app, "dump", "write a space as one stream, for load",
                                  "dolmen dump web.dolmen web.dump", options->json);
  add_source(*command, options->source);
  command->add_option("FILE", options->file, "where to; - is standard output")
      ->capture_default_str();
  command->callback([options, &chosen] { chosen.run = [options] { return dump(*options); }; });
}

void add_load(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App* command = add_command(app, "load", "make a space of what dump wrote",
                                  "dolmen load web.dump copy.dolmen", options->json);
  command->add_option("FILE", options->file, "what dump wrote; - is standard input")->required();
  command->add_option("DIR", options->source.directory, "directory of the new space")->required();
  add_progress(*command, options->source.progress);
  command->callback([options, &chosen] { chosen.run = [options] { return load(*options); }; });
}

}  // namespace dolmen::cli

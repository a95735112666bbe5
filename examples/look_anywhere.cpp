// SPDX-License-Identifier: Apache-2.0
//
// One program that looks at a space wherever it is kept: in a directory, or by a cluster.
//   look_anywhere guestbook.dolmen
//   look_anywhere 'dolmen://127.0.0.1:7401/guestbook?identity=cluster/keys/client-1.key'
// Without words it makes both, with the same function, and looks at each.
#include <span>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>
#include <dolmen/string.hpp>

#include "cluster_demo.hpp"

namespace {

struct Visit {
  dolmen::string who;
  dolmen::ptr<Visit> before;
};

struct Guestbook {
  dolmen::ptr<Visit> last;
};

/// What changes it: called here where the directory is, and sent to where the cluster keeps it.
dolmen::Result<std::vector<std::byte>> sign(dolmen::Space& space, std::span<const std::byte> name) {
  std::string who;
  for (const std::byte byte : name) who += static_cast<char>(byte);
  DOLMEN_TRY(const auto book, space.find_or_create<Guestbook>("guestbook"));
  DOLMEN_CHECK(space.transact(
      book, [&](dolmen::mut<Guestbook> b) { b->last = dolmen::make<Visit>(b, who, b->last); }));
  return std::vector<std::byte>{};
}

/// The same for both. Of a cluster's space: as of one commit, in which is all that was answered.
dolmen::Result<std::string> look(const std::string& where) {
  DOLMEN_TRY(auto space, dolmen::Space::open(where, {.read_only = true}));
  DOLMEN_TRY(const auto book, space.find<Guestbook>("guestbook"));
  DOLMEN_TRY(const auto view, space.view());
  return view.read([&] {
    std::string all;
    for (dolmen::ptr<Visit> v = view[book]->last; v; v = v->before) all += " " + v->who.str();
    return all;
  });
}

int tell(const std::string& where) {
  const auto seen = look(where);
  std::printf("%s:%s\n", where.c_str(), (seen ? *seen : seen.error().message()).c_str());
  return seen ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  dolmen::NodeRunOptions options;
  options.functions["sign"] = sign;
  if (demo::is_node(count, words)) return demo::serve(words[2], options);
  if (count == 2) return tell(words[1]);

  demo::Nodes nodes(3);
  demo::doing = "signing";
  const std::string here = "guestbook.dolmen";
  auto cluster = dolmen::Cluster::open(nodes.address()).value();
  cluster.create_space("guestbook", 3, std::chrono::seconds(30)).value();
  auto client = cluster.client("guestbook").value();
  {
    auto space = dolmen::Space::open(here).value();
    for (const std::string who : {"Ada", "Grace", "Barbara"}) {
      const auto name = std::as_bytes(std::span(who));
      sign(space, name).value();
      dolmen::call_space(client, "sign", name, std::chrono::seconds(30)).value();
    }
  }
  demo::doing = "looking";
  const std::string address = nodes.address();
  const std::string there =
      address.substr(0, address.find('?')) + "/guestbook" + address.substr(address.find('?'));
  bool is_sound = tell(here) == 0 && tell(there) == 0;
  is_sound &= look(here).value() == look(there).value();
  // What changes it has to be sent: the error says so.
  const auto written = dolmen::Space::open(there);
  std::printf("to be written: %s\n", written ? "yes" : written.error().message().c_str());
  is_sound &= !written && nodes.stop();
  return is_sound ? 0 : 1;
}

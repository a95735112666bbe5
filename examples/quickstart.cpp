// SPDX-License-Identifier: Apache-2.0
//
// A structure with pointers that outlives its program. Run it several times: it goes on counting.
#include <cstdio>

#include <dolmen/hash_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>

struct Visit {
  dolmen::string who;
  dolmen::ptr<Visit> before;  // an ordinary pointer, valid in every process and after every restart
};

struct Guestbook {
  dolmen::ptr<Visit> last;
  dolmen::hash_map<dolmen::string, std::uint64_t> counts;
};

int main(int argc, char** argv) {
  const char* const who = argc > 1 ? argv[1] : "Ada";
  dolmen::Space space = dolmen::Space::open("guestbook.dolmen").value();
  const auto book = space.find_or_create<Guestbook>("guestbook").value();

  // One transaction: all of it is on the disk when the call returns, or none of it ever was.
  const auto done = space.transact(book, [&](dolmen::mut<Guestbook> b) {
    b->last = dolmen::make<Visit>(b, who, b->last);
    ++b->counts[who];
  });
  if (!done) return std::puts(done.error().message().c_str()), 1;

  // A view: the state of one commit, read by following pointers; nothing is parsed or copied.
  const dolmen::View view = space.view().value();
  const Guestbook& b = *view[book];
  std::printf("%s was here %llu times; all visits:", who,
              static_cast<unsigned long long>(b.counts.at(who)));
  for (dolmen::ptr<Visit> v = b.last; v; v = v->before) std::printf(" %s", v->who.c_str());
  std::printf("\n");
  return b.counts.at(who) > 0 ? 0 : 1;
}

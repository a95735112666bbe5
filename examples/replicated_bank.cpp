// SPDX-License-Identifier: Apache-2.0
//
// A bank in a space that three processes keep the same. Clients move money; whoever leads is killed
// again and again; no money is lost or made, and every transfer is in the books once.
#include <string>

#include "bank.hpp"
#include "replicated_demo.hpp"

int main(int count, char** words) {
  if (demo::is_member(count, words)) {
    auto space = dolmen::ReplicatedSpace::open("space" + std::string(words[2]), bank::functions());
    if (!space) {
      std::fprintf(stderr, "space %s: %s\n", words[2], space.error().message().c_str());
      return 1;
    }
    return demo::serve(words, space->machine());
  }

  demo::Trio members;
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  dolmen::call_space(client, "open").value();
  std::uint64_t booked = 0;
  std::uint64_t refused = 0;
  unsigned kills = 0;
  std::uint64_t random = 7;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 40; ++i) {
      const auto done =
          dolmen::call_space(client, "transfer", bank::bytes_of(bank::next_order(random)));
      if (done) {
        ++booked;
      } else if (done.error().code() == dolmen::Errc::aborted) {
        ++refused;
      } else {
        std::fprintf(stderr, "transfer: %s\n", done.error().message().c_str());
        return 1;
      }
    }
    if (members.kill_leader(client) != 0) ++kills;
  }
  const auto sum = bank::value_of<bank::Totals>(dolmen::call_space(client, "totals").value());
  std::printf(
      "%llu transfers booked, %llu refused; %lld in all accounts; a leader was killed %u "
      "times meanwhile\n",
      static_cast<unsigned long long>(sum.booked), static_cast<unsigned long long>(refused),
      static_cast<long long>(sum.money), kills);
  const bool is_right = sum.booked == booked && bank::is_right(sum);
  return members.stop() && is_right && kills > 0 ? 0 : 1;
}

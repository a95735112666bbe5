// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a call, an effect, a reply, a mail, a state and an image of a replicated space, and
// as what is said there of objects that the directory knows: what is understood is exactly what is
// written again.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "node/directory_machine.hpp"
#include "node/home_part.hpp"
#include "node/home_request.hpp"
#include "node/object_parts.hpp"
#include "node/page_list.hpp"
#include "node/space_effect.hpp"
#include "node/space_post.hpp"

namespace {

using namespace dolmen;

/// Page by page what was understood.
std::vector<std::byte> write_again(const node::DecodedImage& image) {
  node::ImageWriter out(image.head);
  for (const node::ImageObject& object : image.objects) {
    out.begin(object.id, object.capacity_log2);
    for (const auto& page : object.pages) {
      std::ranges::copy(page.bytes, out.page(page.number, page.bytes.size()).begin());
    }
  }
  return out.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  if (const auto call = node::decode_space_call(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*call), bytes));
  }
  if (const auto effect = node::decode_space_effect(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*effect), bytes));
  }
  if (const auto letter = node::decode_space_letter(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*letter), bytes));
  }
  if (const auto state = node::decode_space_state(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*state), bytes));
  }
  if (const auto reply = node::decode_reply(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_reply(reply), bytes));
  }
  if (const auto untold = node::decode_untold_reply(bytes); untold && !untold->objects.empty()) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*untold), bytes));
  }
  if (const auto commands = node::decode_home_commands(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_home_commands(*commands), bytes));
  }
  if (const auto at = node::decode_at_object(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*at), bytes));
  }
  if (const auto ids = node::decode_ids(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_ids(*ids), bytes));
  }
  if (const auto answer = node::decode_directory_answer(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode_directory_answer(*answer), bytes));
  }
  if (const auto request = node::decode_home_request(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*request), bytes));
  }
  if (const auto reply = node::decode_home_reply(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*reply), bytes));
  }
  if (const auto query = node::decode_home_query(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*query), bytes));
  }
  if (const auto listing = node::decode_home_listing(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*listing), bytes));
  }
  if (const auto elsewhere = node::decode_elsewhere(bytes); elsewhere && *elsewhere) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(**elsewhere), bytes));
  }
  if (const auto cells = node::decode_cells(bytes)) {
    for (const node::PageCell& cell : *cells) {
      DOLMEN_ASSERT_CMP(cell.bytes.size(), ==, store::page_bytes(cell.capacity_log2));
    }
  }
  if (const auto list = node::decode_page_list(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*list), bytes));
  }
  if (const auto question = node::decode_page_question(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*question), bytes));
  }
  (void)post_result(bytes);
  const auto image = node::decode_image(bytes);
  if (!image) return 0;
  DOLMEN_ASSERT(node::decode_image_head(bytes).value().last_index == image->head.last_index);
  DOLMEN_ASSERT(std::ranges::equal(write_again(*image), bytes));
  return 0;
}

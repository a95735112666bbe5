// SPDX-License-Identifier: Apache-2.0
//
// Random changes of the crash campaign's objects, and the same to their model.
//
// Threads: one. To be called inside a transaction.
#pragma once

#include <cstddef>

#include "base/random.hpp"
#include "sim/crash_model.hpp"

namespace dolmen::sim {

/// A few edits of one box. Throws AccessError.
void edit(mut<Box> box, ModelBox& model, base::Random& random);

/// Writes a number that was never there before into one word of the sheet; `twice`: into so many
/// that the record is exactly as long as two records of one word.
void stamp_sheet(mut<Sheet> sheet, ModelSheet& model, bool twice);

/// Makes a hub with `many` small objects, or gives most of a hub's objects up and makes others, so
/// that its foreign object table grows and is swept. Throws AccessError.
void change_hub(Space& space, Model& model, std::size_t many);

}  // namespace dolmen::sim

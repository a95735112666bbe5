// SPDX-License-Identifier: Apache-2.0
//
// The real world: the only code with system calls. Factories give process-wide singletons of the
// interfaces (they wrap process-wide facts) and one Disk per directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "sys/env.hpp"
#include "sys/ofi.hpp"
#include "sys/rdma.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::sys {

/// Clock, entropy, memory and process of this Linux process.
[[nodiscard]] const Env& linux_env();

enum class DirectoryMode { open_existing, create, open_or_create };

/// The files of one directory. Errors: not_found, already_exists, io_error.
[[nodiscard]] Result<std::unique_ptr<Disk>> open_directory(const std::string& path,
                                                           DirectoryMode mode);

/// Whether others may read a file.
enum class Secrecy : std::uint8_t { open, secret };
/// A whole file. Errors: not_found, io_error; invalid_argument: longer than `bytes_max`, no
/// ordinary file, or, of a secret, another user's or one that others can reach.
[[nodiscard]] Result<std::vector<std::byte>> read_small_file(const std::string& path,
                                                             std::size_t bytes_max,
                                                             Secrecy secrecy);
/// Whole and durable, or not at all; a secret is never readable by others. Errors: already_exists
/// (unless it `replaces`), not_found (the directory), no_space, io_error.
[[nodiscard]] Result<void> write_small_file(const std::string& path, base::Bytes bytes,
                                            Secrecy secrecy, bool replaces);

/// The shared memory of one directory, which is made (for this user alone) if it is not there. An
/// empty path: `dolmen` in $XDG_RUNTIME_DIR, or else `dolmen-<user id>` in /dev/shm. Errors:
/// invalid_argument (another user owns it or can reach it; it is not in memory), not_found,
/// io_error.
[[nodiscard]] Result<std::unique_ptr<SharedDirectory>> open_shared_directory(
    const std::string& path, DirectoryMode mode = DirectoryMode::open_or_create);

/// The RDMA device of that name (empty: the first), by its first port. Errors: unsupported (a
/// library without libibverbs, a kernel without RDMA), not_found (no such device, its port is
/// down), limit, io_error.
[[nodiscard]] Result<std::unique_ptr<RdmaDevice>> open_rdma(const std::string& name);

/// A port of the fabric that is chosen. Errors: unsupported (a library without libfabric),
/// not_found (no such fabric here), limit, io_error.
[[nodiscard]] Result<std::unique_ptr<OfiPort>> open_ofi(const OfiChoice& choice);

}  // namespace dolmen::sys

// SPDX-License-Identifier: Apache-2.0
#include "fabric/long_records.hpp"

#include <utility>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

EVP_CIPHER_CTX* as_context(void* context) noexcept { return static_cast<EVP_CIPHER_CTX*>(context); }
unsigned char* octets(base::MutableBytes bytes) noexcept {
  return static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
}

/// Null: there is none. In a library context of its own: providers that the program loads or ends
/// change nothing here. (Engines are the process's: libcrypto asks for one when a context is made,
/// and reads its configuration for that, if nobody did before.) It is never given back,
/// as threads may be at work until the process ends.
EVP_CIPHER* cipher() noexcept {
  static EVP_CIPHER* const found = [] {
    OSSL_LIB_CTX* const library = OSSL_LIB_CTX_new();
    return library == nullptr ? nullptr : EVP_CIPHER_fetch(library, "AES-256-GCM", nullptr);
  }();
  return found;
}

bool crypt(EVP_CIPHER_CTX* context, base::MutableBytes bytes) noexcept {
  int done = 0;
  return EVP_CipherUpdate(context, octets(bytes), &done, octets(bytes),
                          static_cast<int>(bytes.size())) == 1 &&
         static_cast<std::size_t>(done) == bytes.size();
}

}  // namespace

LongRecords::LongRecords() = default;
LongRecords::LongRecords(LongRecords&&) noexcept = default;
LongRecords& LongRecords::operator=(LongRecords&&) noexcept = default;
LongRecords::~LongRecords() = default;

void LongRecords::End::operator()(void* context) const noexcept {
  EVP_CIPHER_CTX_free(as_context(context));  // and wipes the key
}

bool LongRecords::begin(const security::Secret& key, const Nonce& nonce, bool seals) noexcept {
  const int direction = seals ? 1 : 0;
  if (!context_) {
    if (cipher() == nullptr) return false;
    std::unique_ptr<void, End> made(EVP_CIPHER_CTX_new());
    if (!made) return false;
    if (EVP_CipherInit_ex2(as_context(made.get()), cipher(), key.data(), nullptr, direction,
                           nullptr) != 1) {
      return false;
    }
    context_ = std::move(made);
  }
  return EVP_CipherInit_ex2(as_context(context_.get()), nullptr, nullptr, nonce.data(), direction,
                            nullptr) == 1;
}

void LongRecords::seal(base::MutableBytes bytes, base::MutableBytes tag) noexcept {
  EVP_CIPHER_CTX* const context = as_context(context_.get());
  int more = 0;
  DOLMEN_ASSERT(crypt(context, bytes));
  DOLMEN_ASSERT(EVP_CipherFinal_ex(context, octets(tag), &more) == 1 && more == 0);
  DOLMEN_ASSERT(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()),
                                    tag.data()) == 1);
}

bool LongRecords::open(base::MutableBytes bytes, base::Bytes tag) noexcept {
  EVP_CIPHER_CTX* const context = as_context(context_.get());
  std::array<unsigned char, 16> expected{};
  DOLMEN_ASSERT_CMP(tag.size(), ==, expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = static_cast<unsigned char>(tag[i]);
  }
  int more = 0;
  return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(expected.size()),
                             expected.data()) == 1 &&
         crypt(context, bytes) && EVP_CipherFinal_ex(context, expected.data(), &more) == 1 &&
         more == 0;
}

}  // namespace dolmen::fabric

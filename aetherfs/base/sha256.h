#ifndef AETHERFS_BASE_SHA256_H_
#define AETHERFS_BASE_SHA256_H_

#include <openssl/sha.h>

#include <span>
#include <string_view>

#include "aetherfs/base/digest.h"

namespace aetherfs {

// SHA-256 (FIPS 180-4) of a message that comes piece by piece. Not thread-safe. Copying forks the state.
class Sha256 {
 public:
  Sha256();
  void Update(std::string_view data);
  // Ends the message; afterwards only destruction and assignment are allowed.
  Digest Finish();

  static Digest Of(std::string_view message);

 private:
  friend void Sha256UpdateMany(std::span<Sha256* const> hashes, std::span<const std::string_view> data);
  SHA256_CTX context_;
};

// hashes[i]->Update(data[i]) for every i, several of them at once: on processors with AVX2 or AVX-512 but
// without SHA instructions one core hashes 8 or 16 messages side by side, several times faster than one
// after the other (docs/adr/0002-hashing-many-messages-at-once.md). The hashes are distinct.
void Sha256UpdateMany(std::span<Sha256* const> hashes, std::span<const std::string_view> data);

// digests[i] = the digest of messages[i], several of them at once. Both have the same size.
void Sha256Many(std::span<const std::string_view> messages, std::span<Digest> digests);

}  // namespace aetherfs

#endif  // AETHERFS_BASE_SHA256_H_

#ifndef AETHERFS_CLIENT_HASH_CHUNKS_H_
#define AETHERFS_CLIENT_HASH_CHUNKS_H_

#include <span>
#include <string_view>

#include "aetherfs/base/digest.h"

namespace aetherfs {

// digests[i] = the digest of chunks[i]. As Sha256Many, but the longest chunks go first: a lane that runs
// out is filled again from those that are left, so that no long one remains to be hashed alone at the end.
void HashChunks(std::span<const std::string_view> chunks, std::span<Digest> digests);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_HASH_CHUNKS_H_

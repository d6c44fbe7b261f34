#ifndef AETHERFS_FORMAT_MANIFEST_CODEC_H_
#define AETHERFS_FORMAT_MANIFEST_CODEC_H_

#include <string>

#include "aetherfs/format/manifest.h"

namespace aetherfs {

// EncodeManifest without its precondition: for tests that make what a hostile writer might. Indices must be
// in range.
std::string EncodeManifestUnchecked(const Manifest& manifest);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_MANIFEST_CODEC_H_

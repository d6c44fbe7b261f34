#ifndef AETHERFS_BASE_UTF8_H_
#define AETHERFS_BASE_UTF8_H_

#include <cstddef>
#include <string_view>

namespace aetherfs {

// Bytes of the UTF-8 sequence that `text` begins with (1 to 4), or 0 if it begins with none: over-long
// forms, surrogates and values above U+10FFFF are none (RFC 3629).
size_t Utf8SequenceLength(std::string_view text);

bool IsUtf8(std::string_view text);

}  // namespace aetherfs

#endif  // AETHERFS_BASE_UTF8_H_

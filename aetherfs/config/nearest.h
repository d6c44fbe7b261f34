#ifndef AETHERFS_CONFIG_NEAREST_H_
#define AETHERFS_CONFIG_NEAREST_H_

#include <string>
#include <string_view>
#include <vector>

namespace aetherfs {

// The candidate with the fewest edits (insert, delete, replace, swap of neighbours) from `word`, if they
// are few enough for a likely slip of the pen; otherwise empty.
std::string NearestName(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean 'x'?" or nothing. `prefix` goes before the name.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates,
                       std::string_view prefix = "");

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_NEAREST_H_

#ifndef AETHERFS_FORMAT_PATHS_H_
#define AETHERFS_FORMAT_PATHS_H_

#include <cstddef>
#include <string_view>

namespace aetherfs {

// How many bytes `a` and `b` begin with in common.
size_t CommonPrefixSize(std::string_view a, std::string_view b);

// What is wrong with `path` as ValidatePath has it, looking only at the component that holds byte `from`
// and those behind it; nullptr if nothing is. A string literal.
const char* PathProblem(std::string_view path, size_t from);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_PATHS_H_

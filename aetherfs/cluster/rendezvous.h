#ifndef AETHERFS_CLUSTER_RENDEZVOUS_H_
#define AETHERFS_CLUSTER_RENDEZVOUS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "aetherfs/cache/part.h"

namespace aetherfs {

// Which version of RankMembers() this is. Servers that rank differently still work together, but read the
// store more often than they need to.
inline constexpr uint32_t kRankingVersion = 1;

// Who owns a part: the first. Rendezvous hashing (Thaler, Ravishankar: A Name-Based Mapping Scheme for
// Rendezvous, 1996): each member has a score for the part, XXH3-64 of the part's name seeded with the
// XXH3-64 of the member's address, and the highest wins; so a member that comes or goes moves nothing but
// its own share, and everybody who knows the same addresses agrees, in whatever order they stand. Returns
// indices into `members`, best first. Pure.
std::vector<size_t> RankMembers(const std::vector<std::string>& members, const PartKey& key);

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_RENDEZVOUS_H_

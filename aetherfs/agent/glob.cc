#include "aetherfs/agent/glob.h"

#include "aetherfs/agent/tree.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

struct Token {
  enum class Kind { kByte, kAnyByte, kRun, kDeepRun, kComponents };
  Kind kind;
  char byte = 0;
};

std::vector<Token> Tokenize(std::string_view pattern) {
  std::vector<Token> tokens;
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    const bool component_begins = i == 0 || pattern[i - 1] == '/';
    if (component_begins && rest.starts_with("**/")) {
      tokens.push_back({Token::Kind::kComponents});
      i += 3;
    } else if (rest.starts_with("**")) {
      tokens.push_back({Token::Kind::kDeepRun});
      i += 2;
    } else if (rest[0] == '*') {
      tokens.push_back({Token::Kind::kRun});
      ++i;
    } else if (rest[0] == '?') {
      tokens.push_back({Token::Kind::kAnyByte});
      ++i;
    } else {
      tokens.push_back({Token::Kind::kByte, rest[0]});
      ++i;
    }
  }
  return tokens;
}

// One row of the usual table: after[j] tells whether the tokens so far match path[0, j).
void Advance(const Token& token, std::string_view path, const std::vector<char>& before,
             std::vector<char>& after) {
  const size_t n = path.size();
  after.assign(n + 1, 0);
  switch (token.kind) {
    case Token::Kind::kByte:
      for (size_t j = 0; j < n; ++j) after[j + 1] = before[j] && path[j] == token.byte;
      break;
    case Token::Kind::kAnyByte:
      for (size_t j = 0; j < n; ++j) after[j + 1] = before[j] && path[j] != '/';
      break;
    case Token::Kind::kRun:
      for (size_t j = 0; j <= n; ++j) after[j] = before[j] || (j > 0 && after[j - 1] && path[j - 1] != '/');
      break;
    case Token::Kind::kDeepRun:
      for (size_t j = 0; j <= n; ++j) after[j] = before[j] || (j > 0 && after[j - 1]);
      break;
    case Token::Kind::kComponents: {
      bool reached = false;  // some state before lies at or left of here
      for (size_t j = 0; j <= n; ++j) {
        after[j] = before[j] || (reached && path[j - 1] == '/');
        reached = reached || before[j];
      }
      break;
    }
  }
}

bool AnyMatches(const std::vector<std::string>& patterns, std::string_view path) {
  for (const std::string& pattern : patterns) {
    if (GlobMatches(pattern, path)) return true;
  }
  return false;
}

}  // namespace

bool GlobMatches(std::string_view pattern, std::string_view path) {
  std::vector<char> row(path.size() + 1, 0), next;
  row[0] = 1;
  for (const Token& token : Tokenize(pattern)) {
    Advance(token, path, row, next);
    row.swap(next);
  }
  return row[path.size()] != 0;
}

absl::Status ValidateGlobs(const std::vector<std::string>& include,
                           const std::vector<std::string>& exclude) {
  if (include.size() + exclude.size() > kMaxGlobs) {
    return absl::InvalidArgumentError(fmt::format("{} include and exclude patterns; at most {} are allowed",
                                                  include.size() + exclude.size(), kMaxGlobs));
  }
  for (const std::vector<std::string>* patterns : {&include, &exclude}) {
    for (const std::string& pattern : *patterns) {
      if (pattern.size() > kMaxGlobSize) {
        return absl::InvalidArgumentError(
            fmt::format("the pattern '{}' has {} bytes; at most {} are allowed", Printable(pattern),
                        pattern.size(), kMaxGlobSize));
      }
      const absl::Status valid = ValidatePath(pattern);
      if (!valid.ok()) {
        return absl::InvalidArgumentError(fmt::format(
            "the pattern '{}' can match nothing: {} (patterns are relative to the snapshot's top)",
            Printable(pattern), Message(valid)));
      }
    }
  }
  return absl::OkStatus();
}

std::vector<uint32_t> SelectEntries(const Manifest& manifest, const std::vector<std::string>& include,
                                    const std::vector<std::string>& exclude) {
  const size_t count = manifest.entries.size();
  std::vector<uint32_t> selected;
  if (include.empty() && exclude.empty()) {
    selected.resize(count);
    for (size_t i = 0; i < count; ++i) selected[i] = static_cast<uint32_t>(i);
    return selected;
  }
  enum : uint8_t { kIncluded = 1, kExcluded = 2, kWanted = 4 };
  const std::vector<uint32_t> parents = ParentsOf(manifest);
  std::vector<uint8_t> state(count, 0);
  for (size_t i = 0; i < count; ++i) {
    const uint8_t above = parents[i] == kRootEntry ? 0 : state[parents[i]];
    const std::string& path = manifest.entries[i].path;
    if (include.empty() || (above & kIncluded) || AnyMatches(include, path)) state[i] |= kIncluded;
    if ((above & kExcluded) || AnyMatches(exclude, path)) state[i] |= kExcluded;
    if (state[i] != kIncluded) continue;
    state[i] |= kWanted;
    for (uint32_t up = parents[i]; up != kRootEntry && !(state[up] & kWanted); up = parents[up]) {
      state[up] |= kWanted;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (state[i] & kWanted) selected.push_back(static_cast<uint32_t>(i));
  }
  return selected;
}

}  // namespace aetherfs

#include "aetherfs/object/open.h"

#include <map>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/object/file/file_object_store.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/object/prefix_object_store.h"
#include "aetherfs/object/s3/credentials.h"
#include "aetherfs/object/s3/s3_object_store.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kFileScheme = "file:";
constexpr std::string_view kS3Scheme = "s3://";
constexpr std::string_view kForms =
    "write it like file:///var/lib/aetherfs/store, s3://bucket/prefix or memory:";

absl::Status Bad(std::string_view url, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("store '{}': {}", Printable(url), why));
}

absl::StatusOr<std::string> PercentDecode(std::string_view url, std::string_view text) {
  const auto value = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? value(text[i + 2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0)) {
      return Bad(url,
                 fmt::format("'%' in '{}' must be followed by two hexadecimal digits", Printable(text)));
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

absl::StatusOr<std::map<std::string, std::string>> ParseQuery(std::string_view url,
                                                              std::string_view query) {
  std::map<std::string, std::string> parameters;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return Bad(url, fmt::format("'{}' is not of the form key=value", Printable(pair)));
    }
    ASSIGN_OR_RETURN(std::string value, PercentDecode(url, pair.substr(equals + 1)));
    const std::string key(pair.substr(0, equals));
    if (!parameters.emplace(key, std::move(value)).second) {
      return Bad(url, fmt::format("'{}' is given twice", Printable(key)));
    }
  }
  return parameters;
}

std::optional<std::string> FirstSet(const Environment& environment,
                                    std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (auto value = environment(name)) return value;
  }
  return std::nullopt;
}

absl::StatusOr<S3Options> ParseS3Query(std::string_view url, std::string bucket, std::string_view query,
                                       const Environment& environment) {
  using Parameters = std::map<std::string, std::string>;
  ASSIGN_OR_RETURN(const Parameters parameters, ParseQuery(url, query));
  S3Options options = {.bucket = std::move(bucket)};
  std::optional<bool> path_style;
  for (const auto& [key, value] : parameters) {
    if (key == "endpoint") {
      options.endpoint = value;
    } else if (key == "region") {
      options.region = value;
    } else if (key == "ca-file") {
      options.http.ca_file = value;
    } else if (key == "path-style" && (value == "true" || value == "false")) {
      path_style = value == "true";
    } else if (key == "path-style") {
      return Bad(url, fmt::format("path-style is '{}', not true or false", Printable(value)));
    } else {
      return Bad(url, fmt::format("'{}' is unknown; known are endpoint, region, path-style and ca-file",
                                  Printable(key)));
    }
  }
  if (!parameters.contains("endpoint")) {
    options.endpoint = FirstSet(environment, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}).value_or("");
  }
  if (!parameters.contains("region")) {
    options.region = FirstSet(environment, {"AWS_REGION", "AWS_DEFAULT_REGION"})
                         .value_or(ProfileRegion(environment).value_or("us-east-1"));
  }
  // Few servers but AWS's have a name per bucket, and a certificate for *.host does not cover dots.
  options.path_style =
      path_style.value_or(!options.endpoint.empty() || options.bucket.find('.') != std::string::npos);
  return options;
}

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenS3(std::string_view url,
                                                    const OpenObjectStoreOptions& open) {
  std::string_view rest = url.substr(kS3Scheme.size());
  std::string_view query;
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (rest.find_first_of("@:") < rest.find('/')) {
    return Bad(url,
               "behind s3:// stands the bucket; host and credentials have no place there (endpoint=URL "
               "names the host, the environment or a file the credentials)");
  }
  const size_t slash = rest.find('/');
  ASSIGN_OR_RETURN(S3Options options,
                   ParseS3Query(url, std::string(rest.substr(0, slash)), query, open.environment));
  std::string_view prefix = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!prefix.empty() && !ValidateKey(prefix).ok()) return Bad(url, Message(ValidateKey(prefix)));
  absl::StatusOr<std::unique_ptr<S3ObjectStore>> store = S3ObjectStore::Create(
      std::move(options), DefaultCredentials(open.environment, open.clock), open.clock);
  if (!store.ok()) return Annotate(store.status(), fmt::format("store '{}'", Printable(url)));
  if (prefix.empty()) return std::move(*store);
  return std::make_unique<PrefixObjectStore>(std::move(*store), prefix);
}

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenFile(std::string_view url,
                                                      const OpenObjectStoreOptions& open) {
  std::string_view path = url.substr(kFileScheme.size());
  if (!path.starts_with("///")) {
    return Bad(url,
               "a file store is named by an absolute path behind three slashes, as in "
               "file:///var/lib/aetherfs/store");
  }
  path.remove_prefix(2);
  if (path.find_first_of("?#") != std::string_view::npos) {
    return Bad(url,
               fmt::format("'{}' is unknown; a file store has no options (write %3F or %23 for '?' or '#')",
                           Printable(path.substr(path.find_first_of("?#")))));
  }
  ASSIGN_OR_RETURN(std::string directory, PercentDecode(url, path));
  return FileObjectStore::Open(std::move(directory), open.clock);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenObjectStore(std::string_view url,
                                                             const OpenObjectStoreOptions& options) {
  if (url == "memory:") return std::make_unique<MemoryObjectStore>(options.clock);
  if (url.starts_with("memory:")) return Bad(url, "a memory store is just 'memory:', it has no options");
  if (url.starts_with(kFileScheme)) return OpenFile(url, options);
  if (url.starts_with(kS3Scheme)) return OpenS3(url, options);
  return Bad(url, fmt::format("its kind is unknown; {}", kForms));
}

}  // namespace aetherfs

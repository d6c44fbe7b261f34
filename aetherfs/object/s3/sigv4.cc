#include "aetherfs/object/s3/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "aetherfs/base/sha256.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr char kAlgorithm[] = "AWS4-HMAC-SHA256";

Digest Hmac(std::string_view key, std::string_view message) {
  Digest mac;
  unsigned int size = Digest::kSize;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac.data(), &size);
  return mac;
}

// Trimmed, runs of blanks made one.
std::string CanonicalValue(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == ' ' || c == '\t') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += c;
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string UriEncode(std::string_view text, bool keep_slash) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~' ||
        (c == '/' && keep_slash)) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string CanonicalQuery(std::vector<QueryParameter> parameters) {
  for (auto& [name, value] : parameters) {
    name = UriEncode(name, /*keep_slash=*/false);
    value = UriEncode(value, /*keep_slash=*/false);
  }
  std::sort(parameters.begin(), parameters.end());
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (!out.empty()) out += '&';
    out += name;
    out += '=';
    out += value;
  }
  return out;
}

std::string AmzDate(absl::Time time) {
  return absl::FormatTime("%Y%m%dT%H%M%SZ", time, absl::UTCTimeZone());
}

Signature SignV4(const RequestToSign& request, const SigningKey& key, absl::Time time) {
  std::vector<Header> headers = request.headers;
  std::sort(headers.begin(), headers.end());
  std::string canonical_headers, signed_headers;
  for (const auto& [name, value] : headers) {
    canonical_headers += fmt::format("{}:{}\n", name, CanonicalValue(value));
    if (!signed_headers.empty()) signed_headers += ';';
    signed_headers += name;
  }

  Signature signature;
  signature.canonical_request =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, request.path, request.query, canonical_headers,
                  signed_headers, request.payload_sha256);
  const std::string stamp = AmzDate(time);
  const std::string day = stamp.substr(0, 8);
  const std::string scope = fmt::format("{}/{}/{}/aws4_request", day, key.region, key.service);
  signature.string_to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, stamp, scope,
                                         Sha256::Of(signature.canonical_request).Hex());

  const Digest day_key = Hmac("AWS4" + key.secret_access_key, day);
  const Digest region_key = Hmac(day_key.bytes(), key.region);
  const Digest service_key = Hmac(region_key.bytes(), key.service);
  const Digest signing_key = Hmac(service_key.bytes(), "aws4_request");
  signature.authorization =
      fmt::format("{} Credential={}/{},SignedHeaders={},Signature={}", kAlgorithm, key.access_key_id, scope,
                  signed_headers, Hmac(signing_key.bytes(), signature.string_to_sign).Hex());
  return signature;
}

}  // namespace aetherfs

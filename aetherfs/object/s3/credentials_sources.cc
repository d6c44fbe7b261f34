// The sources that read files and ask services; credentials.h describes them.

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/object/s3/credentials.h"
#include "aetherfs/object/s3/http_client.h"
#include "aetherfs/object/s3/profile.h"
#include "aetherfs/object/s3/sigv4.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "pugixml.hpp"

namespace aetherfs {
namespace {

constexpr absl::Duration kServiceTimeout = absl::Seconds(10);  // STS, container agents
constexpr absl::Duration kMetadataTimeout = absl::Seconds(2);  // link-local: there at once or not at all
constexpr char kMetadataEndpoint[] = "http://169.254.169.254";
constexpr char kContainerHost[] = "http://169.254.170.2";

HttpClientOptions ServiceHttpOptions(bool use_proxy, absl::Duration connect_timeout) {
  return {.max_connections = 2,
          .connect_timeout = connect_timeout,
          .max_body_bytes = 1 * kMiB,
          .use_proxy = use_proxy};
}

absl::Status CheckAnswer(const HttpClientResponse& response) {
  if (response.ok()) return absl::OkStatus();
  return absl::Status(response.status == 429 || response.status >= 500
                          ? absl::StatusCode::kUnavailable
                          : absl::StatusCode::kPermissionDenied,
                      fmt::format("answered {}: {}", response.status, Printable(response.body)));
}

absl::StatusOr<HttpClientResponse> Ask(HttpClient& client, const HttpClientRequest& request) {
  ASSIGN_OR_RETURN(HttpClientResponse response, client.Do(request));
  RETURN_IF_ERROR(CheckAnswer(response));
  return response;
}

absl::StatusOr<absl::Time> ParseExpiration(const std::string& text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::UnavailableError(fmt::format("the expiration '{}' is not a time", Printable(text)));
  }
  return time;
}

// The form that container agents and instance metadata share.
absl::StatusOr<Credentials> ParseJsonCredentials(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  const auto field = [&](const char* name) -> std::string {
    if (!json.is_object()) return "";
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : "";
  };
  if (const std::string code = field("Code"); !code.empty() && code != "Success") {
    return absl::UnavailableError(
        fmt::format("answered '{}': {}", Printable(code), Printable(field("Message"))));
  }
  Credentials credentials = {.access_key_id = field("AccessKeyId"),
                             .secret_access_key = field("SecretAccessKey"),
                             .session_token = field("Token")};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return absl::UnavailableError("the answer holds no credentials");
  }
  if (const std::string expiration = field("Expiration"); !expiration.empty()) {
    ASSIGN_OR_RETURN(credentials.expiration, ParseExpiration(expiration));
  }
  return credentials;
}

absl::StatusOr<Credentials> ParseStsCredentials(const std::string& body) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(body.data(), body.size());
  const pugi::xml_node node = document.child("AssumeRoleWithWebIdentityResponse")
                                  .child("AssumeRoleWithWebIdentityResult")
                                  .child("Credentials");
  Credentials credentials = {.access_key_id = node.child_value("AccessKeyId"),
                             .secret_access_key = node.child_value("SecretAccessKey"),
                             .session_token = node.child_value("SessionToken")};
  if (!parsed || credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return absl::UnavailableError("the answer holds no credentials");
  }
  ASSIGN_OR_RETURN(credentials.expiration, ParseExpiration(node.child_value("Expiration")));
  return credentials;
}

std::string RegionOf(const Environment& environment) {
  for (const char* variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (const auto region = environment(variable)) return *region;
  }
  return ProfileRegion(environment).value_or("us-east-1");
}

struct WebIdentity {
  std::string role_arn;
  std::string token_file;
  std::string session_name;
};

absl::StatusOr<Credentials> AssumeRole(const Environment& environment, Clock& clock,
                                       const WebIdentity& identity, absl::Time deadline) {
  // Read each time: the platform rotates it.
  ASSIGN_OR_RETURN(std::string token, ReadSmallFile(identity.token_file));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' ')) {
    token.pop_back();
  }
  std::string endpoint = environment("AWS_ENDPOINT_URL_STS")
                             .value_or(fmt::format("https://sts.{}.amazonaws.com", RegionOf(environment)));
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const std::string form = CanonicalQuery(
      {{"Action", "AssumeRoleWithWebIdentity"},
       {"Version", "2011-06-15"},
       {"RoleArn", identity.role_arn},
       {"RoleSessionName", identity.session_name.empty() ? "aetherfs" : identity.session_name},
       {"WebIdentityToken", token}});
  const std::string_view body[] = {form};
  HttpClient client(ServiceHttpOptions(/*use_proxy=*/true, absl::Seconds(5)), &clock);
  const absl::StatusOr<HttpClientResponse> response =
      Ask(client, {.method = "POST",
                   .url = endpoint + "/",
                   .headers = {{"content-type", "application/x-www-form-urlencoded"}},
                   .body = body,
                   .deadline = std::min(deadline, clock.Now() + kServiceTimeout)});
  const std::string context = fmt::format("assume role '{}' at {}", Printable(identity.role_arn), endpoint);
  if (!response.ok()) return Annotate(response.status(), context);
  const absl::StatusOr<Credentials> credentials = ParseStsCredentials(response->body);
  if (!credentials.ok()) return Annotate(credentials.status(), context);
  return credentials;
}

// Credentials go in clear only where nobody else listens.
bool MayUse(const std::string& url) {
  if (url.starts_with("https://")) return true;
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return false;
  const std::string authority =
      url.substr(kScheme.size(), url.find_first_of("/?#", kScheme.size()) - kScheme.size());
  if (authority.find_first_of("@\\") != std::string::npos) return false;  // what is before is not the host
  const std::string host = authority.starts_with('[') ? authority.substr(0, authority.find(']') + 1)
                                                      : authority.substr(0, authority.find(':'));
  in_addr address = {};
  const bool is_loopback =
      inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
  return is_loopback || host == "localhost" || host == "[::1]" || host == "169.254.170.2" ||
         host == "169.254.170.23" || host == "[fd00:ec2::23]";
}

}  // namespace

CredentialsSource ProfileCredentials(Environment environment, Clock* clock) {
  return [environment = std::move(environment), clock](absl::Time deadline) -> absl::StatusOr<Credentials> {
    ASSIGN_OR_RETURN(const Profile profile, ReadProfile(environment));
    Credentials credentials = {.access_key_id = profile.Setting("aws_access_key_id"),
                               .secret_access_key = profile.Setting("aws_secret_access_key"),
                               .session_token = profile.Setting("aws_session_token")};
    if (!credentials.access_key_id.empty() && !credentials.secret_access_key.empty()) return credentials;
    const WebIdentity identity = {.role_arn = profile.Setting("role_arn"),
                                  .token_file = profile.Setting("web_identity_token_file"),
                                  .session_name = profile.Setting("role_session_name")};
    if (!identity.role_arn.empty() && !identity.token_file.empty()) {
      const absl::StatusOr<Credentials> assumed = AssumeRole(environment, *clock, identity, deadline);
      if (!absl::IsNotFound(assumed.status())) return assumed;
      return absl::FailedPreconditionError(
          fmt::format("profile '{}': {}", profile.name, Message(assumed.status())));
    }
    if (profile.named) {
      return absl::FailedPreconditionError(
          fmt::format("AWS_PROFILE names '{}', which {}; supported are aws_access_key_id with "
                      "aws_secret_access_key, and "
                      "role_arn with web_identity_token_file",
                      Printable(profile.name),
                      profile.found ? "holds no credentials that are supported" : "does not exist"));
    }
    return absl::NotFoundError("no keys in the shared credentials file's default profile");
  };
}

CredentialsSource WebIdentityCredentials(Environment environment, Clock* clock) {
  return [environment = std::move(environment), clock](absl::Time deadline) -> absl::StatusOr<Credentials> {
    const auto file = environment("AWS_WEB_IDENTITY_TOKEN_FILE");
    if (!file.has_value()) return absl::NotFoundError("AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    const auto role = environment("AWS_ROLE_ARN");
    if (!role.has_value()) {
      return absl::FailedPreconditionError("AWS_WEB_IDENTITY_TOKEN_FILE is set but AWS_ROLE_ARN is not");
    }
    absl::StatusOr<Credentials> credentials =
        AssumeRole(environment, *clock,
                   {.role_arn = *role,
                    .token_file = *file,
                    .session_name = environment("AWS_ROLE_SESSION_NAME").value_or("")},
                   deadline);
    if (absl::IsNotFound(credentials.status())) {
      return absl::FailedPreconditionError(
          fmt::format("AWS_WEB_IDENTITY_TOKEN_FILE: {}", Message(credentials.status())));
    }
    return credentials;
  };
}

CredentialsSource ContainerCredentials(Environment environment, Clock* clock) {
  return [environment = std::move(environment), clock](absl::Time deadline) -> absl::StatusOr<Credentials> {
    std::string url;
    if (const auto relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
      url = kContainerHost + *relative;
    } else if (const auto full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
      url = *full;
    } else {
      return absl::NotFoundError("AWS_CONTAINER_CREDENTIALS_FULL_URI is not set");
    }
    if (!MayUse(url)) {
      return absl::FailedPreconditionError(fmt::format(
          "AWS_CONTAINER_CREDENTIALS_FULL_URI '{}' is neither https nor an address of this machine",
          Printable(url)));
    }
    std::string token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or("");
    if (const auto file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
      const absl::StatusOr<std::string> content = ReadSmallFile(*file);
      if (!content.ok()) return absl::FailedPreconditionError(std::string(Message(content.status())));
      token = *content;
    }
    while (token.ends_with('\n') || token.ends_with('\r')) token.pop_back();
    if (token.find_first_of("\r\n") != std::string::npos) {
      return absl::FailedPreconditionError("the container authorization token holds a line break");
    }
    HttpClientRequest request = {.method = "GET",
                                 .url = url,
                                 .headers = {{"accept", "application/json"}},
                                 .deadline = std::min(deadline, clock->Now() + kServiceTimeout)};
    if (!token.empty()) request.headers.emplace_back("authorization", token);
    HttpClient client(ServiceHttpOptions(/*use_proxy=*/false, absl::Seconds(2)), clock);
    const absl::StatusOr<HttpClientResponse> response = Ask(client, request);
    if (!response.ok()) return Annotate(response.status(), "container credentials");
    const absl::StatusOr<Credentials> credentials = ParseJsonCredentials(response->body);
    if (!credentials.ok()) return Annotate(credentials.status(), "container credentials");
    return credentials;
  };
}

CredentialsSource InstanceCredentials(Environment environment, Clock* clock) {
  return [environment = std::move(environment), clock](absl::Time deadline) -> absl::StatusOr<Credentials> {
    if (environment("AWS_EC2_METADATA_DISABLED").value_or("") == "true") {
      return absl::NotFoundError("AWS_EC2_METADATA_DISABLED is true");
    }
    std::string endpoint = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or(kMetadataEndpoint);
    while (endpoint.ends_with('/')) endpoint.pop_back();
    HttpClient client(ServiceHttpOptions(/*use_proxy=*/false, absl::Seconds(1)), clock);
    const absl::Time until = std::min(deadline, clock->Now() + kMetadataTimeout);
    const absl::StatusOr<HttpClientResponse> token =
        client.Do({.method = "PUT",
                   .url = endpoint + "/latest/api/token",
                   .headers = {{"x-aws-ec2-metadata-token-ttl-seconds", "21600"}},
                   .deadline = until});
    if (!token.ok()) {  // not on EC2, most likely
      return absl::NotFoundError(fmt::format("no instance metadata: {}", Message(token.status())));
    }
    RETURN_IF_ERROR(Annotate(CheckAnswer(*token), "instance metadata: a session token"));
    const std::string roles_url = endpoint + "/latest/meta-data/iam/security-credentials/";
    const std::vector<std::pair<std::string, std::string>> headers = {
        {"x-aws-ec2-metadata-token", token->body}};
    const absl::StatusOr<HttpClientResponse> roles =
        client.Do({.method = "GET", .url = roles_url, .headers = headers, .deadline = until});
    if (roles.ok() && roles->status == 404) return absl::NotFoundError("this instance has no role");
    RETURN_IF_ERROR(Annotate(roles.ok() ? CheckAnswer(*roles) : roles.status(),
                             "instance metadata: the instance's role"));
    const std::string role = roles->body.substr(0, roles->body.find_first_of("\r\n"));
    const absl::StatusOr<HttpClientResponse> answer =
        Ask(client, {.method = "GET",
                     .url = roles_url + UriEncode(role, /*keep_slash=*/false),
                     .headers = headers,
                     .deadline = until});
    if (!answer.ok()) return Annotate(answer.status(), "instance metadata: credentials");
    const absl::StatusOr<Credentials> credentials = ParseJsonCredentials(answer->body);
    if (!credentials.ok()) return Annotate(credentials.status(), "instance metadata: credentials");
    return credentials;
  };
}

std::optional<std::string> ProfileRegion(const Environment& environment) {
  const absl::StatusOr<Profile> profile = ReadProfile(environment);
  if (!profile.ok()) return std::nullopt;
  std::string region = profile->Setting("region");
  if (region.empty()) return std::nullopt;
  return region;
}

}  // namespace aetherfs

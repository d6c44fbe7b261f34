#include <sys/stat.h>

#include <climits>
#include <cstdlib>
#include <optional>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/pull_record.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/cli/verify_snapshot.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// What a directory inside an agent's root is: ROOT/.aetherfs/snapshots/DATASET/DIGEST[-FILTER].
struct AgentSnapshot {
  Reference reference;        // with its digest
  bool is_part = false;       // the subscription leaves files out
  std::string manifest_path;  // where the agent keeps the manifest
};

std::optional<AgentSnapshot> AgentSnapshotAt(const std::string& path) {
  constexpr std::string_view kSnapshots = "/.aetherfs/snapshots";
  const std::string parent = ParentPath(path);
  const std::string above = ParentPath(parent);
  if (!above.ends_with(kSnapshots)) return std::nullopt;
  const std::string name = path.substr(path.rfind('/') + 1);
  const std::string directory = parent.substr(parent.rfind('/') + 1);
  const absl::StatusOr<Digest> digest = Digest::ParseHex(name.substr(0, name.find('-')));
  absl::StatusOr<DatasetName> dataset = DatasetName::Unescape(directory);
  if (!digest.ok() || !dataset.ok()) return std::nullopt;
  AgentSnapshot snapshot;
  snapshot.reference.dataset = *std::move(dataset);
  snapshot.reference.digest = *digest;
  snapshot.is_part = name.find('-') != std::string::npos;
  snapshot.manifest_path =
      fmt::format("{}/.aetherfs/manifests/{}/{}", above.substr(0, above.size() - kSnapshots.size()),
                  directory, digest->Hex());
  return snapshot;
}

class VerifyCommand : public CliCommand {
 public:
  std::string_view name() const override { return "verify"; }
  std::string_view summary() const override {
    return "check every byte of a version on the servers, or of a directory";
  }
  std::string_view examples() const override {
    return "  aetherfs verify maxmind/city:v1.4         # on the servers\n"
           "  aetherfs verify ./city                    # a directory that was pulled, or an agent's\n"
           "  aetherfs verify maxmind/city:v1.4 ./copy  # any directory\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF|DIR", &subject_, "a version, or a directory: what exists as one is one");
    options.AddPositional("DIR", &directory_, "check this directory against REF").Optional();
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(directory_.empty() ? subject_ : directory_);
    start_ = context.environment().clock->Now();
    if (!directory_.empty()) {
      ASSIGN_OR_RETURN(const Reference reference, ParseReference(subject_));
      return VerifyAgainst(context, reference, context.AbsolutePath(directory_));
    }
    const std::string path = context.AbsolutePath(subject_);
    struct stat status;
    const bool is_directory = stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
    if (is_directory) return VerifyKnownDirectory(context, path);
    if (subject_.starts_with('/') || subject_.starts_with("./") || subject_.starts_with("../")) {
      return absl::NotFoundError("there is no such directory; name one, or a reference");
    }
    return VerifyOnServers(context);
  }

 private:
  static absl::StatusOr<Manifest> FetchManifest(ServerClient& server, const Reference& reference,
                                                const Digest& digest, TransferStats* stats) {
    ASSIGN_OR_RETURN(const std::string canonical,
                     Fetcher(&server).FetchManifest(reference.dataset, digest, stats));
    return DecodeManifest(canonical);
  }

  static absl::StatusOr<Digest> Resolve(CliContext& context, ServerClient& server,
                                        const Reference& reference) {
    if (reference.digest) return *reference.digest;
    ASSIGN_OR_RETURN(const dataset::v1::LookupResponse found, LookupReference(server, reference));
    context.NoteFreshness(found.freshness());
    return DigestOf(found.snapshot());
  }

  absl::Status VerifyOnServers(CliContext& context) {
    ASSIGN_OR_RETURN(const Reference reference, ParseReference(subject_));
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host, kTransferPatience));
    ASSIGN_OR_RETURN(const Digest digest, Resolve(context, *server, reference));
    TransferStats stats;
    ASSIGN_OR_RETURN(const Manifest manifest, FetchManifest(*server, reference, digest, &stats));
    uint64_t total = 0;
    for (const Manifest::Chunk& chunk : manifest.chunks) total += chunk.size;
    Fetcher fetcher(server);
    const absl::StatusOr<std::vector<Difference>> differences = [&] {
      const ProgressLine line(context.environment().err, context.Progress(), [&] {
        return ProgressSample{"verifying", stats.verified_bytes.load(), total,
                              FormatSize(stats.downloaded_bytes.load()) + " received"};
      });
      return VerifySnapshot(fetcher, reference.dataset, manifest, &stats, context.cancelled());
    }();
    if (!differences.ok()) return differences.status();
    return Report(context, reference.ToString(), "", digest, manifest, *differences);
  }

  absl::Status VerifyKnownDirectory(CliContext& context, const std::string& path) {
    if (const std::optional<PullRecord> record = PullRecords(context.CacheDirectory()).Load(path)) {
      return VerifyDirectoryAs(context, record->reference, path, record->digest, record->manifest, false);
    }
    // An agent's symlink, or what it points at.
    char resolved[PATH_MAX];
    if (realpath(path.c_str(), resolved) != nullptr) {
      if (const std::optional<AgentSnapshot> snapshot = AgentSnapshotAt(resolved)) {
        return VerifyAgentSnapshot(context, *snapshot, resolved);
      }
    }
    return absl::FailedPreconditionError(
        "it is not recorded which version this directory should be; give it: aetherfs verify REF DIR");
  }

  absl::Status VerifyAgainst(CliContext& context, const Reference& reference, const std::string& directory,
                             bool is_agents = false) {
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host, kTransferPatience));
    ASSIGN_OR_RETURN(const Digest digest, Resolve(context, *server, reference));
    TransferStats stats;
    ASSIGN_OR_RETURN(const Manifest manifest, FetchManifest(*server, reference, digest, &stats));
    return VerifyDirectoryAs(context, reference.ToString(), directory, digest, manifest, is_agents);
  }

  absl::Status VerifyAgentSnapshot(CliContext& context, const AgentSnapshot& snapshot,
                                   const std::string& directory) {
    is_part_ = snapshot.is_part;
    // What the agent keeps needs no server, if it is there and right.
    const absl::StatusOr<std::string> object = ReadWholeFile(snapshot.manifest_path, kMaxManifestSize);
    if (object.ok()) {
      const absl::StatusOr<std::string> canonical =
          DecodeManifestObject(*object, *snapshot.reference.digest);
      const absl::StatusOr<Manifest> manifest =
          canonical.ok() ? DecodeManifest(*canonical) : canonical.status();
      if (manifest.ok()) {
        return VerifyDirectoryAs(context, snapshot.reference.ToString(), directory,
                                 *snapshot.reference.digest, *manifest, true);
      }
    }
    return VerifyAgainst(context, snapshot.reference, directory, true);
  }

  // `is_agents`: an agent takes the write bits away.
  absl::Status VerifyDirectoryAs(CliContext& context, const std::string& reference,
                                 const std::string& directory, const Digest& digest,
                                 const Manifest& manifest, bool is_agents) {
    absl::StatusOr<std::vector<Difference>> differences = [&] {
      const std::string what = FormatSize(manifest.TotalBytes());
      const ProgressLine line(context.environment().err, context.Progress(),
                              [&what] { return ProgressSample{"verifying " + what, 0, 0, ""}; });
      return VerifyDirectory(directory, manifest, is_agents, context.cancelled());
    }();
    if (!differences.ok()) return differences.status();
    // What the subscription leaves out is not known here; what is there can be checked all the same.
    if (is_part_) std::erase_if(*differences, [](const Difference& d) { return d.what == "missing"; });
    return Report(context, reference, directory, digest, manifest, *differences);
  }

  absl::Status Report(CliContext& context, const std::string& reference, const std::string& directory,
                      const Digest& digest, const Manifest& manifest,
                      const std::vector<Difference>& differences) const {
    const absl::Duration elapsed = context.environment().clock->Now() - start_;
    if (context.json()) {
      Json list = Json::array();
      for (const Difference& difference : differences) {
        list.push_back({{"path", difference.path}, {"what", difference.what}});
      }
      Json json = {{"ok", differences.empty()}, {"reference", reference}};
      if (!directory.empty()) json["directory"] = directory;
      json["digest"] = digest.ToString();
      json["files"] = manifest.FileCount();
      json["bytes"] = manifest.TotalBytes();
      json["differences"] = std::move(list);
      json["seconds"] = absl::ToDoubleSeconds(elapsed);
      context.PrintJson(json);
    } else {
      for (const Difference& difference : differences) {
        context.out() << TerminalText(difference.path) << ": " << TerminalText(difference.what) << '\n';
      }
    }
    if (!differences.empty()) {
      return absl::DataLossError(fmt::format("{} {} not as in {}", CountOf(differences.size(), "path"),
                                             differences.size() == 1 ? "is" : "are", digest.ToString()));
    }
    context.Note(fmt::format("{}, {}: every byte is as in {} ({})", CountOf(manifest.FileCount(), "file"),
                             FormatSize(manifest.TotalBytes()), digest.ToString(), FormatElapsed(elapsed)));
    return absl::OkStatus();
  }

  std::string subject_;
  std::string directory_;
  bool is_part_ = false;
  absl::Time start_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeVerifyCommand() { return std::make_unique<VerifyCommand>(); }

}  // namespace aetherfs

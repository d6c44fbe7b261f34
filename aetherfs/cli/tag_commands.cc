// What moves tags: tag, untag.

#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// What a tag change needs besides what it changes.
dataset::v1::UpdateTagsRequest NewRequest(CliContext& context, const DatasetName& dataset) {
  dataset::v1::UpdateTagsRequest request;
  request.set_dataset(dataset.str());
  request.set_author(context.environment().user());
  request.set_nonce(context.environment().random->Bytes(16));
  return request;
}

class TagCommand : public CliCommand {
 public:
  std::string_view name() const override { return "tag"; }
  std::string_view summary() const override {
    return "point a tag at a version: to promote it, or to roll back";
  }
  std::string_view examples() const override {
    return "  aetherfs tag maxmind/city:latest stable\n"
           "  aetherfs tag maxmind/city@sha256:4be2… latest\n"
           "  aetherfs tag maxmind/city:v2 stable --expect sha256:91c0…\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_, "the version");
    options.AddPositional("TAG", &tag_, "the tag to move, or to make");
    options.Add("expect-absent", &expect_absent_, "fail unless the tag does not exist");
    options.Add("expect", &expect_, "fail unless the tag points at this version now").ValueName("DIGEST");
  }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseReference(reference_));
    context.SetSubject(reference.ToString());
    RETURN_IF_ERROR(ValidateTag(tag_));
    dataset::v1::UpdateTagsRequest request = NewRequest(context, reference.dataset);
    if (expect_absent_ && !expect_.empty()) {
      return absl::InvalidArgumentError(
          "--expect-absent and --expect contradict each other; give one of them");
    }
    if (expect_absent_) request.mutable_expectation()->set_absent(true);
    if (!expect_.empty()) {
      const absl::StatusOr<Digest> expected = ParseDigest(expect_);
      if (!expected.ok()) return Annotate(expected.status(), "--expect");
      request.mutable_expectation()->set_digest(expected->ToString());
    }
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    ASSIGN_OR_RETURN(const dataset::v1::LookupResponse found, LookupReference(*server, reference));
    ASSIGN_OR_RETURN(const Digest digest, DigestOf(found.snapshot()));
    auto* move = request.add_moves();
    move->set_tag(tag_);
    move->set_digest(digest.ToString());
    ASSIGN_OR_RETURN(const dataset::v1::UpdateTagsResponse response, server->UpdateTags(request));
    if (context.json()) {
      context.PrintJson({{"dataset", reference.dataset.str()},
                         {"tag", tag_},
                         {"digest", digest.ToString()},
                         {"seq", response.seq()},
                         {"unchanged", response.unchanged()}});
      return absl::OkStatus();
    }
    context.out() << fmt::format("{}:{}@{}\n", reference.dataset.str(), tag_, digest.ToString());
    if (response.unchanged()) context.Note(fmt::format("unchanged: {} pointed there already", tag_));
    return absl::OkStatus();
  }

 private:
  std::string reference_;
  std::string tag_;
  bool expect_absent_ = false;
  std::string expect_;
};

class UntagCommand : public CliCommand {
 public:
  std::string_view name() const override { return "untag"; }
  std::string_view summary() const override {
    return "delete tags; the versions themselves stay until collected";
  }
  std::string_view examples() const override { return "  aetherfs untag maxmind/city v1.3 v1.4\n"; }
  void Declare(OptionSet& options) override {
    options.AddPositional("DATASET", &dataset_, "which one");
    options.AddPositional("TAG", &tags_, "what to delete");
  }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseDataset(dataset_));
    context.SetSubject(reference.dataset.str());
    dataset::v1::UpdateTagsRequest request = NewRequest(context, reference.dataset);
    for (const std::string& tag : tags_) {
      RETURN_IF_ERROR(ValidateTag(tag));
      request.add_deletes(tag);
    }
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    ASSIGN_OR_RETURN(const dataset::v1::UpdateTagsResponse response, server->UpdateTags(request));
    if (context.json()) {
      context.PrintJson(
          {{"dataset", reference.dataset.str()}, {"deleted", tags_}, {"seq", response.seq()}});
    } else {
      for (const std::string& tag : tags_) context.out() << reference.dataset.str() << ':' << tag << '\n';
    }
    return absl::OkStatus();
  }

 private:
  std::string dataset_;
  std::vector<std::string> tags_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeTagCommand() { return std::make_unique<TagCommand>(); }
std::unique_ptr<CliCommand> MakeUntagCommand() { return std::make_unique<UntagCommand>(); }

}  // namespace aetherfs

#include "aetherfs/server/dataset_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/server/commit.h"
#include "aetherfs/server/dataset_hub.h"
#include "aetherfs/server/subscribe_call.h"

namespace aetherfs {
namespace {

// As DatasetName::Escaped() does, for the beginning of a name.
std::string EscapePrefix(std::string_view prefix) {
  std::string escaped;
  for (const char c : prefix) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (plain) {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

absl::Status NoSuchDataset(const DatasetName& name) {
  return absl::NotFoundError(fmt::format("there is no dataset {}", name.str()));
}

}  // namespace

void DatasetService::Run(const UnaryCall& call, std::function<absl::Status()> body) {
  const bool queued = server_.control->TrySubmit([this, call, body = std::move(body)] {
    if (server_.clock->Now() >= call.deadline()) {
      call.Finish(absl::DeadlineExceededError("the call waited too long for its turn"));
    } else {
      call.Finish(body());
    }
  });
  if (!queued)
    call.Finish(absl::ResourceExhaustedError("too many calls are waiting: try again, or another server"));
}

grpc::ServerUnaryReactor* DatasetService::Publish(grpc::CallbackServerContext* context,
                                                  const dataset::v1::PublishRequest* request,
                                                  dataset::v1::PublishResponse* response) {
  const UnaryCall call(context, "Publish", server_.clock, server_.metrics);
  Run(call, [=, this] { return DoPublish(*request, call.deadline(), response); });
  return call.reactor();
}

absl::Status DatasetService::DoPublish(const dataset::v1::PublishRequest& request, absl::Time deadline,
                                       dataset::v1::PublishResponse* response) {
  ASSIGN_OR_RETURN(const PublishCommit commit, CheckPublish(request));
  RETURN_IF_ERROR(server_.gate->status());
  ASSIGN_OR_RETURN(const ManifestSummaryPtr summary,
                   server_.catalog->Read(commit.dataset, commit.digest, deadline));
  RETURN_IF_ERROR(server_.catalog->CheckBlocks(commit.dataset, *summary, deadline));
  // Counts only if an entry is to name them.
  const absl::Status deltas = server_.catalog->CheckDeltas(commit.dataset, commit.deltas, deadline);
  const DatasetLinePtr line = server_.hub->Open(commit.dataset);
  const auto propose = [&](const DatasetState& state) {
    auto entry = ProposePublish(commit, *summary, state);
    if (entry.ok() && entry->has_value() && !deltas.ok()) entry = deltas;
    return entry;
  };
  ASSIGN_OR_RETURN(const Journal::Appended appended,
                   server_.hub->Append(line, commit.nonce, deadline, propose));
  response->set_seq(appended.seq);
  response->set_unchanged(!appended.written);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::UpdateTags(grpc::CallbackServerContext* context,
                                                     const dataset::v1::UpdateTagsRequest* request,
                                                     dataset::v1::UpdateTagsResponse* response) {
  const UnaryCall call(context, "UpdateTags", server_.clock, server_.metrics);
  Run(call, [=, this] { return DoUpdateTags(*request, call.deadline(), response); });
  return call.reactor();
}

absl::Status DatasetService::DoUpdateTags(const dataset::v1::UpdateTagsRequest& request,
                                          absl::Time deadline, dataset::v1::UpdateTagsResponse* response) {
  ASSIGN_OR_RETURN(const TagCommit commit, CheckUpdateTags(request));
  RETURN_IF_ERROR(server_.gate->status());
  std::vector<ManifestSummaryPtr> summaries;
  for (const TagCommit::Move& move : commit.moves) {
    ASSIGN_OR_RETURN(ManifestSummaryPtr summary,
                     server_.catalog->Read(commit.dataset, move.digest, deadline));
    RETURN_IF_ERROR(server_.catalog->CheckBlocks(commit.dataset, *summary, deadline));
    summaries.push_back(std::move(summary));
  }
  const DatasetLinePtr line = server_.hub->Open(commit.dataset);
  ASSIGN_OR_RETURN(const Journal::Appended appended,
                   server_.hub->Append(line, commit.nonce, deadline, [&](const DatasetState& state) {
                     return ProposeTags(commit, summaries, state);
                   }));
  response->set_seq(appended.seq);
  response->set_unchanged(!appended.written);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::Lookup(grpc::CallbackServerContext* context,
                                                 const dataset::v1::LookupRequest* request,
                                                 dataset::v1::LookupResponse* response) {
  const UnaryCall call(context, "Lookup", server_.clock, server_.metrics);
  const absl::StatusOr<DatasetName> name = DatasetName::Parse(request->dataset());
  if (!name.ok()) {
    call.Finish(name.status());
    return call.reactor();
  }
  server_.hub->Refresh(server_.hub->Open(*name), [=, this, name = *name](absl::StatusOr<SeenDataset> seen) {
    if (!seen.ok()) {
      call.Finish(seen.status());
    } else if (request->digest().empty()) {
      call.Finish(FillLookup(name, *request, *seen, call.deadline(), response));
    } else {
      // May read a manifest: not here, where others wait for their answers.
      Run(call, [=, this, seen = *std::move(seen)] {
        return FillLookup(name, *request, seen, call.deadline(), response);
      });
    }
  });
  return call.reactor();
}

absl::Status DatasetService::FillLookup(const DatasetName& name, const dataset::v1::LookupRequest& request,
                                        const SeenDataset& seen, absl::Time deadline,
                                        dataset::v1::LookupResponse* response) {
  const DatasetState& state = *seen.view->state;
  if (!state.exists()) return NoSuchDataset(name);
  std::optional<DatasetState::Snapshot> snapshot;
  if (!request.digest().empty()) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
    for (const auto& [tag, value] : state.tags) {
      if (value.snapshot.digest == digest) snapshot = value.snapshot;
    }
    if (!snapshot.has_value()) {
      ASSIGN_OR_RETURN(const ManifestSummaryPtr summary, server_.catalog->Read(name, digest, deadline));
      snapshot = summary->snapshot;
    }
  } else {
    const std::string tag = request.tag().empty() ? std::string(kDefaultTag) : request.tag();
    RETURN_IF_ERROR(ValidateTag(tag));
    const auto it = state.tags.find(tag);
    if (it == state.tags.end())
      return absl::NotFoundError(fmt::format("{} has no tag {}", name.str(), tag));
    snapshot = it->second.snapshot;
    response->set_tag(tag);
  }
  SnapshotToProto(*snapshot, response->mutable_snapshot());
  response->set_seq(state.seq);
  response->set_epoch(state.epoch);
  FreshnessToProto(seen, response->mutable_freshness());
  if (const record::v1::JournalEntry* entry = PublicationOf(*seen.view, snapshot->digest)) {
    *response->mutable_change() = ChangeFromEntry(*entry);
  }
  for (const KeptDelta* delta : DeltasTowards(state.deltas, snapshot->digest, kMaxLookupDeltas)) {
    DeltaToProto(*delta, response->add_deltas());
  }
  return absl::OkStatus();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* DatasetService::Subscribe(grpc::CallbackServerContext*,
                                                                      const grpc::ByteBuffer* request) {
  return StartSubscribeCall(server_, *request);
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* context,
                                                       const dataset::v1::ListDatasetsRequest* request,
                                                       dataset::v1::ListDatasetsResponse* response) {
  const UnaryCall call(context, "ListDatasets", server_.clock, server_.metrics);
  Run(call, [=, this] { return DoListDatasets(*request, call.deadline(), response); });
  return call.reactor();
}

absl::Status DatasetService::DoListDatasets(const dataset::v1::ListDatasetsRequest& request,
                                            absl::Time deadline,
                                            dataset::v1::ListDatasetsResponse* response) {
  if (request.page_size() > kMaxPageSize) {
    return absl::InvalidArgumentError(
        fmt::format("a page of {} datasets, at most {} are allowed", request.page_size(), kMaxPageSize));
  }
  ListOptions options;
  options.prefix = std::string(kCatalogPrefix) + EscapePrefix(request.prefix());
  options.limit = request.page_size() == 0 ? kMaxPageSize : request.page_size();
  options.deadline = std::min(deadline, server_.clock->Now() + DatasetHub::kRefreshTimeout);
  if (!request.page_token().empty()) {
    if (!DatasetName::Unescape(request.page_token()).ok()) {
      return absl::InvalidArgumentError("the page token is none that this call has given");
    }
    options.start_after = std::string(kCatalogPrefix) + request.page_token();
  }
  const absl::StatusOr<ListResult> page = server_.store->List(options);
  if (!page.ok()) {
    // What this server happens to know is better than nothing, if the store is away.
    const std::vector<std::string> known = server_.hub->KnownDatasets();
    if (!IsTransient(page.status()) || known.empty() || !request.page_token().empty()) {
      return Annotate(page.status(), "listing the datasets");
    }
    for (const std::string& name : known) {
      if (name.starts_with(request.prefix())) response->add_datasets(name);
    }
    response->mutable_freshness()->set_stale(true);
    server_.metrics->stale_answers.Increment();
    return absl::OkStatus();
  }
  std::string last;
  for (const ListedObject& object : page->objects) {
    last = object.key.substr(kCatalogPrefix.size());
    const absl::StatusOr<DatasetName> name = DatasetName::Unescape(last);
    if (name.ok()) response->add_datasets(name->str());
  }
  if (page->more) response->set_next_page_token(last);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::ListTags(grpc::CallbackServerContext* context,
                                                   const dataset::v1::ListTagsRequest* request,
                                                   dataset::v1::ListTagsResponse* response) {
  const UnaryCall call(context, "ListTags", server_.clock, server_.metrics);
  const absl::StatusOr<DatasetName> name = DatasetName::Parse(request->dataset());
  if (!name.ok()) {
    call.Finish(name.status());
    return call.reactor();
  }
  server_.hub->Refresh(server_.hub->Open(*name), [=, name = *name](absl::StatusOr<SeenDataset> seen) {
    if (!seen.ok() || !seen->view->state->exists()) {
      call.Finish(seen.ok() ? NoSuchDataset(name) : seen.status());
      return;
    }
    const DatasetState& state = *seen->view->state;
    for (const auto& [tag, value] : state.tags) TagToProto(tag, value, response->add_tags());
    response->set_seq(state.seq);
    response->set_epoch(state.epoch);
    FreshnessToProto(*seen, response->mutable_freshness());
    call.Finish(absl::OkStatus());
  });
  return call.reactor();
}

grpc::ServerUnaryReactor* DatasetService::UpdateSettings(grpc::CallbackServerContext* context,
                                                         const dataset::v1::UpdateSettingsRequest* request,
                                                         dataset::v1::UpdateSettingsResponse* response) {
  const UnaryCall call(context, "UpdateSettings", server_.clock, server_.metrics);
  Run(call, [=, this] { return DoUpdateSettings(*request, call.deadline(), response); });
  return call.reactor();
}

absl::Status DatasetService::DoUpdateSettings(const dataset::v1::UpdateSettingsRequest& request,
                                              absl::Time deadline,
                                              dataset::v1::UpdateSettingsResponse* response) {
  ASSIGN_OR_RETURN(const SettingsCommit commit, CheckUpdateSettings(request));
  RETURN_IF_ERROR(server_.gate->status());
  ASSIGN_OR_RETURN(
      const Journal::Appended appended,
      server_.hub->Append(server_.hub->Open(commit.dataset), commit.nonce, deadline,
                          [&](const DatasetState& state) { return ProposeSettings(commit, state); }));
  response->set_seq(appended.seq);
  response->set_unchanged(!appended.written);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::GetSettings(grpc::CallbackServerContext* context,
                                                      const dataset::v1::GetSettingsRequest* request,
                                                      dataset::v1::GetSettingsResponse* response) {
  const UnaryCall call(context, "GetSettings", server_.clock, server_.metrics);
  const absl::StatusOr<DatasetName> name = DatasetName::Parse(request->dataset());
  if (!name.ok()) {
    call.Finish(name.status());
    return call.reactor();
  }
  server_.hub->Refresh(server_.hub->Open(*name), [=, name = *name](absl::StatusOr<SeenDataset> seen) {
    if (!seen.ok() || !seen->view->state->exists()) {
      call.Finish(seen.ok() ? NoSuchDataset(name) : seen.status());
      return;
    }
    for (const auto& [key, value] : WithDefaults(seen->view->state->settings)) {
      (*response->mutable_settings())[key] = value;
    }
    response->set_seq(seen->view->state->seq);
    FreshnessToProto(*seen, response->mutable_freshness());
    call.Finish(absl::OkStatus());
  });
  return call.reactor();
}

grpc::ServerUnaryReactor* DatasetService::History(grpc::CallbackServerContext* context,
                                                  const dataset::v1::HistoryRequest* request,
                                                  dataset::v1::HistoryResponse* response) {
  const UnaryCall call(context, "History", server_.clock, server_.metrics);
  Run(call, [=, this] { return DoHistory(*request, call.deadline(), response); });
  return call.reactor();
}

absl::Status DatasetService::DoHistory(const dataset::v1::HistoryRequest& request, absl::Time deadline,
                                       dataset::v1::HistoryResponse* response) {
  ASSIGN_OR_RETURN(const DatasetName name, DatasetName::Parse(request.dataset()));
  if (request.limit() > Journal::kMaxHistory) {
    return absl::InvalidArgumentError(
        fmt::format("{} entries at once, at most {} are allowed", request.limit(), Journal::kMaxHistory));
  }
  const DatasetLinePtr line = server_.hub->Open(name);
  const size_t limit = request.limit() == 0 ? kDefaultHistory : request.limit();
  ASSIGN_OR_RETURN(const std::vector<JournalEntryPtr> entries,
                   line->journal().History(request.before_seq(), limit, deadline));
  const std::shared_ptr<const JournalView> view = line->view();
  if (view == nullptr || !view->state->exists()) return NoSuchDataset(name);
  for (const JournalEntryPtr& entry : entries) *response->add_changes() = ChangeFromEntry(*entry);
  return absl::OkStatus();
}

}  // namespace aetherfs

#include "aetherfs/agent/update.h"

#include <algorithm>
#include <utility>

#include "aetherfs/agent/base_files.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// A chain up to this size is taken without asking for the manifest that would tell whether blocks cost
// less.
constexpr uint64_t kSmallChain = 128 * 1024;

class Updater {
 public:
  Updater(Fetcher& fetcher, UpdateRequest request, TransferStats* stats, const std::atomic<bool>* cancelled)
      : fetcher_(fetcher),
        deltas_(fetcher.client()),
        request_(std::move(request)),
        stats_(stats),
        cancelled_(cancelled) {}

  absl::StatusOr<UpdateResult> Run() {
    if (!request_.canonical.empty()) RETURN_IF_ERROR(Know(std::move(request_.canonical)));
    const absl::Status status = Go();
    for (const std::string& path : between_) {
      const absl::Status removed = RemoveTree(path);
      if (!removed.ok()) {
        result_.warning = fmt::format("a version on the way could not be removed: {}", Message(removed));
      }
    }
    RETURN_IF_ERROR(status);
    return std::move(result_);
  }

 private:
  absl::Status Go() {
    for (;;) {
      ASSIGN_OR_RETURN(const std::vector<DeltaOffer> chain, ChooseChain());
      if (chain.empty()) return Finish(nullptr, 0);
      const DeltaOffer& offer = chain.front();
      const auto base = std::find_if(request_.bases.begin(), request_.bases.end(),
                                     [&](const BaseOnDisk& b) { return b.digest == offer.from; });
      auto loaded = Load(offer, *base);
      if (absl::IsCancelled(loaded.status())) return loaded.status();
      if (!loaded.ok()) {
        ++stats_->delta_failures;
        result_.warning =
            fmt::format("delta {} of dataset {} could not be used: {}", offer.digest.ToString(),
                        request_.dataset.str(), Message(loaded.status()));
        std::erase_if(request_.offers, [&](const DeltaOffer& o) { return o.digest == offer.digest; });
        continue;
      }
      if (chain.size() == 1) return Finish(*std::move(loaded), base->source);
      RETURN_IF_ERROR(MakeBetween(*std::move(loaded), base->source));
    }
  }

  absl::StatusOr<std::vector<DeltaOffer>> ChooseChain() {
    std::vector<Digest> at_hand;
    for (const BaseOnDisk& base : request_.bases) at_hand.push_back(base.digest);
    std::vector<DeltaOffer> chain = CheapestChain(at_hand, request_.target, request_.offers, UINT64_MAX);
    if (chain.empty()) return chain;
    const TransferCost by_deltas = CostOfChain(chain);
    if (result_.manifest == nullptr) {
      // One delta is the size that a publisher found worth it for just this step.
      if (chain.size() == 1 || by_deltas.bytes <= kSmallChain) return chain;
      ASSIGN_OR_RETURN(std::string canonical,
                       fetcher_.FetchManifest(request_.dataset, request_.target, stats_));
      RETURN_IF_ERROR(Know(std::move(canonical)));
    }
    const TransferCost by_blocks = CostOfBlocks(*result_.manifest, request_.sources, request_.options);
    if (by_blocks.Weight() <= by_deltas.Weight()) chain.clear();
    return chain;
  }

  absl::Status Know(std::string canonical) {
    ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(canonical));
    result_.manifest = std::make_shared<const Manifest>(std::move(manifest));
    result_.canonical = std::move(canonical);
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<const LoadedDelta>> Load(const DeltaOffer& offer, const BaseOnDisk& base) {
    const std::string& directory = request_.sources[base.source].directory;
    ASSIGN_OR_RETURN(const std::unique_ptr<Tree> tree, Tree::Open(directory, *base.manifest));
    return deltas_.Load(
        request_.dataset, offer, *base.manifest, [&] { return std::make_unique<BaseFiles>(*tree); },
        stats_);
  }

  absl::Status MakeBetween(std::shared_ptr<const LoadedDelta> delta, size_t source) {
    const Digest digest = delta->offer.to;
    const std::shared_ptr<const Manifest> manifest = delta->manifest;
    between_.push_back(request_.scratch(digest));
    // What a killed process left may not have been synced, or is not what it looks like.
    RETURN_IF_ERROR(RemoveTree(between_.back()));
    RETURN_IF_ERROR(MakeDirectories(between_.back(), 0700));
    MaterializeOptions options = request_.options;
    options.durable = false;  // what is linked from it is synced with what is linked to
    request_.sources[source].delta = std::move(delta);
    const auto made = Materialize(fetcher_, request_.dataset, *manifest, between_.back(), request_.sources,
                                  options, stats_, cancelled_);
    request_.sources[source].delta = nullptr;
    RETURN_IF_ERROR(made.status());
    request_.bases.push_back({digest, manifest, request_.sources.size()});
    request_.sources.push_back(
        {.directory = between_.back(), .manifest = manifest.get(), .may_link = true, .durable = false});
    return absl::OkStatus();
  }

  absl::Status Finish(std::shared_ptr<const LoadedDelta> delta, size_t source) {
    if (delta != nullptr) {
      result_.manifest = delta->manifest;
      result_.canonical = delta->canonical;
      request_.sources[source].delta = std::move(delta);
    } else if (result_.manifest == nullptr) {
      ASSIGN_OR_RETURN(std::string canonical,
                       fetcher_.FetchManifest(request_.dataset, request_.target, stats_));
      RETURN_IF_ERROR(Know(std::move(canonical)));
    }
    for (LocalSource& known : request_.sources) {
      if (known.manifest == nullptr) known.manifest = result_.manifest.get();
    }
    if (request_.total_bytes != nullptr) {
      uint64_t total = 0;
      for (const uint32_t chunk :
           PlanMaterialize(*result_.manifest, request_.sources, request_.options).fetches) {
        total += result_.manifest->chunks[chunk].size;
      }
      *request_.total_bytes = total;
    }
    ASSIGN_OR_RETURN(result_.files,
                     Materialize(fetcher_, request_.dataset, *result_.manifest, request_.directory,
                                 request_.sources, request_.options, stats_, cancelled_));
    return absl::OkStatus();
  }

  Fetcher& fetcher_;
  DeltaFetcher deltas_;
  UpdateRequest request_;
  TransferStats* const stats_;
  const std::atomic<bool>* const cancelled_;
  UpdateResult result_;
  std::vector<std::string> between_;  // versions on the way
};

}  // namespace

TransferCost CostOfChain(const std::vector<DeltaOffer>& chain) {
  TransferCost cost;
  for (const DeltaOffer& offer : chain) {
    cost.bytes += offer.TotalSize();
    ++cost.requests;
  }
  return cost;
}

TransferCost CostOfBlocks(const Manifest& target, const std::vector<LocalSource>& sources,
                          const MaterializeOptions& options) {
  const FetchPlan plan = PlanFetch(target, PlanMaterialize(target, sources, options).fetches);
  return {plan.bytes, plan.requests.size()};
}

absl::StatusOr<UpdateResult> StageUpdate(Fetcher& fetcher, UpdateRequest request, TransferStats* stats,
                                         const std::atomic<bool>* cancelled) {
  return Updater(fetcher, std::move(request), stats, cancelled).Run();
}

}  // namespace aetherfs

#include "aetherfs/agent/delta_way.h"

#include <algorithm>
#include <utility>

#include "aetherfs/agent/patch_applier.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/file.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {
namespace {

// What it costs to make `missing` chunks of a delta's target: from patches, the rest from blocks.
void AddCostOfStep(const LoadedDelta& step, std::span<const uint32_t> missing, TransferCost* cost) {
  const std::vector<PatchRequest> requests = PlanPatches(step, missing);
  std::vector<bool> made(step.manifest->chunks.size(), false);
  cost->bytes += BytesToReceive(step, requests);
  for (const PatchRequest& request : requests) {
    cost->requests += request.at_hand ? 0 : 1;
    for (const uint32_t patch : request.chosen) {
      for (const uint32_t chunk : step.delta.patches[patch].chunks) made[chunk] = true;
    }
  }
  std::vector<uint32_t> rest;
  for (const uint32_t chunk : missing) {
    if (!made[chunk]) rest.push_back(chunk);
  }
  const FetchPlan blocks = PlanFetch(*step.manifest, rest);
  cost->bytes += blocks.bytes;
  cost->requests += blocks.requests.size();
}

}  // namespace

WayCost CostOf(const DeltaWay& way, const Manifest& target, const std::vector<LocalSource>& sources,
               const MaterializeOptions& options) {
  WayCost cost;
  const FetchPlan blocks = PlanFetch(target, PlanMaterialize(target, sources, options).fetches);
  cost.by_blocks = {blocks.bytes, blocks.requests.size()};
  std::vector<LocalSource> from = sources;
  for (const auto& step : way.steps) {
    ++cost.heads.requests;
    cost.heads.bytes += step->offer.head_size + step->behind_head.size();
    AddCostOfStep(*step, PlanMaterialize(*step->manifest, from, options).fetches, &cost.by_deltas);
    from.push_back({"", step->manifest.get(), true, nullptr});
  }
  return cost;
}

DeltaWay FindDeltaWay(ServerClient* client, const DatasetName& dataset, std::span<const BaseOnDisk> at_hand,
                      const Digest& target, std::vector<DeltaOffer> offers, uint64_t most,
                      TransferStats* stats) {
  DeltaFetcher fetcher(client);
  std::vector<Digest> digests;
  for (const BaseOnDisk& base : at_hand) digests.push_back(base.digest);
  std::vector<std::shared_ptr<const LoadedDelta>> loaded;  // all that were read
  const auto loaded_of = [&loaded](const DeltaOffer& offer) {
    return std::find_if(loaded.begin(), loaded.end(),
                        [&](const auto& l) { return l->offer.digest == offer.digest; });
  };
  for (;;) {
    const std::vector<DeltaOffer> chain = CheapestChain(digests, target, offers, most);
    DeltaWay way;
    if (chain.empty()) return way;
    const auto begin = std::find_if(at_hand.begin(), at_hand.end(),
                                    [&](const BaseOnDisk& b) { return b.digest == chain.front().from; });
    way.source = begin->source;
    std::shared_ptr<const Manifest> base = begin->manifest;
    for (const DeltaOffer& offer : chain) {
      if (const auto known = loaded_of(offer); known != loaded.end()) {
        way.steps.push_back(*known);
      } else {
        auto read =
            fetcher.Load(dataset, offer, *base,
                         chain.size() == 1 ? DeltaFetcher::kWhole : DeltaFetcher::kWholeInChain, stats);
        if (!read.ok()) {
          ++stats->delta_failures;
          LogWarning(
              "a delta can't be used",
              {{"dataset", dataset.str()}, {"delta", offer.digest.ToString()}, {"error", read.status()}});
          std::erase_if(offers, [&](const DeltaOffer& o) { return o.digest == offer.digest; });
          break;
        }
        loaded.push_back(*read);
        way.steps.push_back(*std::move(read));
      }
      base = way.steps.back()->manifest;
    }
    if (way.steps.size() == chain.size()) return way;
  }
}

absl::StatusOr<MaterializeResult> MaterializeByWay(Fetcher& fetcher, const DatasetName& dataset,
                                                   const Manifest& manifest, const std::string& directory,
                                                   std::vector<LocalSource> sources, const DeltaWay& way,
                                                   const MaterializeOptions& options,
                                                   const std::function<std::string(const Digest&)>& scratch,
                                                   TransferStats* stats,
                                                   const std::atomic<bool>* cancelled) {
  const WayCost cost = CostOf(way, manifest, sources, options);
  std::vector<std::string> between;
  if (!way.steps.empty() && cost.by_deltas.Weight() < cost.by_blocks.Weight()) {
    MaterializeOptions passing = options;
    passing.durable = false;  // nobody will look for it after a power failure
    size_t base = way.source;
    for (size_t i = 0; i + 1 < way.steps.size(); ++i) {
      sources[base].delta = way.steps[i];
      between.push_back(scratch(way.steps[i]->offer.to));
      RETURN_IF_ERROR(MakeDirectories(between.back(), 0700));
      const auto made = Materialize(fetcher, dataset, *way.steps[i]->manifest, between.back(), sources,
                                    passing, stats, cancelled);
      if (!made.ok()) return made.status();
      sources[base].delta = nullptr;
      base = sources.size();
      sources.push_back({between.back(), way.steps[i]->manifest.get(), true, nullptr});
    }
    sources[base].delta = way.steps.back();
  }
  const auto result =
      Materialize(fetcher, dataset, manifest, directory, sources, options, stats, cancelled);
  if (!result.ok()) return result.status();
  for (const std::string& path : between) {
    const absl::Status removed = RemoveTree(path);
    if (!removed.ok())
      LogWarning("could not remove a version between", {{"path", path}, {"error", removed}});
  }
  return result;
}

}  // namespace aetherfs

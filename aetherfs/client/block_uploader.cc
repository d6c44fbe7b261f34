#include "aetherfs/client/block_uploader.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Sending a group this small costs less than asking whether it is there.
constexpr size_t kWorthAsking = 1024 * 1024;

}  // namespace

BlockUploader::BlockUploader(ServerClient* client, const DatasetName& dataset,
                             std::atomic<uint64_t>* progress_bytes)
    : client_(client), dataset_(dataset), progress_bytes_(progress_bytes) {}

BlockUploader::~BlockUploader() {
  Fail(absl::CancelledError("the publish ended"));
  for (std::thread& thread : threads_) thread.join();
}

absl::Status BlockUploader::Add(uint32_t index, std::string block) {
  {
    absl::MutexLock lock(&mutex_);
    const auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return in_flight_ < kMaxBlocksInFlight || !error_.ok();
    };
    mutex_.Await(absl::Condition(&room));
    RETURN_IF_ERROR(error_);
    ++in_flight_;
    finished_.push_back({.index = index, .bytes = std::move(block), .digest = {}});
  }
  if (threads_.size() < kUploadThreads) threads_.emplace_back([this] { Work(); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BlockUploader::Uploaded>> BlockUploader::Finish() {
  {
    absl::MutexLock lock(&mutex_);
    all_added_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(error_);
  return std::move(uploaded_);
}

bool BlockUploader::TakeGroup(std::vector<Block>* group) {
  if (finished_.size() < kBlocksPerHashGroup && !all_added_) return false;
  const size_t count = std::min(finished_.size(), kMaxBlocksInFlight);
  group->reserve(count);
  for (size_t i = 0; i < count; ++i) {
    group->push_back(std::move(finished_.front()));
    finished_.pop_front();
  }
  return count > 0;
}

void BlockUploader::Work() {
  while (true) {
    std::vector<Block> group;
    Block block;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return !error_.ok() || !hashed_.empty() || finished_.size() >= kBlocksPerHashGroup ||
               (all_added_ && (!finished_.empty() || in_flight_ == 0));
      };
      mutex_.Await(absl::Condition(&ready));
      if (!error_.ok()) return;
      if (!TakeGroup(&group)) {
        if (hashed_.empty()) return;  // all are with the server
        block = std::move(hashed_.front());
        hashed_.pop_front();
      }
    }
    if (group.empty()) {
      Send(std::move(block));
    } else {
      HashGroup(std::move(group));
    }
  }
}

void BlockUploader::HashGroup(std::vector<Block> group) {
  std::vector<std::string_view> messages;
  for (const Block& block : group) messages.push_back(block.bytes);
  std::vector<Digest> digests(group.size());
  Sha256Many(messages, digests);
  for (size_t i = 0; i < group.size(); ++i) group[i].digest = digests[i];
  auto exist = WhichExist(group);
  if (!exist.ok()) return Fail(exist.status());
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < group.size(); ++i) {
    if ((*exist)[i]) {
      uploaded_.push_back({.index = group[i].index,
                           .digest = group[i].digest,
                           .size = group[i].bytes.size(),
                           .sent = false});
      --in_flight_;
    } else {
      hashed_.push_back(std::move(group[i]));
    }
  }
}

absl::StatusOr<std::vector<bool>> BlockUploader::WhichExist(const std::vector<Block>& group) {
  std::vector<bool> exist(group.size());
  size_t total = 0;
  block::v1::LookupRequest request;
  request.set_dataset(dataset_.str());
  request.set_kind(block::v1::OBJECT_KIND_BLOCK);
  for (const Block& block : group) {
    total += block.bytes.size();
    request.add_digests(block.digest.ToString());
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!ask_ || total < kWorthAsking) return exist;
  }
  ASSIGN_OR_RETURN(const block::v1::LookupResponse response, client_->LookupObjects(request));
  if (response.objects_size() != request.digests_size()) {
    return absl::DataLossError("the server did not answer for every block that it was asked about");
  }
  bool any = false;
  for (size_t i = 0; i < group.size(); ++i) {
    const auto& object = response.objects(static_cast<int>(i));
    exist[i] = object.exists() && object.size() == group[i].bytes.size();
    any = any || exist[i];
  }
  if (!any) {
    absl::MutexLock lock(&mutex_);
    ask_ = false;
  }
  return exist;
}

void BlockUploader::Send(Block block) {
  block::v1::UploadHeader header;
  header.set_dataset(dataset_.str());
  header.set_kind(block::v1::OBJECT_KIND_BLOCK);
  header.set_digest(block.digest.ToString());
  header.set_size(block.bytes.size());
  auto response = client_->Upload(header, block.bytes);
  if (!response.ok()) {
    return Fail(Annotate(response.status(), fmt::format("could not upload block {} of dataset {}",
                                                        block.digest.ToString(), dataset_.str())));
  }
  const bool sent = !response->already_present();
  if (sent && progress_bytes_ != nullptr) *progress_bytes_ += block.bytes.size();
  const Uploaded uploaded = {
      .index = block.index, .digest = block.digest, .size = block.bytes.size(), .sent = sent};
  std::string().swap(block.bytes);  // before there is room for the next one
  absl::MutexLock lock(&mutex_);
  uploaded_.push_back(uploaded);
  --in_flight_;
}

void BlockUploader::Fail(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  if (error_.ok()) error_ = std::move(status);
  finished_.clear();
  hashed_.clear();
}

}  // namespace aetherfs

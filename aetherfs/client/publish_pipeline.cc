#include "aetherfs/client/publish_pipeline.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/client/hash_chunks.h"

namespace aetherfs {
namespace {

// What a frame adds to the index of its block, at most: two counts, then of each chunk size and digest; and
// by how much the count of frames may grow.
size_t MostIndexBytes(size_t chunks) { return 16 + chunks * (4 + Digest::kSize); }

}  // namespace

PublishPipeline::PublishPipeline(Scan* scan, ChunkTable* table, BlockUploader* uploader, Options options)
    : scan_(scan),
      table_(table),
      uploader_(uploader),
      options_(std::move(options)),
      file_refs_(scan->entries.size()) {}

absl::StatusOr<std::vector<uint32_t>> PublishPipeline::Run(std::span<const uint32_t> files) {
  if (files.empty()) return std::vector<uint32_t>();
  assign_turn_ = std::make_unique<Turnstile>();
  append_turn_ = std::make_unique<Turnstile>();
  next_number_ = 0;
  for (const uint32_t file : files) file_refs_[file] = {};
  {
    absl::MutexLock lock(&mutex_);
    all_submitted_ = false;
    changed_.clear();
  }
  const int threads =
      std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxPackingThreads);
  std::vector<std::thread> packers;
  for (int i = 0; i < threads; ++i) packers.emplace_back([this] { Pack(); });
  Produce(files);
  for (std::thread& packer : packers) packer.join();
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(error_);
  std::sort(changed_.begin(), changed_.end());
  return std::move(changed_);
}

absl::Status PublishPipeline::Finish() {
  if (!builder_.has_value()) return absl::OkStatus();
  return FinishBlock();
}

std::span<const uint32_t> PublishPipeline::ChunksOf(uint32_t file) const {
  return std::span(refs_).subspan(file_refs_[file].first, file_refs_[file].count);
}

// ---- The calling thread.

void PublishPipeline::Produce(std::span<const uint32_t> files) {
  absl::Status status = PlanFiles(files);
  if (!status.ok()) Fail(std::move(status));
  absl::MutexLock lock(&mutex_);
  all_submitted_ = true;
}

absl::Status PublishPipeline::PlanFiles(std::span<const uint32_t> files) {
  FileReader reader(scan_, &options_.hook);
  ChunkBatch* batch = TakeFreeBatch();
  const auto next = [this](ChunkBatch* full) {
    Submit(full);
    return TakeFreeBatch();
  };
  for (const uint32_t file : files) {
    if (batch == nullptr) return absl::OkStatus();  // another stage failed and said so
    if (Cancelled()) return absl::CancelledError("the publish was cancelled");
    ScannedEntry& entry = scan_->entries[file];
    if (entry.size <= kSmallFileSize) {
      if (batch->planned + entry.size > kBatchSize || batch->files.size() == kMaxFilesPerBatch) {
        batch = next(batch);
        if (batch == nullptr) return absl::OkStatus();
      }
      batch->files.push_back(file);
      batch->planned += entry.size;
      continue;
    }
    if (!batch->files.empty()) {  // what is used is not known before they are read
      batch = next(batch);
      if (batch == nullptr) return absl::OkStatus();
    }
    uint64_t counted = 0;
    const auto count_and_next = [&](ChunkBatch* full) {
      if (options_.processed_bytes != nullptr) *options_.processed_bytes += reader.offset() - counted;
      counted = reader.offset();
      return Cancelled() ? (Submit(full), nullptr) : next(full);
    };
    ASSIGN_OR_RETURN(const ReadOutcome outcome,
                     ReadLargeFile(reader, file, &entry, &batch, count_and_next));
    if (batch == nullptr) {
      return Cancelled() ? absl::CancelledError("the publish was cancelled") : absl::OkStatus();
    }
    if (options_.processed_bytes != nullptr) *options_.processed_bytes += reader.offset() - counted;
    if (outcome == ReadOutcome::kChanged) Changed(file);
  }
  if (batch != nullptr) Submit(batch);
  return absl::OkStatus();
}

ChunkBatch* PublishPipeline::TakeFreeBatch() {
  ChunkBatch* batch = nullptr;
  absl::MutexLock lock(&mutex_);
  if (free_.empty() && batches_.size() < kMaxBatches) {
    batches_.push_back(std::make_unique<ChunkBatch>());
    batch = batches_.back().get();
  } else {
    const auto ready = [this]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !free_.empty() || !error_.ok(); };
    mutex_.Await(absl::Condition(&ready));
    if (!error_.ok()) return nullptr;
    batch = free_.front();
    free_.pop_front();
  }
  batch->Clear(next_number_++);
  return batch;
}

void PublishPipeline::Submit(ChunkBatch* batch) {
  absl::MutexLock lock(&mutex_);
  submitted_.push_back(batch);
}

void PublishPipeline::Release(ChunkBatch* batch) {
  absl::MutexLock lock(&mutex_);
  free_.push_back(batch);
}

// ---- The packing threads.

void PublishPipeline::Pack() {
  FrameEncoder encoder(options_.compression_level);
  FileReader reader(scan_, &options_.hook);
  while (ChunkBatch* batch = TakeSubmitted()) {
    absl::Status status = PackBatch(*batch, encoder, reader);
    Release(batch);
    if (!status.ok()) Fail(std::move(status));
  }
}

ChunkBatch* PublishPipeline::TakeSubmitted() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !submitted_.empty() || all_submitted_ || !error_.ok();
  };
  mutex_.Await(absl::Condition(&ready));
  if (submitted_.empty() || !error_.ok()) return nullptr;
  ChunkBatch* batch = submitted_.front();
  submitted_.pop_front();
  return batch;
}

absl::Status PublishPipeline::PackBatch(ChunkBatch& batch, FrameEncoder& encoder, FileReader& reader) {
  if (Cancelled()) return absl::CancelledError("the publish was cancelled");
  RETURN_IF_ERROR(ReadSmallFiles(batch, reader));
  HashChunks(batch);
  if (!assign_turn_->Enter(batch.number)) return absl::OkStatus();  // whoever broke it failed
  AssignFrames(batch);
  assign_turn_->Leave();
  Compress(batch, encoder);
  if (!append_turn_->Enter(batch.number)) return absl::OkStatus();
  const absl::Status status = Append(batch);
  if (status.ok()) append_turn_->Leave();
  return status;
}

absl::Status PublishPipeline::ReadSmallFiles(ChunkBatch& batch, FileReader& reader) {
  for (const uint32_t file : batch.files) {
    ScannedEntry& entry = scan_->entries[file];
    ASSIGN_OR_RETURN(const ReadOutcome outcome,
                     ReadSmallFile(reader, file, &entry, kBatchSize - batch.used, batch));
    if (outcome == ReadOutcome::kChanged) {
      Changed(file);
    } else if (options_.processed_bytes != nullptr) {
      *options_.processed_bytes += entry.size;
    }
  }
  return absl::OkStatus();
}

void PublishPipeline::HashChunks(ChunkBatch& batch) {
  std::vector<std::string_view> messages;
  messages.reserve(batch.chunks.size());
  for (const ChunkBatch::Chunk& chunk : batch.chunks) messages.push_back(batch.BytesOf(chunk));
  std::vector<Digest> digests(messages.size());
  aetherfs::HashChunks(messages, digests);
  for (size_t i = 0; i < digests.size(); ++i) batch.chunks[i].digest = digests[i];
}

void PublishPipeline::AssignFrames(ChunkBatch& batch) {
  absl::MutexLock lock(&table_mutex_);
  for (uint32_t i = 0; i < batch.chunks.size(); ++i) {
    const ChunkBatch::Chunk& chunk = batch.chunks[i];
    uint32_t index;
    if (const auto known = table_->Find(chunk.digest)) {
      index = *known;
    } else {
      if (batch.frames.empty() || batch.frames.back().raw_size + chunk.size > kMaxFrameSize) {
        batch.frames.emplace_back().index = table_->AddFrame();
      }
      ChunkBatch::Frame& frame = batch.frames.back();
      index = table_->AddChunk(chunk.digest, chunk.size, frame.index, frame.raw_size);
      frame.chunks.push_back(i);
      frame.raw_size += chunk.size;
      ++new_chunks_;
      new_bytes_ += chunk.size;
    }
    Refs& refs = file_refs_[chunk.file];
    if (refs.count == 0) refs.first = refs_.size();
    ++refs.count;
    refs_.push_back(index);
  }
}

void PublishPipeline::Compress(ChunkBatch& batch, FrameEncoder& encoder) {
  for (ChunkBatch::Frame& frame : batch.frames) {
    const ChunkBatch::Chunk& first = batch.chunks[frame.chunks.front()];
    const ChunkBatch::Chunk& last = batch.chunks[frame.chunks.back()];
    std::string_view raw(batch.buffer.get() + first.offset, frame.raw_size);
    if (last.offset + last.size - first.offset != frame.raw_size) {
      frame.gathered.reserve(frame.raw_size);
      for (const uint32_t chunk : frame.chunks) frame.gathered.append(batch.BytesOf(batch.chunks[chunk]));
      raw = frame.gathered;
    }
    frame.encoded = encoder.Encode(raw);
  }
}

absl::Status PublishPipeline::Append(ChunkBatch& batch) {
  for (ChunkBatch::Frame& frame : batch.frames) {
    std::vector<BlockBuilder::ChunkInFrame> chunks;
    chunks.reserve(frame.chunks.size());
    for (const uint32_t chunk : frame.chunks) {
      chunks.push_back({.digest = batch.chunks[chunk].digest, .size = batch.chunks[chunk].size});
    }
    std::string_view stored = frame.encoded.stored;
    if (frame.encoded.codec == FrameCodec::kRaw) {
      stored = frame.gathered.empty()
                   ? std::string_view(batch.buffer.get() + batch.chunks[frame.chunks.front()].offset,
                                      frame.raw_size)
                   : std::string_view(frame.gathered);
    }
    const size_t added = stored.size() + MostIndexBytes(chunks.size());
    if (builder_.has_value() && builder_->FinishedSize() + added > kTargetBlockSize) {
      RETURN_IF_ERROR(FinishBlock());
    }
    if (!builder_.has_value()) {
      builder_.emplace(options_.epoch, kTargetBlockSize);
      absl::MutexLock lock(&table_mutex_);
      block_ = table_->AddBlock();
    }
    const uint64_t offset =
        builder_->AddFrame(frame.encoded.codec, stored, frame.raw_size, std::move(chunks));
    {
      absl::MutexLock lock(&table_mutex_);
      table_->PlaceFrame(frame.index, block_, offset, static_cast<uint32_t>(stored.size()), frame.raw_size,
                         frame.encoded.codec);
    }
  }
  batch.frames.clear();  // they hold memory that a batch that waits has no use for
  return absl::OkStatus();
}

absl::Status PublishPipeline::FinishBlock() {
  std::string bytes = std::move(*builder_).Finish();
  builder_.reset();
  return uploader_->Add(block_, std::move(bytes));
}

void PublishPipeline::Changed(uint32_t file) {
  absl::MutexLock lock(&mutex_);
  changed_.push_back(file);
}

void PublishPipeline::Fail(absl::Status status) {
  assign_turn_->Break();
  append_turn_->Break();
  absl::MutexLock lock(&mutex_);
  if (error_.ok()) error_ = std::move(status);
}

}  // namespace aetherfs

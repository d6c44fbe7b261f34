#ifndef AETHERFS_CACHE_TESTING_HELD_PART_SOURCE_H_
#define AETHERFS_CACHE_TESTING_HELD_PART_SOURCE_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "aetherfs/cache/part_source.h"

namespace aetherfs {

// A part of `size` bytes of which none is there yet.
inline std::shared_ptr<Part> EmptyPart(uint64_t size, uint64_t object_size) {
  return std::make_shared<Part>(PartBuffers().Allocate(size), object_size);
}

inline std::shared_ptr<Part> WholePart(std::string_view bytes, uint64_t object_size) {
  auto part = EmptyPart(bytes.size(), object_size);
  part->Write(0, bytes).IgnoreError();
  part->End(absl::OkStatus());
  return part;
}

// A source that answers when it is told to, the oldest request first. For one thread.
class HeldPartSource : public PartSource {
 public:
  struct Request {
    PartKey key;
    Options options;
    Done done;
  };

  void Get(const PartKey& key, const Options& options, Done done) override {
    requests.push_back({key, options, std::move(done)});
    ++count;
  }

  // With a whole part.
  void Answer(size_t size = kPartSize) { AnswerOf(size, size); }
  void AnswerOf(size_t object_size, size_t size, PartOrigin origin = PartOrigin::kStore) {
    Take().done(PartPtr(WholePart(std::string(size, 'p'), object_size)), origin);
  }
  // With a part that has to be filled.
  std::shared_ptr<Part> Begin(size_t size = kPartSize, PartOrigin origin = PartOrigin::kStore) {
    auto part = EmptyPart(size, size);
    Take().done(PartPtr(part), origin);
    return part;
  }
  void Fail(absl::Status status) { Take().done(std::move(status), PartOrigin::kStore); }

  std::deque<Request> requests;
  int count = 0;

 private:
  Request Take() {
    Request request = std::move(requests.front());
    requests.pop_front();
    return request;
  }
};

// What a request was given.
struct PartAnswer {
  std::optional<absl::StatusOr<PartPtr>> part;
  PartOrigin origin = PartOrigin::kStore;
  int calls = 0;

  bool ok() const { return part.has_value() && part->ok(); }
  // "" if there is no answer yet, or no part.
  std::string_view bytes() const { return ok() ? (**part)->bytes() : std::string_view(); }
  absl::StatusCode code() const { return part.has_value() ? part->status().code() : absl::StatusCode::kOk; }
  PartSource::Done Taker() {
    return [this](absl::StatusOr<PartPtr> given, PartOrigin from) {
      part = std::move(given);
      origin = from;
      ++calls;
    };
  }
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_TESTING_HELD_PART_SOURCE_H_

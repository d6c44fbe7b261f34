// Holds many Subscribe streams open on one server and says when all of them are told of a publish:
//   bench-subscribers HOST:PORT DATASET STREAMS
// prints "ready" when every stream has had the dataset's state, and "notified" when every stream has had
// one change.

#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/dataset/v1/dataset.grpc.pb.h"

namespace {

using aetherfs::dataset::v1::DatasetAPI;
using aetherfs::dataset::v1::SubscribeRequest;
using aetherfs::dataset::v1::SubscribeResponse;

constexpr int kStreamsPerConnection = 500;

// How many streams have come how far.
class Tally {
 public:
  explicit Tally(int streams) : streams_(streams) {}
  void State() { Count(&states_, "ready"); }
  void Change() { Count(&changes_, "notified"); }
  void WaitForChanges() {
    absl::MutexLock lock(&mutex_);
    const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return changes_ == streams_; };
    mutex_.Await(absl::Condition(&all));
  }

 private:
  void Count(int* counter, const char* word) {
    absl::MutexLock lock(&mutex_);
    if (++*counter == streams_) {
      std::puts(word);
      std::fflush(stdout);
    }
  }
  const int streams_;
  absl::Mutex mutex_;
  int states_ ABSL_GUARDED_BY(mutex_) = 0;
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
};

class Stream : public grpc::ClientReadReactor<SubscribeResponse> {
 public:
  Stream(DatasetAPI::Stub* stub, const SubscribeRequest& request, Tally* tally) : tally_(tally) {
    stub->async()->Subscribe(&context_, &request, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (response_.has_change()) {
      tally_->Change();
    } else {
      tally_->State();
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    std::fprintf(stderr, "a stream ended: %s\n", status.error_message().c_str());
    std::_Exit(1);
  }

 private:
  Tally* const tally_;
  grpc::ClientContext context_;
  SubscribeResponse response_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: bench-subscribers HOST:PORT DATASET STREAMS\n");
    return 2;
  }
  const int count = std::atoi(argv[3]);
  SubscribeRequest request;
  request.set_dataset(argv[2]);
  Tally tally(count);
  std::vector<std::unique_ptr<DatasetAPI::Stub>> stubs;
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < count; ++i) {
    if (i % kStreamsPerConnection == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
      stubs.push_back(DatasetAPI::NewStub(
          grpc::CreateCustomChannel(argv[1], grpc::InsecureChannelCredentials(), arguments)));
    }
    streams.push_back(std::make_unique<Stream>(stubs.back().get(), request, &tally));
  }
  tally.WaitForChanges();
  std::fflush(stdout);
  std::_Exit(0);  // the streams end with the process
}

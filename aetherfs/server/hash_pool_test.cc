#include "aetherfs/server/hash_pool.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/synchronization/blocking_counter.h"

namespace aetherfs {
namespace {

std::string Message(size_t size, char seed) {
  std::string message(size, seed);
  for (size_t i = 0; i < size; ++i)
    message[i] = static_cast<char>(seed + static_cast<char>(i * 7 + i / 251));
  return message;
}

TEST(HashPoolTest, ManyStreamsOfAllSizesGetTheirOwnDigests) {
  HashPool pool(2);
  constexpr int kStreams = 40;
  std::vector<std::shared_ptr<std::string>> messages;
  std::vector<Digest> digests(kStreams);
  absl::BlockingCounter done(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    const size_t size = static_cast<size_t>(i) * 50'001;
    messages.push_back(std::make_shared<std::string>(Message(size, static_cast<char>(i))));
    const HashPool::StreamPtr stream = pool.NewStream();
    for (size_t at = 0; at < size; at += 300'000) {
      stream->Update(messages.back(), std::string_view(*messages.back()).substr(at, 300'000));
    }
    stream->Finish([&digests, &done, i](const Digest& digest) {
      digests[static_cast<size_t>(i)] = digest;
      done.DecrementCount();
    });
  }
  done.Wait();
  for (size_t i = 0; i < kStreams; ++i) EXPECT_EQ(digests[i], Sha256::Of(*messages[i])) << i;
}

TEST(HashPoolTest, BytesLiveUntilTheyAreHashedAndNoLonger) {
  auto message = std::make_shared<std::string>(Message(100'000, 'm'));
  const Digest expected = Sha256::Of(*message);
  std::weak_ptr<std::string> watch = message;
  Digest digest;
  {
    HashPool pool(1);
    const HashPool::StreamPtr stream = pool.NewStream();
    const std::string_view bytes = *message;
    stream->Update(std::move(message), bytes);
    stream->Finish([&digest](const Digest& d) { digest = d; });
  }  // finishes what was given
  EXPECT_EQ(digest, expected);
  EXPECT_TRUE(watch.expired());
}

TEST(HashPoolTest, EmptyMessageHasItsDigest) {
  Digest digest;
  {
    HashPool pool(1);
    pool.NewStream()->Finish([&digest](const Digest& d) { digest = d; });
  }
  EXPECT_EQ(digest, Sha256::Of(""));
}

}  // namespace
}  // namespace aetherfs

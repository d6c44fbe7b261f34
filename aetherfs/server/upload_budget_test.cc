#include "aetherfs/server/upload_budget.h"

#include <gtest/gtest.h>

#include <string>

namespace aetherfs {
namespace {

using BytesPtr = std::shared_ptr<UploadBudget::Bytes>;

UploadBudget::Admitted Into(BytesPtr& bytes) {
  return [&bytes](BytesPtr admitted) { bytes = std::move(admitted); };
}

TEST(UploadBudgetTest, AdmitsInOrderAsMemoryComesBack) {
  UploadBudget budget(10);
  BytesPtr a, b, c;
  EXPECT_TRUE(budget.Admit(8, Into(a)));
  EXPECT_TRUE(budget.Admit(5, Into(b)));
  EXPECT_TRUE(budget.Admit(1, Into(c)));  // would fit, but is not first
  EXPECT_NE(a, nullptr);
  EXPECT_EQ(b, nullptr);
  EXPECT_EQ(c, nullptr);
  EXPECT_EQ(budget.waiting(), 2u);
  a.reset();
  EXPECT_NE(b, nullptr);
  EXPECT_NE(c, nullptr);
  EXPECT_EQ(budget.used(), 6u);
}

TEST(UploadBudgetTest, OneLargerThanTheBudgetGoesAlone) {
  UploadBudget budget(10);
  BytesPtr small, huge, next;
  budget.Admit(1, Into(small));
  budget.Admit(100, Into(huge));
  EXPECT_EQ(huge, nullptr);
  small.reset();
  EXPECT_NE(huge, nullptr);
  budget.Admit(1, Into(next));
  EXPECT_EQ(next, nullptr);
  huge.reset();
  EXPECT_NE(next, nullptr);
}

TEST(UploadBudgetTest, TooManyWaitingAreRefused) {
  UploadBudget budget(1);
  BytesPtr held, ignored;
  budget.Admit(1, Into(held));
  for (size_t i = 0; i < UploadBudget::kMaxWaiting; ++i) {
    EXPECT_TRUE(budget.Admit(1, [](const BytesPtr&) {}));
  }
  EXPECT_FALSE(budget.Admit(1, Into(ignored)));
}

TEST(UploadBudgetTest, BytesComeOutAsTheyWentIn) {
  UploadBudget budget;
  const size_t size = 2 * UploadBudget::kSegmentSize + 12'345;
  std::string message(size, ' ');
  for (size_t i = 0; i < size; ++i) message[i] = static_cast<char>(i / 997 + i);
  BytesPtr bytes;
  budget.Admit(size, Into(bytes));
  for (size_t at = 0; at < size; at += 77'777) bytes->Append(std::string_view(message).substr(at, 77'777));
  EXPECT_EQ(bytes->size(), size);
  std::string joined;
  for (const std::string_view piece : bytes->Pieces()) joined += piece;
  EXPECT_EQ(joined, message);
  EXPECT_EQ(
      bytes->From(UploadBudget::kSegmentSize + 5),
      std::string_view(message).substr(UploadBudget::kSegmentSize + 5, UploadBudget::kSegmentSize - 5));
  EXPECT_EQ(bytes->From(size), "");
}

}  // namespace
}  // namespace aetherfs

#include "aetherfs/cli/interrupt.h"

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(InterruptTest, TriggerCallsWhatIsRegisteredOnce) {
  Interrupt interrupt;
  int calls = 0;
  const Interrupt::Registration registration = interrupt.OnTrigger([&] { ++calls; });
  EXPECT_FALSE(interrupt.triggered());
  interrupt.Trigger();
  interrupt.Trigger();
  EXPECT_TRUE(interrupt.triggered());
  EXPECT_TRUE(*interrupt.flag());
  EXPECT_EQ(calls, 1);
}

TEST(InterruptTest, LateRegistrationIsCalledAtOnce) {
  Interrupt interrupt;
  interrupt.Trigger();
  int calls = 0;
  const Interrupt::Registration registration = interrupt.OnTrigger([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(InterruptTest, EndedRegistrationIsNotCalled) {
  Interrupt interrupt;
  int calls = 0;
  {
    const Interrupt::Registration registration = interrupt.OnTrigger([&] { ++calls; });
  }
  interrupt.Trigger();
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace aetherfs

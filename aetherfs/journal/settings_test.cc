#include "aetherfs/journal/settings.h"

#include <gtest/gtest.h>

namespace aetherfs {
namespace {

TEST(SettingsTest, ValuesAreCheckedAndHaveOneForm) {
  EXPECT_EQ(*CheckSetting("deltas.keep", "0"), "0");
  EXPECT_EQ(*CheckSetting("deltas.keep", "64"), "64");
  EXPECT_EQ(*CheckSetting("deltas.keep", "007"), "7");
  EXPECT_EQ(*CheckSetting("deltas.keep", ""), "");
  for (const char* value : {"65", "-1", "+1", " 1", "1 ", "many", "18446744073709551617"}) {
    EXPECT_EQ(CheckSetting("deltas.keep", value).status().code(), absl::StatusCode::kInvalidArgument)
        << value;
  }
  for (const char* key : {"", "keep", "deltas.keep ", "Deltas.keep"})
    EXPECT_EQ(CheckSetting(key, "1").status().code(), absl::StatusCode::kInvalidArgument) << key;
}

TEST(SettingsTest, WhatIsNotSetHasItsDefault) {
  EXPECT_EQ(WithDefaults({}), (Settings{{"deltas.keep", "8"}}));
  EXPECT_EQ(WithDefaults({{"deltas.keep", "3"}}), (Settings{{"deltas.keep", "3"}}));
  EXPECT_EQ(DeltasToKeep({{"deltas.keep", "3"}}), 3u);
}

TEST(SettingsTest, WhatOtherVersionsWroteIsShownButMeansNothing) {
  EXPECT_EQ(WithDefaults({{"deltas.keep", "auto"}, {"quota", "1GiB"}}),
            (Settings{{"deltas.keep", "8"}, {"quota", "1GiB"}}));
  EXPECT_EQ(DeltasToKeep({{"deltas.keep", "65"}}), kDefaultDeltasKeep);
}

}  // namespace
}  // namespace aetherfs

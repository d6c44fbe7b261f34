#ifndef AETHERFS_CONFIG_OPTION_H_
#define AETHERFS_CONFIG_OPTION_H_

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace aetherfs {

// Both ends belong to it.
struct IntRange {
  int64_t min = 0;
  int64_t max = std::numeric_limits<int32_t>::max();
};

// A variable that text can be stored into: the one place where the words of flags, environment and YAML
// become typed values. It points at the variable, which must live as long. Errors are INVALID_ARGUMENT
// and say what would be right; the variable then keeps its value. Not thread-safe.
class ValueBinding {
 public:
  enum class Kind { kString, kBool, kInt, kSize, kDuration, kList };

  static ValueBinding Of(std::string* target);
  static ValueBinding Of(bool* target);
  static ValueBinding Of(absl::Duration* target);
  static ValueBinding Of(std::vector<std::string>* target);
  // A size as of base/quantity.h, in bytes.
  static ValueBinding OfSize(uint64_t* target);
  template <std::integral T>
  static ValueBinding OfInt(T* target, IntRange range) {
    return OfInt(static_cast<int64_t>(*target), range,
                 [target](int64_t v) { *target = static_cast<T>(v); });
  }

  Kind kind() const { return kind_; }
  bool is_list() const { return kind_ == Kind::kList; }
  // What the variable held when it was bound, as a user would write it.
  const std::string& default_text() const { return default_text_; }

  // Not for lists.
  absl::Status SetText(std::string_view text) const { return set_text_(text); }
  // Only for lists: replaces the elements.
  void SetList(std::vector<std::string> elements) const { set_list_(std::move(elements)); }

 private:
  static ValueBinding OfInt(int64_t initial, IntRange range, std::function<void(int64_t)> set);

  Kind kind_ = Kind::kString;
  std::string default_text_;
  std::function<absl::Status(std::string_view)> set_text_;
  std::function<void(std::vector<std::string>)> set_list_;
};

// One declared option or positional argument: what an OptionSet's Add… hands out for refinement,
//   options.Add("tag", &tags, "tag to move").Short('t').ValueName("TAG").
// Belongs to its OptionSet. Not thread-safe.
class Option {
 public:
  Option(std::string name, ValueBinding binding, std::string help)
      : name_(std::move(name)), help_(std::move(help)), binding_(std::move(binding)) {}

  // `-c` besides `--name`.
  Option& Short(char c) { return short_ = c, *this; }
  // What the help calls the value, "HOST:PORT"; otherwise a word after the type.
  Option& ValueName(std::string name) { return value_name_ = std::move(name), *this; }
  // Anything else is refused. For a list: each element.
  Option& Choices(std::vector<std::string> choices) { return choices_ = std::move(choices), *this; }
  // From environment or configuration file only: a flag would show it to every user of the machine. Its
  // value stays out of help and messages.
  Option& Secret() { return secret_ = true, *this; }
  // Neither environment nor configuration file. Options of commands always are.
  Option& FlagOnly() { return flag_only_ = true, *this; }
  // For a list: a comma is an ordinary character; each flag gives one element, the environment one.
  Option& Whole() { return whole_ = true, *this; }
  // For a positional argument: may be left out.
  Option& Optional() { return optional_ = true, *this; }

  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  const ValueBinding& binding() const { return binding_; }
  char short_name() const { return short_; }
  bool secret() const { return secret_; }
  bool flag_only() const { return flag_only_; }
  bool optional() const { return optional_; }
  const std::vector<std::string>& choices() const { return choices_; }
  // "SIZE"; empty for a bool, which needs no value.
  std::string ValueWord() const;
  // "AETHERFS_CACHE_MEMORY".
  std::string EnvironmentName() const;

  // Stores the values of one layer, replacing what a lower one gave: a list takes them all, anything else
  // the last. Commas part the elements of a list unless `split` is false. INVALID_ARGUMENT without the
  // option's name in it.
  absl::Status Store(const std::vector<std::string>& values, bool split) const;

 private:
  absl::Status CheckChoice(std::string_view value) const;

  std::string name_;
  std::string help_;
  ValueBinding binding_;
  char short_ = 0;
  std::string value_name_;
  std::vector<std::string> choices_;
  bool secret_ = false;
  bool flag_only_ = false;
  bool whole_ = false;
  bool optional_ = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_OPTION_H_

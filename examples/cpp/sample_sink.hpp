// What a line of a log says, before anything becomes a key: readers speak to a sample_sink, and
// what is behind it decides. The trainer's makes keys of it (feature_keys.hpp); that of the tests
// writes it down.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

// The features of a sample come first, then end_sample closes it. Texts live until a call returns.
class sample_sink {
 public:
  virtual ~sample_sink() = default;

  // A numbered feature of libFM text, and its value x_i.
  virtual void id(std::int64_t id, float value) = 0;
  // How often something happened; nothing when the log does not say.
  virtual void count(std::string_view column, std::optional<std::int64_t> count) = 0;
  // A category of a column; empty when the log does not say.
  virtual void token(std::string_view column, std::string_view token) = 0;
  virtual void end_sample(bool clicked) = 0;
};

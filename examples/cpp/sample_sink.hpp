// What readers say about a log, before anything becomes a key. The trainer's sink makes keys of it
// (feature_keys.hpp); the tests' sink writes it down.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

// The features of a sample come first, then end_sample closes it. Texts are valid only during a
// call.
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

// The sink that makes keys of rows from what a log says, and fills the trainer's click_log.
#pragma once

#include "click_log.hpp"
#include "sample_sink.hpp"

class click_log_sink final : public sample_sink {
 public:
  explicit click_log_sink(click_log& log) : log_(log) {}

  void id(std::int64_t id, float value) override;
  void count(std::string_view column, std::optional<std::int64_t> count) override;
  void token(std::string_view column, std::string_view token) override;
  void end_sample(bool clicked) override;

 private:
  click_log& log_;
};

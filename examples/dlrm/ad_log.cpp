#include "ad_log.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "formats.hpp"
#include "hashing.hpp"
#include "metrics.hpp"

namespace {

// Takes a sample column by column, in the order of the columns' numbers.
class ad_log_sink final : public sample_sink {
 public:
  ad_log_sink(ad_log& log, const std::string& path) : log_(log), path_(path) {
    log_.begins.push_back(0);
  }

  void id(std::int64_t, float) override {
    throw input_error(path_ + ": is libFM text; a Criteo log is needed");
  }

  // Large counts share keys: the ranges grow with the count.
  void count(std::string_view column, std::optional<std::int64_t> count) override {
    const std::int64_t positive = std::max<std::int64_t>(0, count.value_or(0));
    const double value = std::log1p(static_cast<double>(positive));
    log_.counts.push_back(static_cast<float>(value));
    if (count) {
      const auto bucket = static_cast<std::int64_t>(value * value);
      log_.buckets.push_back(feature_key(column, std::to_string(bucket)));
    }
    ++counts_;
  }

  // A missing token is a token of its own.
  void token(std::string_view column, std::string_view token) override {
    if (tokens_ < ad_log::columns) log_.tokens[tokens_].push_back(feature_key(column, token));
    ++tokens_;
  }

  void end_sample(bool clicked) override {
    if (counts_ != ad_log::counts_a_sample || tokens_ != ad_log::columns) {
      throw input_error(path_ + ": has " + std::to_string(counts_) + " I columns and " +
                        std::to_string(tokens_) + " C columns; I1 .. I13 and C1 .. C26 are needed");
    }
    log_.labels.push_back(clicked ? 1.0f : 0.0f);
    log_.begins.push_back(static_cast<std::int64_t>(log_.buckets.size()));
    counts_ = tokens_ = 0;
  }

 private:
  ad_log& log_;
  std::string path_;
  std::size_t counts_ = 0;
  std::size_t tokens_ = 0;
};

// A pseudo-random weight from -1 to 1, fixed by its number.
double hidden(std::uint64_t number) {
  return static_cast<double>(mix64(number) >> 11) / 4503599627370496.0 - 1;
}

}  // namespace

ad_log read_ad_log(const std::string& path) {
  ad_log log;
  ad_log_sink sink(log, path);
  read_log(path, nullptr, sink);
  log.begins.pop_back();  // where the sample after the last would begin
  return log;
}

ad_log generate_ad_log(std::size_t samples) {
  std::mt19937_64 random(42);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) / 9007199254740992.0; };
  ad_log log;
  ad_log_sink sink(log, "a generated log");
  for (std::size_t i = 0; i < samples; ++i) {
    double logit = -1.5;
    for (std::size_t c = 0; c < ad_log::counts_a_sample; ++c) {
      if (uniform() < 0.2) {
        sink.count("I", std::nullopt);
        continue;
      }
      const auto count = static_cast<std::int64_t>(-20 * std::log(1 - uniform()));
      logit += 0.3 * hidden(c) * std::log1p(static_cast<double>(count));
      sink.count("I" + std::to_string(c + 1), count);
    }
    for (std::size_t c = 0; c < ad_log::columns; ++c) {
      // The first tokens of a column are by far the most frequent.
      const double place = std::pow(uniform(), 3) * std::pow(1.3, static_cast<double>(c) + 4);
      const auto token = static_cast<std::uint64_t>(place);
      logit += 0.8 * hidden(1000 * (c + 1) + token);
      sink.token("C" + std::to_string(c + 1), std::to_string(token));
    }
    sink.end_sample(uniform() < sigmoid(logit));
  }
  log.begins.pop_back();
  return log;
}

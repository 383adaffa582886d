#include "generated_log.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>

#include "hashing.hpp"
#include "metrics.hpp"

namespace {

// Column sizes of a small advertising log. Ids are drawn Zipf: the r-th most popular with a
// probability proportional to 1 / r^exponent, so a few ids are in most samples and most ids in a
// few, as everywhere in this field.
struct column {
  const char* name;
  std::size_t ids;
  double zipf_exponent;
};
constexpr std::array<column, 5> columns{{
  {"user", 500, 0.9},
  {"item", 200, 1.05},
  {"advertiser", 200, 1.05},
  {"hour", 24, 0.3},
  {"device", 12, 1.2},
}};

// The truth is itself a factorization machine; these are its bias, spreads and number of factors.
constexpr double true_bias = -1.0;
constexpr double linear_spread = 1.0;
constexpr double factor_spread = 0.9;
constexpr std::size_t true_factors = 3;

// Uniform in [0, 1) from the generator's raw bits: what std::uniform_real_distribution makes of
// them differs between standard libraries.
double uniform(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

// The n-th true weight of an id, uniform in [-spread, spread): a pure function of the id, so there
// is no table of them.
double true_weight(std::int64_t key, std::uint64_t n, double spread) {
  return spread * (2.0 * uniform(mix64(static_cast<std::uint64_t>(key) + mix64(n))) - 1.0);
}

double true_logit(const std::array<std::int64_t, columns.size()>& keys) {
  double logit = true_bias;
  for (const std::int64_t key : keys) logit += true_weight(key, 0, linear_spread);
  for (std::size_t f = 1; f <= true_factors; ++f) {
    double sum = 0;
    double squares = 0;
    for (const std::int64_t key : keys) {
      const double factor = true_weight(key, f, factor_spread);
      sum += factor;
      squares += factor * factor;
    }
    logit += 0.5 * (sum * sum - squares);
  }
  return logit;
}

// Draws ranks 0 .. n - 1 by looking a uniform number up in the cumulative distribution.
class zipf {
 public:
  zipf(std::size_t n, double exponent) {
    double total = 0;
    for (std::size_t rank = 1; rank <= n; ++rank) {
      total += std::pow(static_cast<double>(rank), -exponent);
      cumulative_.push_back(total);
    }
  }
  std::size_t operator()(double uniform) const {
    const auto at =
        std::upper_bound(cumulative_.begin(), cumulative_.end(), uniform * cumulative_.back());
    return std::min(static_cast<std::size_t>(at - cumulative_.begin()), cumulative_.size() - 1);
  }

 private:
  std::vector<double> cumulative_;
};

}  // namespace

generated_log generate_log(std::size_t samples) {
  std::vector<zipf> distributions;
  for (const column& column : columns) distributions.emplace_back(column.ids, column.zipf_exponent);

  std::mt19937_64 random(2024);
  generated_log log;
  std::array<std::int64_t, columns.size()> keys{};
  for (std::size_t i = 0; i < samples; ++i) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t id = distributions[c](uniform(random()));
      keys[c] = feature_key(columns[c].name, std::to_string(id));
      log.samples.add_feature(keys[c]);
    }
    const double logit = true_logit(keys);
    log.samples.end_sample(uniform(random()) < sigmoid(logit));
    log.true_logits.push_back(static_cast<float>(logit));
  }
  return log;
}

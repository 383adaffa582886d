#include "criteo_ads.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "hashing.hpp"
#include "metrics.hpp"

ad_layout criteo_layout() {
  ad_layout layout{criteo_counts, std::vector<std::size_t>(criteo_tokens + 1, 16)};
  for (const std::size_t few : {6, 9, 14, 17, 20, 22, 23, 25}) layout.dims[few - 1] = 8;
  return layout;
}

void add_criteo(const std::vector<criteo_count>& counts, const std::vector<criteo_token>& tokens,
                ad_log& log) {
  for (const auto& [column, count] : counts) {
    const std::int64_t positive = std::max<std::int64_t>(0, count.value_or(0));
    const double value = std::log1p(static_cast<double>(positive));
    log.numbers.push_back(static_cast<float>(value));
    if (count) {
      // Large counts share keys: the ranges grow with the count.
      const auto bucket = static_cast<std::int64_t>(value * value);
      log.bags.push_back(feature_key(column, std::to_string(bucket)));
    }
  }
  // A missing token is a token of its own.
  for (std::size_t c = 0; c < tokens.size(); ++c) {
    log.keys[c].push_back(feature_key(tokens[c].column, tokens[c].text));
  }
}

// A pseudo-random weight from -1 to 1, fixed by its number.
static double hidden(std::uint64_t number) {
  return static_cast<double>(mix64(number) >> 11) / 4503599627370496.0 - 1;
}

ad_log generate_ad_log(std::size_t samples) {
  std::mt19937_64 random(42);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) / 9007199254740992.0; };
  ad_log log(criteo_layout());
  std::vector<criteo_count> counts;
  std::vector<criteo_token> tokens;
  for (std::size_t i = 0; i < samples; ++i) {
    double logit = -1.5;
    counts.clear();
    tokens.clear();
    for (std::size_t c = 0; c < criteo_counts; ++c) {
      if (uniform() < 0.2) {
        counts.push_back({"I", std::nullopt});
        continue;
      }
      const auto count = static_cast<std::int64_t>(-20 * std::log(1 - uniform()));
      logit += 0.3 * hidden(c) * std::log1p(static_cast<double>(count));
      counts.push_back({"I" + std::to_string(c + 1), count});
    }
    for (std::size_t c = 0; c < criteo_tokens; ++c) {
      // The first tokens of a column are by far the most frequent.
      const double place = std::pow(uniform(), 3) * std::pow(1.3, static_cast<double>(c) + 4);
      const auto token = static_cast<std::uint64_t>(place);
      logit += 0.8 * hidden(1000 * (c + 1) + token);
      tokens.push_back({"C" + std::to_string(c + 1), std::to_string(token)});
    }
    log.begin_sample(uniform() < sigmoid(logit));
    add_criteo(counts, tokens, log);
  }
  return log;
}

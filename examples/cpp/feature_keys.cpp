#include "feature_keys.hpp"

#include <cmath>
#include <string>

#include "hashing.hpp"

// Counts have long tails, so 1,000 and 1,010 should share a row: above 2 the bucket is
// floor(log(x)^2), as in the winning entry of the 2014 competition. Small counts differ in kind (0
// visits, 1 visit) and keep their own row; the prefix keeps bucket 1 apart from the count 1.
static std::string bucket(std::int64_t x) {
  if (x <= 2) return std::to_string(x);
  const double log = std::log(static_cast<double>(x));
  return "log2:" + std::to_string(static_cast<std::int64_t>(log * log));
}

// The ids of libFM text are the keys, as they are. A sparse vector may spell out a zero: it changes
// no prediction, so it need not cost a row either.
void click_log_sink::id(std::int64_t id, float value) {
  if (value != 0) log_.add_feature(id, value);
}

// A missing count or token is a category of its own column and is not skipped: what a log leaves
// out says something about the user, and a row is cheap.
void click_log_sink::count(std::string_view column, std::optional<std::int64_t> count) {
  log_.add_feature(feature_key(column, count ? bucket(*count) : ""));
}

void click_log_sink::token(std::string_view column, std::string_view token) {
  log_.add_feature(feature_key(column, token));
}

void click_log_sink::end_sample(bool clicked) { log_.end_sample(clicked); }

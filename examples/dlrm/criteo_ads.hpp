// Criteo's samples: 13 counts, which are numbers and also the keys of the bag, and 26 tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ad_log.hpp"

struct criteo_count {
  std::string column;
  std::optional<std::int64_t> count;
};

struct criteo_token {
  std::string column;
  std::string text;
};

inline constexpr std::size_t criteo_counts = 13;  // I1 .. I13
inline constexpr std::size_t criteo_tokens = 26;  // C1 .. C26

ad_layout criteo_layout();

// Adds the features of a sample to `log`, which has criteo_layout().
void add_criteo(const std::vector<criteo_count>& counts, const std::vector<criteo_token>& tokens,
                ad_log& log);

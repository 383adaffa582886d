// The samples of an advertising log, column by column: what each table of the model wants as keys.
//
// A batch is an ad_log, too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct ad_log {
  static constexpr std::size_t counts_a_sample = 13;  // I1 .. I13 of the Criteo log
  static constexpr std::size_t columns = 26;          // C1 .. C26

  std::vector<float> labels;  // 1 = click, 0 = no click
  std::vector<float> counts;  // counts_a_sample each: log(1 + count), 0 where the log has none
  std::array<std::vector<std::int64_t>, columns> tokens;  // a key a sample

  // The same counts as one multi-hot feature: a key for each count that the log has. Those of
  // sample i begin at begins[i].
  std::vector<std::int64_t> buckets;
  std::vector<std::int64_t> begins;

  std::size_t size() const { return labels.size(); }

  void append(const ad_log& other, std::size_t i) {
    const auto all = static_cast<std::int64_t>(other.buckets.size());
    const std::int64_t end = i + 1 < other.size() ? other.begins[i + 1] : all;
    begins.push_back(static_cast<std::int64_t>(buckets.size()));
    for (std::int64_t at = other.begins[i]; at < end; ++at) {
      buckets.push_back(other.buckets[static_cast<std::size_t>(at)]);
    }
    for (std::size_t c = 0; c < counts_a_sample; ++c) {
      counts.push_back(other.counts[i * counts_a_sample + c]);
    }
    for (std::size_t c = 0; c < columns; ++c) tokens[c].push_back(other.tokens[c][i]);
    labels.push_back(other.labels[i]);
  }

  // Keeps the memory.
  void clear() {
    labels.clear();
    counts.clear();
    for (auto& column : tokens) column.clear();
    buckets.clear();
    begins.clear();
  }
};

// Reads a Criteo log that has all columns. Throws input_error.
ad_log read_ad_log(const std::string& path);

// Samples for a machine without data, whose clicks depend on counts and tokens.
ad_log generate_ad_log(std::size_t samples);

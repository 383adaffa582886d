// The samples of a click log as the tables of the model want them: numbers, features with a key
// each, and one with many, a bag.
//
// A batch is an ad_log, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// What each sample of a log has.
struct ad_layout {
  std::size_t numbers = 0;
  // The weights of a row, feature by feature. The last feature is the bag. Features of few keys
  // need fewer weights a key.
  std::vector<std::size_t> dims;

  std::size_t features() const { return dims.size(); }
  // Features with one key a sample.
  std::size_t columns() const { return dims.size() - 1; }
};

struct ad_log {
  explicit ad_log(ad_layout of) : layout(std::move(of)), keys(layout.columns()) {}

  ad_layout layout;
  std::vector<float> labels;                    // 1 = click, 0 = no click
  std::vector<float> numbers;                   // layout.numbers each
  std::vector<std::vector<std::int64_t>> keys;  // of each column, a key a sample
  // The keys of all bags. Those of sample i begin at begins[i].
  std::vector<std::int64_t> bags;
  std::vector<std::int64_t> begins;

  std::size_t size() const { return labels.size(); }

  // Where the bag of a sample ends.
  std::size_t end(std::size_t i) const {
    return i + 1 < size() ? static_cast<std::size_t>(begins[i + 1]) : bags.size();
  }

  // Call it before the sample's features are added.
  void begin_sample(bool clicked) {
    labels.push_back(clicked ? 1.0f : 0.0f);
    begins.push_back(static_cast<std::int64_t>(bags.size()));
  }

  void append(const ad_log& other, std::size_t i) {
    begin_sample(other.labels[i] > 0.5f);
    for (auto at = static_cast<std::size_t>(other.begins[i]); at < other.end(i); ++at) {
      bags.push_back(other.bags[at]);
    }
    for (std::size_t n = 0; n < layout.numbers; ++n) {
      numbers.push_back(other.numbers[i * layout.numbers + n]);
    }
    for (std::size_t c = 0; c < keys.size(); ++c) keys[c].push_back(other.keys[c][i]);
  }

  // Keeps the memory.
  void clear() {
    labels.clear();
    numbers.clear();
    for (auto& column : keys) column.clear();
    bags.clear();
    begins.clear();
  }
};

// Reads a Criteo log that has all columns, or a MovieLens log with the tables .user and .item
// beside it. Throws input_error.
ad_log read_ad_log(const std::string& path);

// Samples like Criteo's for a machine without data. Their clicks depend on counts and tokens.
ad_log generate_ad_log(std::size_t samples);

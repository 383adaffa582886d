// A click log in memory: what every reader fills and the model trains on.
//
// A sample is a label and a sparse feature vector: pairs of a 64-bit feature id (the key of its row
// in damo) and a value. All samples share flat arrays, because that is how damo takes a batch: one
// array of keys, in sample order, with every occurrence of a popular id in it. Nobody deduplicates
// here: the library does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

struct click_log {
  std::vector<float> labels;       // one a sample: 1 = click, 0 = no click
  std::vector<std::size_t> ends;   // one a sample: where its features end in the two arrays below
  std::vector<std::int64_t> keys;  // one a feature
  std::vector<float> values;       // one a feature: x_i, which is 1 for categorical features

  std::size_t size() const { return labels.size(); }
  bool empty() const { return labels.empty(); }

  // Sample i owns the features begin(i) .. end(i) - 1. A sample may have none.
  std::size_t begin(std::size_t i) const { return i == 0 ? 0 : ends[i - 1]; }
  std::size_t end(std::size_t i) const { return ends[i]; }

  // Writing: the features of a sample first, then its label closes it.
  void add_feature(std::int64_t key, float value = 1.0f) {
    keys.push_back(key);
    values.push_back(value);
  }
  void end_sample(bool clicked) {
    labels.push_back(clicked ? 1.0f : 0.0f);
    ends.push_back(keys.size());
  }

  void append(const click_log& other, std::size_t i) {
    for (std::size_t feature = other.begin(i); feature < other.end(i); ++feature) {
      add_feature(other.keys[feature], other.values[feature]);
    }
    end_sample(other.labels[i] > 0.5f);
  }

  // The samples first .. last - 1, copied.
  click_log slice(std::size_t first, std::size_t last) const {
    click_log part;
    for (std::size_t i = first; i < last; ++i) part.append(*this, i);
    return part;
  }

  // Keeps the memory, so that one batch object serves a whole epoch.
  void clear() {
    labels.clear();
    ends.clear();
    keys.clear();
    values.clear();
  }
};

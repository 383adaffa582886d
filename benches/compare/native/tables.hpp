// The tables whose calls are timed: damo's embedding through its C ABI, and the rows in memory that
// a trainer has otherwise. All have lookup and apply, which a thread calls for a sample of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include <damo.h>

#include "rules.hpp"

// The functions of a loaded libdamo, with the types of damo.h.
struct damo_functions {
  decltype(&damo_embedding_lookup) lookup;
  decltype(&damo_embedding_apply_gradients) apply_gradients;
  decltype(&damo_last_error_message) last_error_message;
};

class library_table {
 public:
  library_table(const damo_embedding* embedding, const damo_functions& functions, std::size_t dim)
      : embedding_(embedding), functions_(functions), dim_(dim) {}

  void insert(const std::int64_t*, std::size_t, const float*) {
    throw std::logic_error("damo's rows are made by its lookup");
  }
  void lookup(const std::int64_t* keys, std::size_t count, float* weights) {
    check(functions_.lookup(embedding_, keys, count, weights, count * dim_));
  }
  void apply(const std::int64_t* keys, std::size_t count, const float* gradients) {
    check(functions_.apply_gradients(embedding_, keys, count, gradients, count * dim_));
  }

 private:
  void check(damo_status status) const {
    if (status != DAMO_STATUS_OK) throw std::runtime_error(functions_.last_error_message());
  }

  const damo_embedding* embedding_;
  damo_functions functions_;
  std::size_t dim_;
};

// Where a row is.
struct row_place {
  float* floats;
  std::uint32_t* updates;
};

// Rows in one vector, found by index: libffm and word2vec keep theirs like this.
class array_rows {
 public:
  array_rows(std::size_t rows, std::size_t width)
      : width_(width), floats_(rows * width), updates_(rows) {}
  row_place find(std::int64_t key) {
    const auto index = static_cast<std::uint64_t>(key);
    if (index >= updates_.size()) {
      throw std::out_of_range("key " + std::to_string(key) + " is given to an array of "
                              + std::to_string(updates_.size()) + " rows");
    }
    return {&floats_[index * width_], &updates_[index]};
  }
  row_place make(std::int64_t key) { return find(key); }  // all of them exist

 private:
  std::size_t width_;
  std::vector<float> floats_;
  std::vector<std::uint32_t> updates_;
};

// Rows in std::unordered_map, each in memory of its own. alphaFM keeps its rows like this.
class hash_map_rows {
 public:
  hash_map_rows(std::size_t rows, std::size_t width) : width_(width) { map_.reserve(rows); }
  row_place find(std::int64_t key) {
    const auto found = map_.find(key);
    if (found == map_.end()) {
      throw std::out_of_range("key " + std::to_string(key) + " has no row in the hash map");
    }
    return {found->second.floats.data(), &found->second.updates};
  }
  row_place make(std::int64_t key) {
    map_[key].floats.resize(width_);
    return find(key);
  }

 private:
  struct row {
    std::vector<float> floats;
    std::uint32_t updates = 0;
  };
  std::size_t width_;
  std::unordered_map<std::int64_t, row> map_;
};

// A trainer's own table. Threads share it without locks (Hogwild), so that steps of one row at the
// same moment may be lost. Rows are made beforehand, by one thread.
template <class Rows, class Rule>
class plain_table {
 public:
  plain_table(std::size_t rows, std::size_t dim, const parameters& given)
      : rows_(rows, Rule::parts * dim), rule_(given), dim_(dim) {}

  void insert(const std::int64_t* keys, std::size_t count, const float* weights) {
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(weights + i * dim_, dim_, rows_.make(keys[i]).floats);
    }
  }
  void lookup(const std::int64_t* keys, std::size_t count, float* weights) {
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(rows_.find(keys[i]).floats, dim_, weights + i * dim_);
    }
  }
  void apply(const std::int64_t* keys, std::size_t count, const float* gradients) {
    for (std::size_t i = 0; i < count; ++i) {
      const row_place row = rows_.find(keys[i]);
      rule_.step(row.floats, *row.updates, gradients + i * dim_, dim_);
    }
  }

 private:
  Rows rows_;
  Rule rule_;
  std::size_t dim_;
};

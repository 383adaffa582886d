// A factorization machine that learns from one sample at a time, from several threads at once, as
// libFM's and alphaFM's do. docs/porting.md is about moving such a trainer to damo.
//
//     logit(x) = w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j
//
// A feature's row has two parts with a rule each, so they are two groups. Group 0: the weight w_i,
// which damo's ftrl moves. Group 1: the vector v_i, which this file moves by a formula of its own:
// a step of stochastic gradient descent, then back onto a ball when the vector is too long.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <damo.hpp>

#include "click_log.hpp"

class online_fm {
 public:
  // `durability` is the storage option of that name.
  online_fm(const std::string& directory, const std::string& durability, std::size_t dim);

  // What one thread needs while it trains. It is kept from call to call, so that training does not
  // allocate.
  struct scratch {
    std::vector<std::int64_t> keys;  // of the samples' features, in their order
    std::vector<std::int64_t> weight_keys;  // the same, and the bias
    std::vector<float> weights, weight_gradients;
    std::vector<float> vectors, vector_gradients;
    std::vector<float> sums;  // sum_i v_i x_i of one sample
  };

  // Learns from the samples first .. last - 1 with one lookup and one step a group. Any number of
  // threads may call it at once, each with a scratch of its own. No step is lost. Each step follows
  // from what the thread looked up a moment before, as with threads that share plain memory.
  void train(const click_log& log, std::size_t first, std::size_t last, scratch& mine);

  // The logit of each sample. Creates no rows.
  std::vector<float> predict(const click_log& log) const;

  // Steps that train has handed to damo since this object was made, one a row and sample.
  std::uint64_t steps_handed_over() const { return handed_over_; }

  // The sum of the rows' update counts, over the life of the store. Reads every row.
  std::uint64_t steps_in_rows() const;

  const damo::storage& storage() const { return storage_; }

 private:
  float logit(const click_log& log, std::size_t i, const float* weights, const float* vectors,
              float bias, std::vector<float>& sums) const;

  std::size_t dim_;
  damo::storage storage_;
  damo::embedding weights_;
  damo::embedding vectors_;
  std::atomic<std::uint64_t> handed_over_{0};
};

// A factorization machine (Rendle 2010) whose every parameter is a row of a damo store.
//
//     logit(x) = w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j
//
// Two groups hold the parameters. Group 0, linear: one weight w_i a feature, and the bias w0 as one
// more row. Group 1, factors: a vector v_i a feature. A feature gets its rows the first time that
// training meets it, so there is no table to size and no vocabulary to build; the optimizer lives
// in the store, so there is none here either.
//
// What this file does not know: where click logs come from, epochs, and metrics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <damo.hpp>

#include "click_log.hpp"

inline constexpr std::uint32_t linear_group = 0;
inline constexpr std::uint32_t factor_group = 1;

// The bias is a row like any other, so that it is trained, saved and restored like any other.
// Readers make keys of 0 and above only.
inline constexpr std::int64_t bias_key = INT64_MIN;

class factorization_machine {
 public:
  // Opens the store in `directory`, or creates it. A store made with another dim or another
  // optimizer is refused by the library (damo::error). `seed` decides the initial factors: a row's
  // are a pure function of the seed, the group and the key, whatever the order in which features
  // turn up.
  factorization_machine(const std::string& directory, const damo::optimizer& optimizer,
                        std::size_t dim, std::int64_t seed);

  // One optimizer step on the mean log-loss of the batch, which must not be empty. Returns the sum
  // of the log-losses that the batch had before the step.
  double train(const click_log& batch);

  // The logit of each sample. Creates no rows: a feature that was never trained on contributes
  // nothing.
  std::vector<float> predict(const click_log& log) const;

  // Steps taken over the life of the store; 0 for a new one.
  std::int64_t step() const { return linear_.step(); }

  // Writes everything to disk, or throws damo::error. Closing does the same, but cannot report a
  // failure.
  void flush() const { storage_.flush(); }

  const damo::embedding& linear() const { return linear_; }
  const damo::embedding& factors() const { return factors_; }

 private:
  // One number or vector a feature of a batch, in the batch's order: weights as they come from the
  // store, or gradients as they go back. `linear` has one more entry at its end, the bias.
  struct rows {
    std::vector<float> linear;
    std::vector<float> factors;

    void resize(std::size_t features, std::size_t dim);
  };

  // The logit of sample i; leaves sum_i v_i x_i, one entry a factor, in `factor_sums` for the
  // gradient.
  float logit(const click_log& batch, std::size_t i, const rows& weights,
              std::vector<float>& factor_sums) const;

  std::size_t dim_;
  damo::storage storage_;
  damo::embedding linear_;
  damo::embedding factors_;
  rows weights_;    // kept from batch to batch, so that training does not allocate
  rows gradients_;  // likewise
};

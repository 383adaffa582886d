#include "factorization_machine.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "metrics.hpp"

namespace {

// Factors must not start at zero: with all v equal to 0, so are all their gradients, and they would
// stay there. A little noise breaks the tie and leaves the first predictions close to the linear
// part's.
constexpr double initial_factor_stddev = 0.01;

// A popular feature is in many samples of a batch. "sum" adds its gradients up and takes one
// optimizer step, which is what a framework's sparse gradients amount to; the default would take a
// step for each occurrence.
damo::params one_step_a_key() { return {{"duplicates", "sum"}}; }

// Enough samples to make each call worth it, few enough to stay in the processor's cache.
constexpr std::size_t samples_a_peek = 1024;

// The bias is in every sample, so in every batch; once is enough, since its gradient is summed here
// anyway.
std::vector<std::int64_t> with_bias(std::vector<std::int64_t> keys) {
  keys.push_back(bias_key);
  return keys;
}

}  // namespace

factorization_machine::factorization_machine(const std::string& directory,
                                             const damo::optimizer& optimizer, std::size_t dim,
                                             std::int64_t seed)
    : dim_(dim),
      storage_(directory),
      linear_(storage_, optimizer, damo::initializer("zeros"), 1, linear_group, one_step_a_key()),
      factors_(
          storage_, optimizer,
          damo::initializer("random_normal", {{"stddev", initial_factor_stddev}, {"seed", seed}}),
          dim, factor_group, one_step_a_key()) {}

void factorization_machine::rows::resize(std::size_t features, std::size_t dim) {
  linear.resize(features + 1);
  factors.resize(features * dim);
}

float factorization_machine::logit(const click_log& batch, std::size_t i, const rows& weights,
                                   std::vector<float>& factor_sums) const {
  // Rendle's lemma 3.1: for each factor, the sum over pairs is half of
  // (sum of v x)^2 - sum of (v x)^2, so the cost grows with the number of features and not with the
  // number of pairs.
  std::fill(factor_sums.begin(), factor_sums.end(), 0.0f);
  float total = weights.linear.back();
  float squares = 0;
  for (std::size_t feature = batch.begin(i); feature < batch.end(i); ++feature) {
    const float x = batch.values[feature];
    const float* const v = &weights.factors[feature * dim_];
    total += weights.linear[feature] * x;
    for (std::size_t f = 0; f < dim_; ++f) {
      const float vx = v[f] * x;
      factor_sums[f] += vx;
      squares += vx * vx;
    }
  }
  float squared_sums = 0;
  for (const float sum : factor_sums) squared_sums += sum * sum;
  total += 0.5f * (squared_sums - squares);
  if (!std::isfinite(total)) {
    throw std::runtime_error(
        "a prediction is not a finite number; a smaller --learning-rate may help");
  }
  return total;
}

double factorization_machine::train(const click_log& batch) {
  const std::vector<std::int64_t> linear_keys = with_bias(batch.keys);
  weights_.resize(batch.keys.size(), dim_);
  gradients_.resize(batch.keys.size(), dim_);
  linear_.lookup(linear_keys, weights_.linear);
  factors_.lookup(batch.keys, weights_.factors);

  double loss = 0;
  float bias_gradient = 0;
  std::vector<float> factor_sums(dim_);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const float prediction = logit(batch, i, weights_, factor_sums);
    loss += log_loss(prediction, batch.labels[i]);

    // d loss / d logit, of the mean over the batch; then the chain rule down to each row.
    const float error = (static_cast<float>(sigmoid(prediction)) - batch.labels[i]) /
                        static_cast<float>(batch.size());
    bias_gradient += error;
    for (std::size_t feature = batch.begin(i); feature < batch.end(i); ++feature) {
      const float x = batch.values[feature];
      const float* const v = &weights_.factors[feature * dim_];
      float* const gradient = &gradients_.factors[feature * dim_];
      gradients_.linear[feature] = error * x;
      for (std::size_t f = 0; f < dim_; ++f) gradient[f] = error * x * (factor_sums[f] - v[f] * x);
    }
  }
  gradients_.linear.back() = bias_gradient;

  linear_.apply_gradients(linear_keys, gradients_.linear);
  factors_.apply_gradients(batch.keys, gradients_.factors);
  return loss;
}

std::vector<float> factorization_machine::predict(const click_log& log) const {
  std::vector<float> logits;
  logits.reserve(log.size());
  std::vector<float> factor_sums(dim_);
  rows weights;
  for (std::size_t first = 0; first < log.size(); first += samples_a_peek) {
    const click_log part = log.slice(first, std::min(first + samples_a_peek, log.size()));
    const std::vector<std::int64_t> linear_keys = with_bias(part.keys);
    weights.resize(part.keys.size(), dim_);
    // lookup would make a row for every feature that only the held-out samples have. peek reads
    // those as zeros.
    linear_.peek(linear_keys, weights.linear);
    factors_.peek(part.keys, weights.factors);
    for (std::size_t i = 0; i < part.size(); ++i) {
      logits.push_back(logit(part, i, weights, factor_sums));
    }
  }
  return logits;
}

#include "online_fm.hpp"

#include <algorithm>
#include <cmath>

#include "metrics.hpp"

namespace {

// The bias is a row of the first group. Readers make keys of 0 and above only.
constexpr std::int64_t bias_key = INT64_MIN;

constexpr float vector_rate = 0.02f;
constexpr float longest_vector = 2.0f;

// Calls of a few keys are done before a second thread has woken up. damo asks this one thread only
// for large calls, such as those of predict.
damo::params options(const std::string& durability) {
  return {{"durability", durability}, {"threads", 1}};
}

// With gamma 1, sgd subtracts a gradient from the weights as it is. So the gradient before - after
// turns `before` into `after`. When another thread has moved the row in the meantime, both moves
// count.
damo::optimizer moved_by_us() { return damo::optimizer("sgd", {{"gamma", 1}}); }

damo::optimizer moved_by_damo() {
  return damo::optimizer("ftrl", {{"alpha", 0.1}, {"beta", 1}, {"lambda1", 0.01}});
}

constexpr std::size_t samples_a_peek = 1024;

}  // namespace

online_fm::online_fm(const std::string& directory, const std::string& durability, std::size_t dim)
    : dim_(dim),
      storage_(directory, 0, options(durability)),
      weights_(storage_, moved_by_damo(), damo::initializer("zeros"), 1, 0, {{"name", "weight"}}),
      vectors_(storage_, moved_by_us(), damo::initializer("random_normal", {{"stddev", 0.05}}), dim,
               1, {{"name", "vector"}}) {}

float online_fm::logit(const click_log& log, std::size_t i, const float* weights,
                       const float* vectors, float bias, std::vector<float>& sums) const {
  sums.assign(dim_, 0.0f);
  float total = bias;
  float squares = 0;
  for (std::size_t at = log.begin(i); at < log.end(i); ++at, ++weights, vectors += dim_) {
    const float x = log.values[at];
    total += *weights * x;
    for (std::size_t f = 0; f < dim_; ++f) {
      sums[f] += vectors[f] * x;
      squares += vectors[f] * x * vectors[f] * x;
    }
  }
  for (const float sum : sums) total += 0.5f * sum * sum;
  return total - 0.5f * squares;
}

void online_fm::train(const click_log& log, std::size_t first, std::size_t last, scratch& mine) {
  // Looks up everything that the samples need, with one call a group.
  mine.keys.assign(log.keys.begin() + static_cast<std::ptrdiff_t>(log.begin(first)),
                   log.keys.begin() + static_cast<std::ptrdiff_t>(log.end(last - 1)));
  mine.weight_keys = mine.keys;
  mine.weight_keys.push_back(bias_key);
  mine.weights.resize(mine.weight_keys.size());
  mine.weight_gradients.resize(mine.weights.size());
  mine.vectors.resize(mine.keys.size() * dim_);
  mine.vector_gradients.resize(mine.vectors.size());
  weights_.lookup(mine.weight_keys, mine.weights);
  vectors_.lookup(mine.keys, mine.vectors);

  mine.weight_gradients.back() = 0;
  std::size_t row = 0;
  for (std::size_t i = first; i < last; ++i) {
    const float prediction = logit(log, i, &mine.weights[row], &mine.vectors[row * dim_],
                                   mine.weights.back(), mine.sums);
    const float error = static_cast<float>(sigmoid(prediction)) - log.labels[i];
    mine.weight_gradients.back() += error;
    for (std::size_t at = log.begin(i); at < log.end(i); ++at, ++row) {
      const float x = log.values[at];
      mine.weight_gradients[row] = error * x;

      const float* const before = &mine.vectors[row * dim_];
      float* const after = &mine.vector_gradients[row * dim_];
      float squared = 0;
      for (std::size_t f = 0; f < dim_; ++f) {
        after[f] = before[f] - vector_rate * error * x * (mine.sums[f] - before[f] * x);
        squared += after[f] * after[f];
      }
      const float shrink = std::min(1.0f, longest_vector / std::sqrt(squared));
      for (std::size_t f = 0; f < dim_; ++f) after[f] = before[f] - shrink * after[f];
    }
  }

  weights_.apply_gradients(mine.weight_keys, mine.weight_gradients);
  vectors_.apply_gradients(mine.keys, mine.vector_gradients);
  handed_over_ += mine.weight_keys.size() + mine.keys.size();
}

std::vector<float> online_fm::predict(const click_log& log) const {
  std::vector<float> logits, weights, vectors, sums;
  std::vector<float> bias(1);
  weights_.peek({bias_key}, bias);
  for (std::size_t first = 0; first < log.size(); first += samples_a_peek) {
    const click_log part = log.slice(first, std::min(first + samples_a_peek, log.size()));
    weights.resize(part.keys.size());
    vectors.resize(part.keys.size() * dim_);
    weights_.peek(part.keys, weights);
    vectors_.peek(part.keys, vectors);
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::size_t row = part.begin(i);
      logits.push_back(
          logit(part, i, weights.data() + row, vectors.data() + row * dim_, bias[0], sums));
    }
  }
  return logits;
}

std::uint64_t online_fm::steps_in_rows() const {
  std::uint64_t steps = 0;
  for (const damo::record& row : damo::row_iterator(storage_)) {
    steps += static_cast<std::uint64_t>(row.update_num);
  }
  return steps;
}

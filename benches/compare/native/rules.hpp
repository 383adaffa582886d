// The optimizers, with the formulas that damo documents: src/optimizer has its own, for comparison.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

struct parameters {
  double learning_rate, beta1, beta2, epsilon;
};

// A row is the weights, then the state; `updates` is the row's own count.
class adam {
 public:
  static constexpr std::size_t parts = 3;  // weights, first moments, second moments

  explicit adam(const parameters& given)
      : beta1_(static_cast<float>(given.beta1)),
        beta2_(static_cast<float>(given.beta2)),
        take1_(static_cast<float>(1 - given.beta1)),
        take2_(static_cast<float>(1 - given.beta2)),
        epsilon_(static_cast<float>(given.epsilon)) {
    // Later corrections are 1 in float32 for the usual betas.
    constexpr int corrections = 1 << 15;
    for (int t = 1; t <= corrections; ++t) {
      const double first = 1 - std::pow(given.beta1, t), second = 1 - std::pow(given.beta2, t);
      step_sizes_.push_back(static_cast<float>(given.learning_rate / first));
      roots_.push_back(static_cast<float>(1 / std::sqrt(second)));
    }
  }

  void step(float* row, std::uint32_t& updates, const float* __restrict gradient,
            std::size_t dim) const {
    const std::size_t t = updates < step_sizes_.size() ? updates : step_sizes_.size() - 1;
    ++updates;
    const float size = step_sizes_[t], root = roots_[t];
    float *__restrict w = row, *__restrict m = row + dim, *__restrict v = row + 2 * dim;
    for (std::size_t i = 0; i < dim; ++i) {
      m[i] = beta1_ * m[i] + take1_ * gradient[i];
      v[i] = beta2_ * v[i] + take2_ * gradient[i] * gradient[i];
      w[i] -= size * m[i] / (std::sqrt(v[i]) * root + epsilon_);
    }
  }

 private:
  float beta1_, beta2_, take1_, take2_, epsilon_;
  std::vector<float> step_sizes_, roots_;
};

class adagrad {
 public:
  static constexpr std::size_t parts = 2;  // weights, sums of squares

  explicit adagrad(const parameters& given)
      : rate_(static_cast<float>(given.learning_rate)),
        epsilon_(static_cast<float>(given.epsilon)) {}

  void step(float* row, std::uint32_t& updates, const float* __restrict gradient,
            std::size_t dim) const {
    ++updates;
    float *__restrict w = row, *__restrict n = row + dim;
    for (std::size_t i = 0; i < dim; ++i) {
      n[i] += gradient[i] * gradient[i];
      w[i] -= rate_ * gradient[i] / (std::sqrt(n[i]) + epsilon_);
    }
  }

 private:
  float rate_, epsilon_;
};

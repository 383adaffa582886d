#include "network.hpp"

#include <algorithm>

void layer::forward(const float* x, float* y) const {
  for (std::size_t o = 0; o < outputs_; ++o) {
    const float* const w = &weights[o * dim()];
    float sum = w[inputs_];
    for (std::size_t i = 0; i < inputs_; ++i) sum += w[i] * x[i];
    y[o] = is_rectified_ ? std::max(sum, 0.0f) : sum;
  }
}

void layer::backward(const float* x, const float* y, float* of_y, float* of_x) {
  for (std::size_t o = 0; o < outputs_; ++o) {
    if (is_rectified_ && y[o] <= 0) of_y[o] = 0;
    if (of_y[o] == 0) continue;
    const float* const w = &weights[o * dim()];
    float* const g = &gradients[o * dim()];
    for (std::size_t i = 0; i < inputs_; ++i) g[i] += of_y[o] * x[i];
    g[inputs_] += of_y[o];
    if (of_x == nullptr) continue;
    for (std::size_t i = 0; i < inputs_; ++i) of_x[i] += of_y[o] * w[i];
  }
}

network::network() {
  for (std::size_t f = 0; f < features; ++f) {
    columns_[f + 1] = columns_[f] + dim_of(f);
    if (dim_of(f) < dim) layers_.emplace_back(dim_of(f), dim, false);
  }
  bottom_ = layers_.size();
  layers_.emplace_back(ad_log::counts_a_sample, hidden_bottom_.size(), true);
  layers_.emplace_back(hidden_bottom_.size(), dim, true);
  layers_.emplace_back(joined_.size(), hidden_top_.size(), true);
  layers_.emplace_back(hidden_top_.size(), hidden_last_.size(), true);
  layers_.emplace_back(hidden_last_.size(), 1, false);
}

void network::clear_gradients() {
  for (layer& each : layers_) std::fill(each.gradients.begin(), each.gradients.end(), 0.0f);
}

float network::forward(const float* counts, const float* of_features) {
  counts_ = counts;
  features_ = of_features;
  const layer* const bottom = &layers_[bottom_];
  bottom[0].forward(counts, hidden_bottom_.data());
  bottom[1].forward(hidden_bottom_.data(), vectors_[0].data());
  const layer* shorter = layers_.data();
  for (std::size_t f = 0; f < features; ++f) {
    const float* const row = of_features + columns_[f];
    if (dim_of(f) < dim) {
      (shorter++)->forward(row, vectors_[f + 1].data());
    } else {
      std::copy(row, row + dim, vectors_[f + 1].begin());
    }
  }
  auto product = std::copy(vectors_[0].begin(), vectors_[0].end(), joined_.begin());
  for (std::size_t i = 0; i < vectors; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      float sum = 0;
      for (std::size_t d = 0; d < dim; ++d) sum += vectors_[i][d] * vectors_[j][d];
      *product++ = sum;
    }
  }
  const layer* const top = bottom + 2;
  float logit = 0;
  top[0].forward(joined_.data(), hidden_top_.data());
  top[1].forward(hidden_top_.data(), hidden_last_.data());
  top[2].forward(hidden_last_.data(), &logit);
  return logit;
}

void network::backward(float error, float* of_features) {
  std::array<float, 32> of_last{}, of_bottom{};
  std::array<float, 64> of_hidden{};
  std::array<float, dim + pairs> of_joined{};
  std::array<std::array<float, dim>, vectors> of_vectors{};
  layer* const bottom = &layers_[bottom_];
  layer* const top = bottom + 2;
  const float logit = 0;  // its layer is not rectified, so nobody looks at it
  top[2].backward(hidden_last_.data(), &logit, &error, of_last.data());
  top[1].backward(hidden_top_.data(), hidden_last_.data(), of_last.data(), of_hidden.data());
  top[0].backward(joined_.data(), hidden_top_.data(), of_hidden.data(), of_joined.data());

  std::copy(of_joined.begin(), of_joined.begin() + dim, of_vectors[0].begin());
  auto of_product = of_joined.begin() + dim;
  for (std::size_t i = 0; i < vectors; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const float gradient = *of_product++;
      for (std::size_t d = 0; d < dim; ++d) {
        of_vectors[i][d] += gradient * vectors_[j][d];
        of_vectors[j][d] += gradient * vectors_[i][d];
      }
    }
  }
  layer* shorter = layers_.data();
  std::fill(of_features, of_features + width(), 0.0f);
  for (std::size_t f = 0; f < features; ++f) {
    float* const of_row = of_features + columns_[f];
    std::array<float, dim>& of_vector = of_vectors[f + 1];
    if (dim_of(f) < dim) {
      (shorter++)->backward(features_ + columns_[f], vectors_[f + 1].data(), of_vector.data(),
                            of_row);
    } else {
      std::copy(of_vector.begin(), of_vector.end(), of_row);
    }
  }
  bottom[1].backward(hidden_bottom_.data(), vectors_[0].data(), of_vectors[0].data(),
                     of_bottom.data());
  bottom[0].backward(counts_, hidden_bottom_.data(), of_bottom.data(), nullptr);
}

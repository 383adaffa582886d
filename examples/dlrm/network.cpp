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

network::network(const ad_layout& layout)
    : layout_(layout),
      columns_(1),
      vectors_((features() + 1) * dim),
      joined_(dim + features() * (features() + 1) / 2),
      hidden_bottom_(32),
      hidden_top_(64),
      hidden_last_(32),
      of_vectors_(vectors_.size()),
      of_joined_(joined_.size()),
      of_hidden_(hidden_top_.size()),
      of_last_(hidden_last_.size()),
      of_bottom_(hidden_bottom_.size()) {
  for (std::size_t f = 0; f < features(); ++f) {
    columns_.push_back(columns_[f] + dim_of(f));
    if (dim_of(f) < dim) layers_.emplace_back(dim_of(f), dim, false);
  }
  bottom_ = layers_.size();
  layers_.emplace_back(layout.numbers, hidden_bottom_.size(), true);
  layers_.emplace_back(hidden_bottom_.size(), dim, true);
  layers_.emplace_back(joined_.size(), hidden_top_.size(), true);
  layers_.emplace_back(hidden_top_.size(), hidden_last_.size(), true);
  layers_.emplace_back(hidden_last_.size(), 1, false);
}

void network::clear_gradients() {
  for (layer& each : layers_) std::fill(each.gradients.begin(), each.gradients.end(), 0.0f);
}

float network::forward(const float* numbers, const float* of_features) {
  numbers_ = numbers;
  features_ = of_features;
  const layer* const bottom = &layers_[bottom_];
  bottom[0].forward(numbers, hidden_bottom_.data());
  bottom[1].forward(hidden_bottom_.data(), vectors_.data());
  const layer* shorter = layers_.data();
  for (std::size_t f = 0; f < features(); ++f) {
    const float* const row = of_features + columns_[f];
    float* const vector = &vectors_[(f + 1) * dim];
    if (dim_of(f) < dim) {
      (shorter++)->forward(row, vector);
    } else {
      std::copy(row, row + dim, vector);
    }
  }
  auto product = std::copy_n(vectors_.begin(), dim, joined_.begin());
  for (std::size_t i = 0; i <= features(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      float sum = 0;
      for (std::size_t d = 0; d < dim; ++d) sum += vectors_[i * dim + d] * vectors_[j * dim + d];
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
  // Layers add to these.
  for (auto* each : {&of_joined_, &of_hidden_, &of_last_, &of_bottom_}) {
    std::fill(each->begin(), each->end(), 0.0f);
  }
  layer* const bottom = &layers_[bottom_];
  layer* const top = bottom + 2;
  const float logit = 0;  // its layer is not rectified, so nobody looks at it
  top[2].backward(hidden_last_.data(), &logit, &error, of_last_.data());
  top[1].backward(hidden_top_.data(), hidden_last_.data(), of_last_.data(), of_hidden_.data());
  top[0].backward(joined_.data(), hidden_top_.data(), of_hidden_.data(), of_joined_.data());

  std::fill(of_vectors_.begin(), of_vectors_.end(), 0.0f);
  std::copy_n(of_joined_.begin(), dim, of_vectors_.begin());
  auto of_product = of_joined_.begin() + dim;
  for (std::size_t i = 0; i <= features(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const float gradient = *of_product++;
      for (std::size_t d = 0; d < dim; ++d) {
        of_vectors_[i * dim + d] += gradient * vectors_[j * dim + d];
        of_vectors_[j * dim + d] += gradient * vectors_[i * dim + d];
      }
    }
  }
  layer* shorter = layers_.data();
  std::fill(of_features, of_features + width(), 0.0f);
  for (std::size_t f = 0; f < features(); ++f) {
    float* const of_row = of_features + columns_[f];
    float* const of_vector = &of_vectors_[(f + 1) * dim];
    if (dim_of(f) < dim) {
      (shorter++)->backward(features_ + columns_[f], &vectors_[(f + 1) * dim], of_vector, of_row);
    } else {
      std::copy(of_vector, of_vector + dim, of_row);
    }
  }
  bottom[1].backward(hidden_bottom_.data(), vectors_.data(), of_vectors_.data(),
                     of_bottom_.data());
  bottom[0].backward(numbers_, hidden_bottom_.data(), of_bottom_.data(), nullptr);
}

// The arithmetic of a DLRM (Naumov et al. 2019), for one sample at a time, in plain C++.
//
//     counts -> bottom layers -> a vector of 16
//     each feature's row      -> a vector of 16: itself, or through a layer if the row is shorter
//     the products of all pairs of these vectors, and the first vector -> top layers -> logit
//
// It knows arrays only. Who owns the numbers in them, and who steps them, is dlrm.hpp's business.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "ad_log.hpp"

// A dense layer. Each output has a row of weights: one an input, and then the bias.
class layer {
 public:
  layer(std::size_t inputs, std::size_t outputs, bool is_rectified)
      : weights(outputs * (inputs + 1)),
        gradients(weights.size()),
        inputs_(inputs),
        outputs_(outputs),
        is_rectified_(is_rectified) {}

  std::size_t inputs() const { return inputs_; }
  std::size_t outputs() const { return outputs_; }
  std::size_t dim() const { return inputs_ + 1; }
  bool is_rectified() const { return is_rectified_; }

  void forward(const float* x, float* y) const;
  // Adds the gradients of the weights to `gradients`, and that of the input to `of_x` unless it is
  // null. Changes `of_y`.
  void backward(const float* x, const float* y, float* of_y, float* of_x);

  std::vector<float> weights;
  std::vector<float> gradients;

 private:
  std::size_t inputs_;
  std::size_t outputs_;
  bool is_rectified_;
};

class network {
 public:
  static constexpr std::size_t dim = 16;                       // of the vectors that are multiplied
  static constexpr std::size_t features = ad_log::columns + 1;  // the tokens, and the buckets

  // Columns of few tokens need fewer weights a token.
  static constexpr std::size_t dim_of(std::size_t feature) {
    return feature == 5 || feature == 8 || feature == 13 || feature == 16 || feature == 19 ||
                   feature == 21 || feature == 22 || feature == 24
               ? 8
               : dim;
  }

  network();

  // The floats in a row of a batch's features, side by side.
  std::size_t width() const { return columns_.back(); }
  // Where those of a feature begin.
  std::size_t column(std::size_t feature) const { return columns_[feature]; }

  std::vector<layer>& layers() { return layers_; }

  void clear_gradients();

  // The logit of a sample.
  float forward(const float* counts, const float* of_features);
  // Backward of the latest forward. Adds to the layers' gradients, and writes those of the
  // features.
  void backward(float error, float* of_features);

 private:
  static constexpr std::size_t vectors = features + 1;
  static constexpr std::size_t pairs = vectors * (vectors - 1) / 2;

  std::array<std::size_t, features + 1> columns_{};
  // The layers of features with shorter rows come first, then bottom, then top.
  std::vector<layer> layers_;
  std::size_t bottom_ = 0;

  // Of the latest forward.
  const float* counts_ = nullptr;
  const float* features_ = nullptr;
  std::array<std::array<float, dim>, vectors> vectors_{};
  std::array<float, dim + pairs> joined_{};
  std::array<float, 32> hidden_bottom_{};
  std::array<float, 64> hidden_top_{};
  std::array<float, 32> hidden_last_{};
};

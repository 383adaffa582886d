// The arithmetic of a DLRM (Naumov et al. 2019), for one sample at a time, in plain C++.
//
//     numbers -> bottom layers -> a vector of 16
//     each feature's row      -> a vector of 16: itself, or through a layer if the row is shorter
//     the products of all pairs of these vectors, and the first vector -> top layers -> logit
//
// It knows arrays only. Who owns the numbers in them, and who steps them, is dlrm.hpp's business.
#pragma once

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
  static constexpr std::size_t dim = 16;  // of the vectors that are multiplied

  // The dims of a layout go up to `dim`.
  explicit network(const ad_layout& layout);

  std::size_t features() const { return layout_.features(); }
  std::size_t dim_of(std::size_t feature) const { return layout_.dims[feature]; }

  // The floats in a row of a batch's features, side by side.
  std::size_t width() const { return columns_.back(); }
  // Where those of a feature begin.
  std::size_t column(std::size_t feature) const { return columns_[feature]; }

  std::vector<layer>& layers() { return layers_; }

  void clear_gradients();

  // The logit of a sample.
  float forward(const float* numbers, const float* of_features);
  // Backward of the latest forward. Adds to the layers' gradients, and writes those of the
  // features.
  void backward(float error, float* of_features);

 private:
  ad_layout layout_;
  std::vector<std::size_t> columns_;
  // The layers of features with shorter rows come first, then bottom, then top.
  std::vector<layer> layers_;
  std::size_t bottom_ = 0;

  // Of the latest forward.
  const float* numbers_ = nullptr;
  const float* features_ = nullptr;
  std::vector<float> vectors_;  // of `dim` floats: that of the numbers, and then the features'
  std::vector<float> joined_;
  std::vector<float> hidden_bottom_;
  std::vector<float> hidden_top_;
  std::vector<float> hidden_last_;

  // Of the latest backward. All vectors are kept from sample to sample.
  std::vector<float> of_vectors_;
  std::vector<float> of_joined_;
  std::vector<float> of_hidden_;
  std::vector<float> of_last_;
  std::vector<float> of_bottom_;
};

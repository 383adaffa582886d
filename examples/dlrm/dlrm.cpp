#include "dlrm.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "metrics.hpp"

namespace {

// Samples that are predicted at once.
constexpr std::size_t samples_a_peek = 512;

// The first groups have the features; the layers follow.
std::uint32_t group_of_layer(const network& net, std::size_t layer) {
  return static_cast<std::uint32_t>(net.features() + layer);
}

ad_log slice(const ad_log& log, std::size_t first) {
  ad_log part(log.layout);
  const std::size_t last = std::min(first + samples_a_peek, log.size());
  for (std::size_t i = first; i < last; ++i) part.append(log, i);
  return part;
}

void predict(network& net, const ad_log& batch, const std::vector<float>& rows,
             std::vector<float>& logits) {
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const float* const numbers = &batch.numbers[i * batch.layout.numbers];
    const float logit = net.forward(numbers, &rows[i * net.width()]);
    if (!std::isfinite(logit)) throw std::runtime_error("a prediction is not a finite number");
    logits.push_back(logit);
  }
}

}  // namespace

dlrm::dlrm(const std::string& directory, const ad_layout& layout)
    : storage_(directory), step_(storage_), network_(layout) {
  // A token that is several times in a batch gets one step, with the sum of its gradients.
  const damo::optimizer sparse("adagrad", {{"learning_rate", 0.003}});
  const damo::initializer small("random_uniform", {{"min", -0.05}, {"max", 0.05}});
  for (std::size_t f = 0; f < network_.features(); ++f) {
    features_.emplace_back(storage_, sparse, small, network_.dim_of(f), f);
  }
  // A layer is a table as any other: an output's weights are a row, and all rows are looked up.
  const damo::optimizer dense("adam", {{"learning_rate", 0.001}});
  for (const layer& each : network_.layers()) {
    const double stddev = std::sqrt((each.is_rectified() ? 2.0 : 1.0) /
                                    static_cast<double>(each.inputs()));
    layers_.emplace_back(storage_, dense, damo::initializer("random_normal", {{"stddev", stddev}}),
                         each.dim(), group_of_layer(network_, layers_.size()));
    layer_keys_.emplace_back(each.outputs());
    std::iota(layer_keys_.back().begin(), layer_keys_.back().end(), std::int64_t{0});
  }
}

void dlrm::add_parts(const ad_log& batch) {
  const std::size_t width = network_.width();
  rows_.resize(batch.size() * width);
  gradients_.resize(rows_.size());
  step_.clear();
  outputs_.clear();
  of_outputs_.clear();
  for (std::size_t f = 0; f < network_.features(); ++f) {
    if (f < batch.layout.columns()) {
      step_.add(features_[f], batch.keys[f]);
    } else {
      step_.add(features_[f], batch.bags, batch.begins, "mean");
    }
    // The columns of this feature in the matrix of the batch.
    const std::size_t column = network_.column(f), dim = network_.dim_of(f);
    const std::size_t floats = rows_.size() - column;
    outputs_.push_back({{rows_.data() + column, floats}, dim, width});
    of_outputs_.push_back({{gradients_.data() + column, floats}, dim, width});
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layer& each = network_.layers()[i];
    step_.add(layers_[i], layer_keys_[i]);
    outputs_.push_back({each.weights, each.dim()});
    of_outputs_.push_back({each.gradients, each.dim()});
  }
}

double dlrm::train(const ad_log& batch) {
  add_parts(batch);
  step_.lookup(outputs_);
  network_.clear_gradients();
  double loss = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const float* const numbers = &batch.numbers[i * batch.layout.numbers];
    const float logit = network_.forward(numbers, &rows_[i * network_.width()]);
    loss += log_loss(logit, batch.labels[i]);
    const double error = sigmoid(logit) - static_cast<double>(batch.labels[i]);
    network_.backward(static_cast<float>(error / static_cast<double>(batch.size())),
                      &gradients_[i * network_.width()]);
  }
  step_.apply_gradients(of_outputs_);
  return loss;
}

std::vector<float> dlrm::predict(const ad_log& log) {
  std::vector<float> logits;
  for (std::size_t first = 0; first < log.size(); first += samples_a_peek) {
    const ad_log part = slice(log, first);
    add_parts(part);
    step_.peek(outputs_);
    ::predict(network_, part, rows_, logits);
  }
  return logits;
}

std::vector<float> serve(const damo::table& table, const ad_log& log) {
  network net(log.layout);
  for (std::size_t i = 0; i < net.layers().size(); ++i) {
    std::vector<std::int64_t> keys(net.layers()[i].outputs());
    std::iota(keys.begin(), keys.end(), std::int64_t{0});
    table.lookup(group_of_layer(net, i), keys, net.layers()[i].weights);
  }
  std::vector<float> logits;
  for (std::size_t first = 0; first < log.size(); first += samples_a_peek) {
    const ad_log part = slice(log, first);
    std::vector<float> rows(part.size() * net.width());
    for (std::size_t f = 0; f < net.features(); ++f) {
      const bool is_bag = f == part.layout.columns();
      const std::size_t dim = net.dim_of(f);
      const std::vector<float> found = table.lookup(f, is_bag ? part.bags : part.keys[f]);
      for (std::size_t i = 0; i < part.size(); ++i) {
        float* const row = &rows[i * net.width() + net.column(f)];
        if (!is_bag) {
          std::copy_n(&found[i * dim], dim, row);
          continue;
        }
        const auto begin = static_cast<std::size_t>(part.begins[i]);
        const std::size_t end = part.end(i);
        for (std::size_t at = begin; at < end; ++at) {
          for (std::size_t d = 0; d < dim; ++d) row[d] += found[at * dim + d];
        }
        const auto count = static_cast<float>(std::max<std::size_t>(1, end - begin));
        for (std::size_t d = 0; d < dim; ++d) row[d] /= count;
      }
    }
    ::predict(net, part, rows, logits);
  }
  return logits;
}

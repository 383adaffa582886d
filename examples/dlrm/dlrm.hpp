// A DLRM whose every parameter is a row of a damo store: the rows of the features, one of which has
// bags, and the rows of the dense layers, too.
//
// All of them are the parts of one damo::step. So a training step is one lookup and one transaction
// over all groups: whenever the program dies, dense and sparse parameters are those of the same
// step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <damo.hpp>

#include "ad_log.hpp"
#include "network.hpp"

class dlrm {
 public:
  // Opens the store in `directory`, or creates it. Its samples have this layout.
  dlrm(const std::string& directory, const ad_layout& layout);

  // One step on the mean log-loss of the batch, which must not be empty. Returns the sum of the
  // log-losses before the step.
  double train(const ad_log& batch);

  // The logit of each sample. Creates no rows.
  std::vector<float> predict(const ad_log& log);

  // Steps taken over the life of the store.
  std::int64_t step() const { return features_.front().step(); }
  std::size_t groups() const { return features_.size() + layers_.size(); }
  const damo::storage& storage() const { return storage_; }

 private:
  void add_parts(const ad_log& batch);

  damo::storage storage_;
  std::vector<damo::embedding> features_;
  std::vector<damo::embedding> layers_;
  std::vector<std::vector<std::int64_t>> layer_keys_;
  damo::step step_;
  network network_;
  // All of these are kept from batch to batch, so that training does not allocate.
  std::vector<float> rows_;       // of a batch's features, side by side
  std::vector<float> gradients_;  // likewise
  std::vector<damo::row_span<float>> outputs_;
  std::vector<damo::row_span<const float>> of_outputs_;
};

// The logit of each sample, by the rows of a dump alone: what a server does.
std::vector<float> serve(const damo::table& table, const ad_log& log);

// A click log made up on the spot, for a machine without data.
#pragma once

#include <cstddef>
#include <vector>

#include "click_log.hpp"

// The labels are drawn from known probabilities. Nobody can rank the samples better than those
// probabilities do, so their own AUC is the best that any model can reach: a yardstick that real
// data never come with.
struct generated_log {
  click_log samples;
  std::vector<float> true_logits;  // one a sample
};

// The same log every time, whatever the machine or the standard library.
generated_log generate_log(std::size_t samples);

// How good are the predictions: area under the ROC curve, and log-loss. Both take logits, not
// probabilities: a probability near 0 or 1 is rounded, which would invent ties for the one and
// infinities for the other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

inline double sigmoid(double logit) { return 1.0 / (1.0 + std::exp(-logit)); }

// -log of the probability given to what happened, in the form that cannot overflow.
inline double log_loss(double logit, float label) {
  const double against = label > 0.5f ? -logit : logit;
  return std::max(against, 0.0) + std::log1p(std::exp(-std::abs(logit)));
}

// The chance that a random click is ranked above a random non-click; a tie counts one half. No
// value when all labels are alike, since there is no such pair.
//
// Counted in half pairs, in integers, so the figure is exact and does not depend on how the sort
// orders ties. Scores must not be NaN.
inline std::optional<double> auc(const std::vector<float>& scores,
                                 const std::vector<float>& labels) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });

  std::uint64_t clicks = 0;      // in the groups of equal scores seen so far, that is, ranked lower
  std::uint64_t others = 0;      // likewise
  std::uint64_t half_pairs = 0;  // 2 for a non-click below a click, 1 for a tie
  for (std::size_t first = 0; first < order.size();) {
    std::uint64_t tied_clicks = 0;
    std::uint64_t tied_others = 0;
    std::size_t last = first;
    for (; last < order.size() && scores[order[last]] == scores[order[first]]; ++last) {
      ++(labels[order[last]] > 0.5f ? tied_clicks : tied_others);
    }
    half_pairs += tied_clicks * (2 * others + tied_others);
    clicks += tied_clicks;
    others += tied_others;
    first = last;
  }
  if (clicks == 0 || others == 0) return std::nullopt;
  return static_cast<double>(half_pairs) /
         (2.0 * static_cast<double>(clicks) * static_cast<double>(others));
}

struct metrics {
  std::optional<double> auc;
  double log_loss = 0;  // mean over the samples

  // Exact on purpose: a model that comes back from disk must give the same bits.
  bool operator==(const metrics& other) const {
    return auc == other.auc && log_loss == other.log_loss;
  }
};

inline metrics measure(const std::vector<float>& logits, const std::vector<float>& labels) {
  double total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) total += log_loss(logits[i], labels[i]);
  return {auc(logits, labels), total / static_cast<double>(logits.size())};
}

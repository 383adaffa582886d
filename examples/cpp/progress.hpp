// Prints one line an epoch. On a terminal the line is rewritten in place while the epoch runs; a
// file or a pipe gets only the finished line.
#pragma once

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>

#include <unistd.h>  // isatty is POSIX, not C++

#include "metrics.hpp"

// "0.9317", or a word for labels that are all alike.
inline std::string show_auc(const std::optional<double>& auc) {
  if (!auc) return "undefined (one label only)";
  char text[32];
  std::snprintf(text, sizeof(text), "%.4f", *auc);
  return text;
}

// "test AUC 0.9317  log-loss 0.3102"
inline std::string show_metrics(const metrics& test) {
  char text[64];
  std::snprintf(text, sizeof(text), "  log-loss %.4f", test.log_loss);
  return "test AUC " + show_auc(test.auc) + text;
}

class epoch_progress {
 public:
  epoch_progress(std::int64_t epoch, std::int64_t epochs) : epoch_(epoch), epochs_(epochs) {}

  // Counts a batch: `samples` more, and the sum of their log-losses.
  void add(std::size_t samples, double loss) {
    samples_ += samples;
    loss_ += loss;
    seconds_ = since(start_);
    if (terminal_ && since(shown_) > 0.1) {
      shown_ = clock::now();
      show();
      std::fflush(stdout);
    }
  }

  // Ends the line, with the evaluation's figures. samples/s leaves its time out.
  void finish(const metrics& test) const {
    show();
    std::printf("  %s\n", show_metrics(test).c_str());
    std::fflush(stdout);
  }

 private:
  using clock = std::chrono::steady_clock;

  static double since(clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  }

  void show() const {
    if (terminal_) std::printf("\r\033[K");  // back to the start of the line, and clear it
    const auto samples = static_cast<double>(samples_);
    std::printf("epoch %" PRId64 "/%" PRId64 "  %zu samples  %.0f samples/s  train log-loss %.4f",
                epoch_, epochs_, samples_, samples / seconds_, loss_ / samples);
  }

  std::int64_t epoch_;
  std::int64_t epochs_;
  bool terminal_ = isatty(STDOUT_FILENO) == 1;
  clock::time_point start_ = clock::now();
  clock::time_point shown_ = start_;
  double seconds_ = 0;
  std::size_t samples_ = 0;
  double loss_ = 0;
};

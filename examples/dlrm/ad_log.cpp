#include "ad_log.hpp"

#include <optional>

#include "criteo_ads.hpp"
#include "formats.hpp"
#include "movielens_ads.hpp"

namespace {

// Takes a sample column by column. The first one tells which log it is.
class ad_log_sink final : public sample_sink {
 public:
  explicit ad_log_sink(const std::string& path) : path_(path) {}

  ad_log take() { return std::move(*log_); }

  void id(std::int64_t, float) override {
    throw input_error(path_ + ": is libFM text; a log of Criteo or MovieLens is needed");
  }

  void count(std::string_view column, std::optional<std::int64_t> count) override {
    counts_.push_back({std::string(column), count});
  }

  void token(std::string_view column, std::string_view token) override {
    tokens_.push_back({std::string(column), std::string(token)});
  }

  void end_sample(bool clicked) override {
    if (!log_) begin();
    log_->begin_sample(clicked);
    if (movielens_) {
      movielens_->add(tokens_[0].text, tokens_[1].text, *log_);
    } else {
      add_criteo(counts_, tokens_, *log_);
    }
    counts_.clear();
    tokens_.clear();
  }

 private:
  void begin() {
    if (counts_.empty() && tokens_.size() == 2 && tokens_[0].column == "user_id") {
      movielens_.emplace(path_);
      log_.emplace(movielens_ads::layout());
      return;
    }
    if (counts_.size() != criteo_counts || tokens_.size() != criteo_tokens) {
      throw input_error(path_ + ": has " + std::to_string(counts_.size()) + " I columns and " +
                        std::to_string(tokens_.size()) +
                        " C columns; I1 .. I13 and C1 .. C26 are needed");
    }
    log_.emplace(criteo_layout());
  }

  std::string path_;
  std::optional<ad_log> log_;
  std::optional<movielens_ads> movielens_;
  // Of the sample.
  std::vector<criteo_count> counts_;
  std::vector<criteo_token> tokens_;
};

}  // namespace

ad_log read_ad_log(const std::string& path) {
  ad_log_sink sink(path);
  read_log(path, nullptr, sink);  // throws unless there is a sample
  return sink.take();
}

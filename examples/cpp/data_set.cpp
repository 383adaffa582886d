#include "data_set.hpp"

#include <algorithm>
#include <filesystem>

#include "feature_keys.hpp"
#include "formats.hpp"
#include "generated_log.hpp"
#include "metrics.hpp"

// The build names the checkout, so that the program finds the data from wherever it is started.
#ifndef DAMO_SOURCE_DIR
#define DAMO_SOURCE_DIR "."
#endif

namespace {

constexpr std::size_t generated_samples = 200'000;

std::size_t held_out(std::size_t samples) { return std::max<std::size_t>(1, samples / 5); }

data_set from_two_files(const std::string& train, const std::string& test,
                        const log_format* format) {
  data_set data;
  click_log_sink to_train(data.train);
  click_log_sink to_test(data.test);
  const log_shape trained = read_log(train, format, to_train);
  check_alike(trained, read_log(test, format, to_test));
  data.description = train + ", held out " + test;
  return data;
}

// Holds out the last samples, not random ones: readers keep the order of events, and a model is
// used on what comes later.
data_set from_one_file(const std::string& path, const log_format* format) {
  click_log log;
  click_log_sink sink(log);
  read_log(path, format, sink);
  if (log.size() < 2) {
    throw input_error(path + ": one sample cannot be both trained on and held out");
  }
  const std::size_t cut = log.size() - held_out(log.size());
  data_set data;
  data.train = log.slice(0, cut);
  data.test = log.slice(cut, log.size());
  data.description = path + ", held out its last 20 %";
  return data;
}

data_set generated() {
  const generated_log log = generate_log(generated_samples);
  const std::size_t cut = generated_samples - held_out(generated_samples);
  data_set data;
  data.train = log.samples.slice(0, cut);
  data.test = log.samples.slice(cut, generated_samples);
  data.description = "a generated click log, held out its last 20 %";
  data.best_auc =
      auc({log.true_logits.begin() + static_cast<std::ptrdiff_t>(cut), log.true_logits.end()},
          data.test.labels);
  return data;
}

}  // namespace

data_set load_data(const command_line& chosen) {
  if (chosen.generated) return generated();
  if (chosen.files.size() == 2) {
    return from_two_files(chosen.files[0], chosen.files[1], chosen.format);
  }
  if (chosen.files.size() == 1) return from_one_file(chosen.files[0], chosen.format);

  const auto folder =
      (std::filesystem::path(DAMO_SOURCE_DIR) / ".." / "shared" / "data").lexically_normal();
  const std::string train = (folder / "frappe.train.libfm").string();
  const std::string test = (folder / "frappe.test.libfm").string();
  if (std::filesystem::exists(train) && std::filesystem::exists(test)) {
    data_set data = from_two_files(train, test, nullptr);
    data.description = "no file given, so Frappe: " + data.description;
    return data;
  }
  data_set data = generated();
  data.description = "no file given and no " + train + ", so " + data.description;
  return data;
}

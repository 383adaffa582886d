// train_dlrm: a DLRM on the Criteo log, or on MovieLens with genres, with every parameter stored in
// damo and one damo::step for all of them.
//
// dlrm.hpp is the model, and the only place that calls damo to train and predict; network.hpp has
// its arithmetic, ad_log.hpp the samples, criteo_ads.hpp and movielens_ads.hpp what they have. The
// log readers are those of examples/cpp. examples/README.md has a line that compiles it.
//
// The run trains, with a checkpoint in the middle. A second store trains on from the checkpoint,
// and a dump serves. All three give the same scores, to the last bit.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <damo.hpp>

#include "ad_log.hpp"
#include "dlrm.hpp"
#include "hashing.hpp"
#include "metrics.hpp"
#include "progress.hpp"
#include "text_file.hpp"

// The build names the checkout, so that the program finds the data from wherever it is started.
#ifndef DAMO_SOURCE_DIR
#define DAMO_SOURCE_DIR "."
#endif

namespace {

const char usage[] =
    "usage: train_dlrm DIRECTORY [LOG] [OPTION VALUE]...\n"
    "Trains on the log, of which it holds out the last 20 %. DIRECTORY/model is the store, and a\n"
    "second run goes on from it. DIRECTORY/checkpoint is the model after half of the epochs, and\n"
    "DIRECTORY/model.table the file to serve from. LOG is a Criteo CSV, or a MovieLens .inter\n"
    "with .user and .item beside it. Without one it takes the Criteo log in ../shared/data, if it\n"
    "is beside the checkout, or else generates one.\n"
    "  --generate N        trains on a generated log of N samples\n"
    "  --epochs N          passes over the log (2)\n"
    "  --batch N           samples a step (32)\n";

struct chosen {
  std::vector<std::string> paths;
  std::size_t generate = 0;
  std::int64_t epochs = 2;  // a small log is learnt by heart soon
  std::size_t batch = 32;
};

chosen parse(int argc, char** argv) {
  chosen choice;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.substr(0, 2) != "--") {
      choice.paths.push_back(word);
      continue;
    }
    if (word != "--epochs" && word != "--batch" && word != "--generate") {
      throw input_error(::quoted(word) + " is no option\n" + usage);
    }
    const std::string value = i + 1 < argc ? argv[++i] : "";
    const auto number = parse_int(value);
    if (!number || *number < 1 || *number > 1'000'000) {
      throw input_error(word + " " + ::quoted(value) +
                        " should be an integer from 1 to 1000000");
    }
    if (word == "--epochs") choice.epochs = *number;
    if (word == "--batch") choice.batch = static_cast<std::size_t>(*number);
    if (word == "--generate") choice.generate = static_cast<std::size_t>(*number);
  }
  const std::size_t most = choice.generate > 0 ? 1 : 2;
  if (choice.paths.empty() || choice.paths.size() > most) throw input_error(usage);
  return choice;
}

struct ad_data {
  ad_log train;
  ad_log test;  // the last samples: a model is used on what comes later
};

ad_data load(const chosen& choice) {
  std::string path = choice.paths.size() == 2 ? choice.paths[1] : "";
  if (path.empty() && choice.generate == 0) {
    const auto folder = std::filesystem::path(DAMO_SOURCE_DIR) / ".." / "shared" / "data";
    path = (folder / "criteo.train.csv").lexically_normal().string();
    if (!std::filesystem::exists(path)) path.clear();
  }
  const std::size_t generated = choice.generate > 0 ? choice.generate : 6000;
  const ad_log all = path.empty() ? generate_ad_log(generated) : read_ad_log(path);
  if (all.size() < 2) {
    throw input_error("the log " + path +
                      " has one sample, which cannot be both trained on and held out");
  }
  ad_data data{ad_log(all.layout), ad_log(all.layout)};
  const std::size_t cut = all.size() - std::max<std::size_t>(1, all.size() / 5);
  for (std::size_t i = 0; i < all.size(); ++i) (i < cut ? data.train : data.test).append(all, i);
  const double clicks = std::accumulate(data.train.labels.begin(), data.train.labels.end(), 0.0);
  const auto samples = static_cast<double>(data.train.size());
  std::printf("data: %s\n  train %zu samples, %.1f %% clicks; held out %zu\n",
              path.empty() ? "a generated log" : path.c_str(), data.train.size(),
              100 * clicks / samples, data.test.size());
  std::printf("  %zu numbers, %zu features with one key, and bags of %.1f on average\n",
              all.layout.numbers, all.layout.columns(),
              static_cast<double>(data.train.bags.size()) / samples);
  return data;
}

// A new order for every epoch, which depends on the step at which it starts and on nothing else.
std::vector<std::size_t> shuffled(std::size_t samples, std::int64_t step) {
  std::vector<std::size_t> order(samples);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::uint64_t seed = mix64(static_cast<std::uint64_t>(step));
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return mix64(seed ^ a) < mix64(seed ^ b); });
  return order;
}

void train(dlrm& model, const ad_data& data, const chosen& choice, std::int64_t first,
           std::int64_t last) {
  ad_log batch(data.train.layout);
  for (std::int64_t epoch = first; epoch <= last; ++epoch) {
    epoch_progress progress(epoch, choice.epochs);
    const std::vector<std::size_t> order = shuffled(data.train.size(), model.step());
    for (std::size_t at = 0; at < order.size(); at += choice.batch) {
      batch.clear();
      const std::size_t end = std::min(at + choice.batch, order.size());
      for (std::size_t i = at; i < end; ++i) batch.append(data.train, order[i]);
      progress.add(batch.size(), model.train(batch));
    }
    progress.finish(measure(model.predict(data.test), data.test.labels));
  }
}

void check_same(const char* what, const std::vector<float>& scores,
                const std::vector<float>& expected) {
  if (scores != expected) throw std::runtime_error(std::string(what) + ": other scores");
  std::printf("%s: the same %zu scores\n", what, scores.size());
}

void run(const chosen& choice) {
  const ad_data data = load(choice);
  const std::filesystem::path directory = choice.paths[0];
  const auto in_directory = [&](const char* name) { return (directory / name).string(); };
  std::filesystem::create_directories(directory);
  for (const char* old : {"checkpoint", "resumed", "model.table"}) {
    std::filesystem::remove_all(directory / old);
  }

  dlrm model(in_directory("model"), data.train.layout);
  std::printf("model: %zu groups, %" PRId64 " steps so far; a step is one transaction over all\n",
              model.groups(), model.step());
  const std::int64_t half = choice.epochs / 2;
  train(model, data, choice, 1, half);
  model.storage().checkpoint(in_directory("checkpoint"));
  std::printf("checkpoint at step %" PRId64 "\n", model.step());
  train(model, data, choice, half + 1, choice.epochs);
  const std::vector<float> scores = model.predict(data.test);

  dlrm resumed(in_directory("resumed"), data.train.layout);
  resumed.storage().load_from_checkpoint(in_directory("checkpoint"));
  train(resumed, data, choice, half + 1, choice.epochs);
  check_same("resumed from the checkpoint", resumed.predict(data.test), scores);

  const damo::dumped dump =
      model.storage().dump(in_directory("model.table"), {{"format", "table"}});
  const damo::table table(in_directory("model.table"));
  std::printf("%" PRIu64 " rows to serve\n", dump.rows);
  check_same("served from the table", serve(table, data.test), scores);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const input_error& error) {
    std::fprintf(stderr, "train_dlrm: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_dlrm: %s\n", error.what());
    return 1;
  }
}

// train_fm: a factorization machine on a click log, with every parameter stored in damo.
//
// Start reading here: this file is the training loop. What it calls, in the order in which one
// would want to know:
//
//     factorization_machine.hpp   the model; the only place that calls damo to train and predict
//     click_log.hpp               the samples in memory
//     formats.hpp, *_format.cpp   read them from files
//     feature_keys.hpp            makes keys of what the files say
//     generated_log.hpp           samples for a machine without data
//     metrics.hpp                 AUC and log-loss
//
// data_set.hpp, options.hpp, progress.hpp, store_directory.hpp and weight_file.hpp are the rest of
// a small program.
//
// CMake builds it with the library. By hand, from the top of the checkout:
//
//     lib=$PWD/build/lib
//     c++ -std=c++17 -O2 -I include examples/cpp/*.cpp -L $lib -Wl,-rpath,$lib -ldamo -o train_fm
//     ./train_fm --help
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <signal.h>  // sigaction is POSIX, not C++

#include <damo.hpp>

#include "data_set.hpp"
#include "factorization_machine.hpp"
#include "hashing.hpp"
#include "metrics.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "store_directory.hpp"
#include "text_file.hpp"
#include "weight_file.hpp"

namespace {

// Ctrl-C, or a reader of our output that has gone, ends the run at the next batch and through the
// destructors, so that the store is closed and a temporary one removed.
volatile sig_atomic_t stop_signal = 0;

struct stopped {};

extern "C" void request_stop(int signal) { stop_signal = signal; }

void stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C does not wait for the batch
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) sigaction(signal, &action, nullptr);
}

// A new order for every epoch, as stochastic gradients want it. It depends on the seed and on the
// step at which the epoch starts and on nothing else, so three epochs today and two tomorrow, on
// the same --store, train the same model as five in one go. Fisher-Yates by hand, because
// std::shuffle differs from one standard library to the next.
std::vector<std::size_t> shuffled(std::size_t samples, std::int64_t seed, std::int64_t step) {
  std::mt19937_64 random(mix64(static_cast<std::uint64_t>(seed)) +
                         static_cast<std::uint64_t>(step));
  std::vector<std::size_t> order(samples);
  std::iota(order.begin(), order.end(), std::size_t{0});
  // The remainder favours small numbers by less than samples / 2^64: nothing.
  for (std::size_t left = samples; left > 1; --left) {
    std::swap(order[left - 1], order[random() % left]);
  }
  return order;
}

void train_epoch(factorization_machine& model, const click_log& train, const command_line& chosen,
                 epoch_progress& progress) {
  const std::vector<std::size_t> order = shuffled(train.size(), chosen.seed, model.step());
  click_log batch;
  for (std::size_t first = 0; first < order.size(); first += chosen.batch) {
    if (stop_signal != 0) throw stopped{};
    batch.clear();
    const std::size_t last = std::min(first + chosen.batch, order.size());
    for (std::size_t i = first; i < last; ++i) batch.append(train, order[i]);
    const double loss = model.train(batch);
    progress.add(batch.size(), loss);
  }
}

metrics evaluate(const factorization_machine& model, const click_log& test) {
  return measure(model.predict(test), test.labels);
}

// Trains and closes the store, by letting go of the model. Returns the last evaluation.
metrics train(const data_set& data, const command_line& chosen, const damo::optimizer& optimizer,
              const store_directory& store) {
  factorization_machine model(store.path(), optimizer, chosen.dim, chosen.seed);
  metrics test = evaluate(model, data.test);
  if (model.step() > 0) {
    std::printf("going on from step %" PRId64 " of %s: %s\n", model.step(), store.path().c_str(),
                show_metrics(test).c_str());
  } else {
    std::printf("a new model: %s\n", show_metrics(test).c_str());
  }
  for (std::int64_t epoch = 1; epoch <= chosen.epochs; ++epoch) {
    epoch_progress progress(epoch, chosen.epochs);
    train_epoch(model, data.train, chosen, progress);
    test = evaluate(model, data.test);
    progress.finish(test);
  }
  model.flush();
  if (!chosen.save_weights.empty()) save_weights(chosen.save_weights, model, data.train);
  return test;
}

// Opens the store again: the model that comes back from disk must give the same bits.
void check_reopened(const data_set& data, const command_line& chosen,
                    const damo::optimizer& optimizer, const store_directory& store,
                    const metrics& before) {
  const factorization_machine model(store.path(), optimizer, chosen.dim, chosen.seed);
  const metrics after = evaluate(model, data.test);
  if (!(after == before)) {
    char text[200];
    std::snprintf(text, sizeof(text),
                  "re-opened: test AUC %.17g, log-loss %.17g; before closing: %.17g, %.17g",
                  after.auc.value_or(0), after.log_loss, before.auc.value_or(0), before.log_loss);
    throw std::runtime_error(text);
  }
  std::printf("re-opened: test AUC %s (same as before closing)\n", show_auc(after.auc).c_str());
}

// A name or a rate that the library does not take is the command line's fault, not a failure of the
// run.
damo::optimizer make_optimizer(const command_line& chosen) {
  try {
    return damo::optimizer(chosen.optimizer, {{"learning_rate", chosen.learning_rate}});
  } catch (const damo::error& error) {
    throw input_error(std::string("--optimizer, --learning-rate: ") + error.what());
  }
}

void print_data(const data_set& data) {
  const auto print_part = [](const char* name, const click_log& log) {
    const double clicks = std::accumulate(log.labels.begin(), log.labels.end(), 0.0);
    std::printf("  %s  %zu samples, %.1f %% clicks, %.1f features a sample\n", name, log.size(),
                100 * clicks / static_cast<double>(log.size()),
                static_cast<double>(log.keys.size()) / static_cast<double>(log.size()));
  };
  std::printf("data: %s\n", data.description.c_str());
  print_part("train", data.train);
  print_part("test ", data.test);
  const auto clicks = std::count(data.test.labels.begin(), data.test.labels.end(), 1.0f);
  if (clicks == 0 || clicks == static_cast<std::ptrdiff_t>(data.test.size())) {
    std::printf(
        "  all held-out samples have the same label, so there is no AUC; without TEST_FILE, part "
        "of TRAIN_FILE is\n"
        "  held out\n");
  }
  if (data.best_auc) std::printf("  best possible AUC %s\n", show_auc(data.best_auc).c_str());
  std::fflush(stdout);
}

void run(const command_line& chosen) {
  if (chosen.help) {
    std::fputs(usage().c_str(), stdout);
    return;
  }
  const damo::optimizer optimizer = make_optimizer(chosen);
  const data_set data = load_data(chosen);
  print_data(data);

  if (!chosen.save_weights.empty()) {
    check_weight_file(chosen.save_weights);  // rather now than after training
  }
  stop_on_signals();
  const store_directory store(chosen.store);
  const metrics before = train(data, chosen, optimizer, store);
  check_reopened(data, chosen, optimizer, store, before);
  if (!store.temporary()) std::printf("the model is kept in %s\n", store.path().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse_command_line(argc, argv));
    if (std::fflush(stdout) != 0) throw std::runtime_error("standard output cannot be written");
    return 0;
  } catch (const input_error& error) {
    std::fprintf(stderr, "train_fm: %s\n", error.what());
    return 2;
  } catch (const stopped&) {
    std::fprintf(stderr, "train_fm: stopped by signal %d\n", static_cast<int>(stop_signal));
    return 128 + stop_signal;  // what a shell expects
  } catch (const std::exception& error) {
    // damo::error is one: it names the call, the argument and the value.
    std::fprintf(stderr, "train_fm: %s\n", error.what());
    return 1;
  }
}

// train_online: a trainer that works sample by sample, with several threads on one damo store.
//
// docs/porting.md tells how to get from a trainer with arrays in memory to this one. online_fm.hpp
// has the model; the log readers are those of examples/cpp.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "feature_keys.hpp"
#include "formats.hpp"
#include "generated_log.hpp"
#include "metrics.hpp"
#include "online_fm.hpp"

namespace {

const char usage[] =
    "usage: train_online STORE [TRAIN TEST] [OPTION VALUE]...\n"
    "Trains on the log TRAIN, or on a generated one, in the directory STORE, going on from what\n"
    "it holds. After each epoch STORE.checkpoint is the model as it was then; in the end\n"
    "STORE.table is the file to serve from.\n"
    "  --epochs N          passes over the log (3)\n"
    "  --threads N         threads that train (2)\n"
    "  --samples N         samples that a thread learns from with one call a group (1)\n"
    "  --dim N             length of the vectors (8)\n"
    "  --durability NAME   process, power or checkpoint (checkpoint)\n";

struct chosen {
  std::vector<std::string> paths;
  std::size_t epochs = 3, threads = 2, samples = 1, dim = 8;
  std::string durability = "checkpoint";
};

std::size_t count(const std::string& name, const std::string& value) {
  const auto number = parse_int(value);
  if (!number || *number < 1 || *number > 1'000'000) {
    throw input_error(name + " " + ::quoted(value) + " should be an integer from 1 to 1000000");
  }
  return static_cast<std::size_t>(*number);
}

chosen parse(int argc, char** argv) {
  chosen choice;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.substr(0, 2) != "--") {
      choice.paths.push_back(word);
      continue;
    }
    const std::string value = i + 1 < argc ? argv[++i] : "";
    if (word == "--epochs") choice.epochs = count(word, value);
    else if (word == "--threads") choice.threads = count(word, value);
    else if (word == "--samples") choice.samples = count(word, value);
    else if (word == "--dim") choice.dim = count(word, value);
    else if (word == "--durability") choice.durability = value;
    else throw input_error(::quoted(word) + " is no option\n" + usage);
  }
  if (choice.paths.size() != 1 && choice.paths.size() != 3) throw input_error(usage);
  return choice;
}

void read(const chosen& choice, click_log& train, click_log& test) {
  if (choice.paths.size() == 3) {
    click_log_sink to_train(train), to_test(test);
    const log_shape trained = read_log(choice.paths[1], nullptr, to_train);
    check_alike(trained, read_log(choice.paths[2], nullptr, to_test));
  } else {
    const click_log all = generate_log(50'000).samples;
    train = all.slice(0, 40'000);
    test = all.slice(40'000, all.size());
  }
}

// Each thread has a stretch of the log to itself, as Hogwild trainers do, and shares the model.
void train_epoch(online_fm& model, const click_log& log, const chosen& choice) {
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(choice.threads);
  for (std::size_t t = 0; t < choice.threads; ++t) {
    threads.emplace_back([&, t] {
      // An exception that left its thread would end the process.
      try {
        online_fm::scratch mine;
        const std::size_t end = log.size() * (t + 1) / choice.threads;
        for (std::size_t at = log.size() * t / choice.threads; at < end; at += choice.samples) {
          model.train(log, at, std::min(at + choice.samples, end), mine);
        }
      } catch (...) {
        failures[t] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

// A checkpoint replaces that of the epoch before only once it is whole.
void checkpoint(const online_fm& model, const std::string& path) {
  const std::string fresh = path + ".new";
  std::filesystem::remove_all(fresh);
  model.storage().checkpoint(fresh);
  std::filesystem::remove_all(path);
  std::filesystem::rename(fresh, path);
}

void run(const chosen& choice) {
  click_log train, test;
  read(choice, train, test);
  const std::string& store = choice.paths[0];
  online_fm model(store, choice.durability, choice.dim);
  const std::uint64_t before = model.steps_in_rows();
  std::printf("%zu samples of %.1f features; the store has %" PRIu64 " steps\n", train.size(),
              static_cast<double>(train.keys.size()) / static_cast<double>(train.size()), before);

  for (std::size_t epoch = 1; epoch <= choice.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    train_epoch(model, train, choice);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const metrics measured = measure(model.predict(test), test.labels);
    std::printf("epoch %zu/%zu  %.0f samples/s  test AUC %.4f  log-loss %.4f\n", epoch,
                choice.epochs, static_cast<double>(train.size()) / took.count(),
                measured.auc.value_or(0), measured.log_loss);
    checkpoint(model, store + ".checkpoint");
  }

  const std::uint64_t steps = model.steps_in_rows() - before;
  if (steps != model.steps_handed_over()) {
    throw std::runtime_error("the rows have had " + std::to_string(steps) + " of " +
                             std::to_string(model.steps_handed_over()) + " steps");
  }
  model.storage().flush();
  const damo::dumped served = model.storage().dump(store + ".table", {{"format", "table"}});
  std::printf("%" PRIu64 " steps handed over, all of them in the rows; %" PRIu64 " rows to serve\n",
              steps, served.rows);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const input_error& error) {
    std::fprintf(stderr, "train_online: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_online: %s\n", error.what());
    return 1;
  }
}

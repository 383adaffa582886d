// call_costs: what a call costs on this machine, beside the same reads and steps on plain arrays.
//
//     call_costs DIR [ROUNDS]
//
// DIR, which must not exist yet, is for the stores. Everything is measured in turn in slices of 20
// milliseconds, ROUNDS (40) times, so that other work on the machine falls on all alike. A figure
// is the median of the slices' microseconds a call. The time is the calling threads' processor
// time; for power, which waits for the disk, it is wall-clock time. docs/porting.md has a table of
// the figures.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <time.h>  // clock_gettime is POSIX, not C++

#include <damo.hpp>

namespace {

constexpr std::size_t dim = 16;
constexpr std::size_t rows = 200'000;
constexpr std::size_t calls_prepared = 1024;
constexpr std::size_t most_keys = 256;
constexpr std::size_t most_threads = 2;
constexpr auto slice = std::chrono::milliseconds(20);

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// What a thread trains with: keys drawn beforehand, and room for the floats of a call.
struct worker {
  std::vector<std::int64_t> keys = std::vector<std::int64_t>(calls_prepared * most_keys);
  std::vector<float> weights = std::vector<float>(most_keys * dim);
  std::vector<float> gradients = std::vector<float>(most_keys * dim, 1e-6f);
};

using call = std::function<void(worker& mine, const std::int64_t* keys, std::size_t count)>;

struct subject {
  const char* name;
  bool on_the_clock;
  call run;
  std::vector<double> microseconds;
};

// Microseconds a call in one slice.
double measure(const subject& what, std::size_t count, std::vector<worker>& workers,
               std::size_t threads) {
  std::vector<std::thread> running;
  std::atomic<std::size_t> calls{0};
  std::atomic<double> seconds{0};
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      const double before = processor_seconds();
      std::size_t done = 0;
      do {
        for (int i = 0; i < 4; ++i, ++done) {
          what.run(workers[t], &workers[t].keys[done % calls_prepared * count], count);
        }
      } while (std::chrono::steady_clock::now() - start < slice);
      const double used = processor_seconds() - before;
      for (double sum = seconds; !seconds.compare_exchange_weak(sum, sum + used);) {
      }
      calls += done;
    });
  }
  for (std::thread& thread : running) thread.join();
  const std::chrono::duration<double> clock = std::chrono::steady_clock::now() - start;
  return (what.on_the_clock ? clock.count() : seconds.load()) * 1e6 / static_cast<double>(calls);
}

// A store whose rows are all in memory.
struct store {
  store(const std::string& path, const char* durability)
      : storage(path, 0, {{"durability", durability}, {"threads", 1}}),
        table(storage, damo::optimizer("sgd"), damo::initializer("zeros"), dim) {
    std::vector<std::int64_t> keys(rows);
    for (std::size_t i = 0; i < rows; ++i) keys[i] = static_cast<std::int64_t>(i);
    table.lookup(keys);
  }
  call step() const {
    return [this](worker& mine, const std::int64_t* keys, std::size_t count) {
      table.apply_gradients({keys, count}, {mine.gradients.data(), count * dim});
    };
  }

  damo::storage storage;
  damo::embedding table;
};

void run(const std::string& directory, std::size_t rounds) {
  if (!std::filesystem::create_directory(directory)) {
    throw std::runtime_error(directory + " exists already");
  }
  std::vector<worker> workers(most_threads);
  std::mt19937_64 random(7);
  for (worker& each : workers) {
    for (auto& key : each.keys) key = static_cast<std::int64_t>(random() % rows);
  }
  std::vector<float> own(rows * dim);
  const store checkpoint(directory + "/checkpoint", "checkpoint");
  const store process(directory + "/process", "process");
  const store power(directory + "/power", "power");

  std::vector<subject> subjects{
    {"own read", false, [&](worker& mine, const std::int64_t* keys, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(&own[static_cast<std::size_t>(keys[i]) * dim], dim, &mine.weights[i * dim]);
      }
    }, {}},
    {"own step", false, [&](worker& mine, const std::int64_t* keys, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) {
        float* const row = &own[static_cast<std::size_t>(keys[i]) * dim];
        for (std::size_t f = 0; f < dim; ++f) row[f] -= 1e-3f * mine.gradients[i * dim + f];
      }
    }, {}},
    {"lookup", false, [&](worker& mine, const std::int64_t* keys, std::size_t count) {
      checkpoint.table.lookup({keys, count}, {mine.weights.data(), count * dim});
    }, {}},
    {"checkpoint", false, checkpoint.step(), {}},
    {"process", false, process.step(), {}},
    {"power", true, power.step(), {}},
  };

  std::printf("threads  keys");
  for (const subject& each : subjects) std::printf("  %10s", each.name);
  std::printf("\n");
  for (std::size_t threads = 1; threads <= most_threads; ++threads) {
    for (const std::size_t count : {1, 8, 39, 256}) {
      for (subject& each : subjects) each.microseconds.clear();
      for (std::size_t round = 0; round < rounds; ++round) {
        for (subject& each : subjects) {
          each.microseconds.push_back(measure(each, count, workers, threads));
        }
      }
      std::printf("%7zu %5zu", threads, count);
      for (subject& each : subjects) {
        std::sort(each.microseconds.begin(), each.microseconds.end());
        std::printf("  %10.3f", each.microseconds[rounds / 2]);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 40;
  if (argc < 2 || argc > 3 || rounds < 1) {
    std::fprintf(stderr, "usage: call_costs DIR [ROUNDS]\n");
    return 2;
  }
  try {
    run(argv[1], static_cast<std::size_t>(rounds));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "call_costs: %s\n", error.what());
    return 1;
  }
}

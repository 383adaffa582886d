// Threads that each make calls for samples of their own, and the time that a call takes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <time.h>  // clock_gettime is POSIX, not C++

// What a sample does: both is a lookup and then a step of the same keys.
enum class work : std::int32_t { lookup, apply, both };

struct samples {
  const std::int64_t* keys;  // thread t begins at its share of them and goes around
  std::uint64_t keys_len;
  const float* gradients;  // those of every call: keys_a_call x dim
  std::uint64_t dim, keys_a_call, threads;
  work what;
  double seconds;      // 0: count calls instead
  std::uint64_t calls;  // of each thread, if seconds is 0
};

// Microseconds a call, the calls of all threads counted.
struct cost {
  double on_the_clock;
  double of_the_callers;  // processor time of the calling threads
};

class drive {
 public:
  explicit drive(const samples& given) : given_(given) {
    if (given.keys_a_call == 0 || given.threads == 0
        || given.keys_len / given.threads < given.keys_a_call) {
      throw std::invalid_argument(std::to_string(given.keys_len) + " keys are given, and "
                                  + std::to_string(given.threads) + " threads need "
                                  + std::to_string(given.keys_a_call) + " or more each");
    }
  }

  // table_of(t): the table that thread t calls.
  template <class TableOf>
  cost of_a_call(TableOf table_of) {
    using clock = std::chrono::steady_clock;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < given_.threads; ++t) {
      threads.emplace_back([this, &table_of, t] { run(table_of(t), t); });
    }
    while (ready_ < given_.threads) std::this_thread::yield();
    const auto start = clock::now();
    begin_ = true;
    if (given_.seconds > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(given_.seconds));
      end_ = true;
    }
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double, std::micro> taken = clock::now() - start;
    if (failed_) std::rethrow_exception(failed_);
    const auto calls = static_cast<double>(done_);
    return {taken.count() / calls, used_ / calls};
  }

 private:
  template <class Table>
  void run(Table& table, std::size_t number) {
    const std::size_t count = given_.keys_a_call, share = given_.keys_len / given_.threads;
    const std::int64_t* const mine = given_.keys + number * share;
    std::vector<float> weights(count * given_.dim);
    std::uint64_t calls = 0;
    ++ready_;
    while (!begin_) std::this_thread::yield();
    const double before = processor_microseconds();
    try {
      for (std::size_t at = 0; goes_on(calls); ++calls, at += count) {
        if (at + count > share) at = 0;
        if (given_.what != work::apply) table.lookup(mine + at, count, weights.data());
        if (given_.what != work::lookup) table.apply(mine + at, count, given_.gradients);
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      used_ += processor_microseconds() - before;
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failed_ = std::current_exception();
    }
    done_ += calls;
  }

  static double processor_microseconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
  }

  bool goes_on(std::uint64_t calls) const {
    return given_.seconds > 0 ? !end_.load(std::memory_order_relaxed) : calls < given_.calls;
  }

  samples given_;
  std::atomic<std::size_t> ready_{0};
  std::atomic<bool> begin_{false}, end_{false};
  std::atomic<std::uint64_t> done_{0};
  std::mutex mutex_;  // for the two below
  double used_ = 0;
  std::exception_ptr failed_;
};

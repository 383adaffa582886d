// damo::executor: for the process and for one storage, with exceptions, taken back when destroyed.

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "damo.hpp"
#include "support/throws.hpp"

constexpr std::size_t dim = 4, batch = 20000;

damo::storage open_storage(const char* directory) {
  return damo::storage(directory, 0, {{"threads", 4}});
}

std::vector<float> trained(const damo::storage& storage) {
  const damo::embedding rows(storage, damo::optimizer("adam"), damo::initializer("random_normal"),
                             dim, 0, {{"duplicates", "sum"}});
  std::vector<std::int64_t> keys(batch);
  std::vector<float> gradients(batch * dim);
  for (std::size_t i = 0; i < batch; i++) keys[i] = static_cast<std::int64_t>(i * 7 % 15000);
  for (std::size_t i = 0; i < batch * dim; i++) gradients[i] = static_cast<float>(i % 5) - 2;
  rows.apply_gradients(keys, gradients);
  rows.apply_gradients(keys, gradients);
  return rows.lookup(keys);
}

// Runs the work on two other threads.
struct two_threads {
  std::atomic<int>* runs;

  template <class Work>
  void operator()(std::size_t threads, const Work& work) const {
    CHECK(threads >= 2 && threads <= 4);
    ++*runs;
    std::thread one(work), two(work);
    one.join();
    two.join();
  }
};

void threads_are_lent_until_it_is_destroyed() {
  const std::vector<float> expected = trained(open_storage("executor_expected.damo"));
  std::atomic<int> of_process{0}, of_storage{0};
  {
    const damo::executor pool(two_threads{&of_process});
    CHECK(trained(open_storage("executor_process.damo")) == expected && of_process > 0);
    const damo::storage storage = open_storage("executor_storage.damo");
    of_process = 0;
    {
      const damo::executor own(storage, two_threads{&of_storage}, 3);
      CHECK(trained(storage) == expected && of_storage > 0 && of_process == 0);
    }
    of_storage = 0;
    trained(storage);
    CHECK(of_process > 0 && of_storage == 0);
    of_process = 0;
  }
  CHECK(trained(open_storage("executor_after.damo")) == expected && of_process == 0);
}

void an_exception_leaves_the_work_to_the_caller() {
  const std::vector<float> expected = trained(open_storage("executor_own.damo"));
  int thrown = 0;
  const damo::executor pool([&](std::size_t, const auto&) {
    thrown++;
    throw std::runtime_error("no thread");
  });
  CHECK(trained(open_storage("executor_throws.damo")) == expected && thrown > 0);
}

void wrong_arguments_throw() {
  std::atomic<int> runs{0};
  throws(DAMO_STATUS_INVALID_ARGUMENT, "threads is 1025",
         [&] { damo::executor(two_threads{&runs}, 1025); });
}

int main() {
  threads_are_lent_until_it_is_destroyed();
  an_exception_leaves_the_work_to_the_caller();
  wrong_arguments_throw();
  return 0;
}

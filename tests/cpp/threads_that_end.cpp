// Calls while a thread or the program ends, when thread-local storage is already being destroyed: a
// trainer may flush its last gradients in a destructor.

#include "damo.hpp"

#include <optional>
#include <thread>

#include "check.h"

static std::optional<damo::embedding> shared;

struct applies_when_the_thread_ends {
  bool armed = false;
  ~applies_when_the_thread_ends() {
    if (armed) shared->apply_gradients({1, 2}, {1, 1});
  }
};
static thread_local applies_when_the_thread_ends buffer;

struct reads_when_the_program_ends {
  ~reads_when_the_program_ends() {
    float weight = 0;
    const std::int64_t key = 1;
    // Made before the first storage, so destroyed after RocksDB has ended: calls are refused and do
    // not crash, and freeing is safe.
    CHECK_FAILS(damo_embedding_peek(shared->get(), &key, 1, &weight, 1, nullptr),
                DAMO_STATUS_EXITING, "damo_embedding_peek", "the process is ending");
    CHECK_NULL(damo_storage_new("too_late", 0, nullptr), DAMO_STATUS_EXITING, "damo_storage_new");
    shared.reset();
  }
};
static reads_when_the_program_ends last;

int main(int argc, char** argv) {
  CHECK(argc == 2);
  shared.emplace(damo::storage(argv[1]), damo::optimizer("sgd", {{"gamma", 0.5}}),
                 damo::initializer("zeros"), 1);
  for (int i = 0; i < 3; i++) {
    // The library's own thread-locals are made after ours, so they are destroyed before it.
    std::thread([] {
      buffer.armed = true;
      float weight = 0;
      const std::int64_t key = 1;
      CHECK_OK(damo_embedding_peek(shared->get(), &key, 1, &weight, 1, nullptr));
      CHECK(damo_embedding_set_step(shared->get(), -1) != DAMO_STATUS_OK);
    }).join();
  }
  CHECK(shared->step() == 3);
  // Made after the first storage, so destroyed while everything still works.
  static struct reads {
    ~reads() {
      std::vector<float> weight(1);
      shared->peek({1}, weight);
      CHECK(weight[0] == -1.5f);
    }
  } earlier;
  return 0;
}

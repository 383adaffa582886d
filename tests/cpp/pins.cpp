// damo::pin: rows that a trainer changes itself.

#include "damo.hpp"
#include "support/throws.hpp"

#include <cstdlib>
#include <new>
#include <thread>
#include <utility>

namespace {

// Which of this thread's next allocations fails; 0: none.
thread_local int fails_at = 0;
// Whether this program's operator new is used: memcheck has its own.
bool is_used = false;
// A compiler that sees free here, but not malloc, warns.
void (*volatile release)(void*) = std::free;

}  // namespace

void* operator new(std::size_t size) {
  is_used = true;
  if (fails_at > 0 && --fails_at == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }

namespace {

// w += 1, and the state counts.
void step(const damo::pin& rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (float& weight : rows.weights(i)) weight += 1;
    rows.state(i)[0] += 1;
  }
}

}  // namespace

int main() {
  const damo::storage storage("storage");
  const damo::embedding users(storage, damo::optimizer("none", {{"state", 1}}),
                              damo::initializer("zeros"), 2);

  damo::pin rows;
  CHECK(rows.size() == 0 && rows.get() == nullptr);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "pin is NULL", [&] { rows.commit(); });
  users.pin({7, 8, 7}, rows);
  CHECK(rows.size() == 3 && rows.is_new(0) && rows[0].size() == 3 && rows.state(1).size() == 1);
  CHECK(rows[0].data() == rows[2].data() && rows[1].data() == rows[0].data() + 3);
  step(rows);
  CHECK(users.lookup({8}) == std::vector<float>(2, 0));
  rows.commit();
  CHECK(rows.size() == 0);
  CHECK(users.record(7).data == std::vector<float>(3, 2) && users.record(7).update_num == 1);
  CHECK(users.record(8).data == std::vector<float>(3, 1));
  throws(DAMO_STATUS_INVALID_ARGUMENT, "has no rows", [&] { rows.commit(); });

  // Not committed, not changed. A conflict is refused or added.
  {
    const damo::pin dropped = users.pin({7});
    CHECK(!dropped.is_new(0));
    step(dropped);
  }
  users.pin({7}, rows);
  damo::pin other = users.pin({7});
  step(other);
  other.commit();
  step(rows);
  throws(DAMO_STATUS_BUSY, "key 7 was changed", [&] { rows.commit("refuse"); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "'add' or 'refuse'", [&] { rows.commit("replace"); });
  damo::pin moved = std::move(rows);
  moved.commit();
  CHECK(users.record(7).data == std::vector<float>(3, 4));

  // Without memory a pin stays as it is: empty, or with its rows.
  const std::vector<std::int64_t> many(1000, 8);
  for (int failing = 1; failing <= 2; ++failing) {
    damo::pin empty, full = users.pin({8});
    step(full);
    for (damo::pin* of : {&empty, &full}) {
      bool failed = false;
      fails_at = failing;
      try {
        users.pin(many, *of);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      fails_at = 0;
      CHECK(failed || !is_used);
    }
    if (!is_used) break;
    CHECK(empty.size() == 0 && full.size() == 1 && full[0].data() != nullptr);
    full.commit();
    CHECK(users.record(8).update_num == 1 + failing);
    users.pin(many, empty);
    CHECK(empty.size() == 1000 && empty[999].data() == empty[0].data());
  }

  // A pin a thread.
  const auto train = [&users] {
    damo::pin of_thread;
    for (int sample = 0; sample < 1000; ++sample) {
      users.pin({7, 100 + sample % 5}, of_thread);
      step(of_thread);
      of_thread.commit();
    }
  };
  std::thread one(train), two(train);
  one.join();
  two.join();
  CHECK(users.record(7).data == std::vector<float>(3, 2004));
  CHECK(users.record(104).update_num == 400);
}

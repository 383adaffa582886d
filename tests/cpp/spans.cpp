// C++20: std::span and its parts, and views of the standard library, as keys, gradients, rows and
// room for weights. tests/CMakeLists.txt compiles this file as C++20.
#include "check.h"
#include "damo.hpp"

#if __cplusplus >= 202002L
#include <array>
#include <cstdint>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

static const std::vector<std::int64_t> stored{1, -1, 1};

static std::span<const std::int64_t> made_keys() { return std::span(stored).first(2); }

static void reading(const damo::embedding& users) {
  std::vector<std::int64_t> k{1, -1, 1};
  std::vector<float> w(3);
  std::vector<std::uint8_t> f(3, 9);
  std::span<std::int64_t> keys(k);
  std::span<float> weights(w);
  std::span<std::uint8_t> found(f);
  // The parts are temporaries; what they view is not.
  users.lookup(keys.subspan(0, 2), weights.subspan(0, 2));
  CHECK(w == (std::vector<float>{0.25f, 0.5f, 0}));
  users.peek(keys.last(2), weights.last(2), found.last(2));
  CHECK(w == (std::vector<float>{0.25f, 0.5f, 0.25f}) && f == (std::vector<std::uint8_t>{9, 1, 1}));
  users.lookup(made_keys(), std::span<float>(w.data() + 1, 2));
  CHECK(w == (std::vector<float>{0.25f, 0.25f, 0.5f}));
  // A constant span of writable elements, an extent that the compiler knows, and a whole array.
  const std::span<float, 2> two(w.data(), 2);
  users.lookup(keys.first<2>(), two);
  std::array<float, 2> array{};
  users.lookup(std::array<std::uint64_t, 2>{1, ~std::uint64_t{0}}, std::span(array));
  CHECK(w[0] == 0.25f && w[1] == 0.5f && array[0] == 0.25f && array[1] == 0.5f);
  CHECK(users.lookup(std::views::all(k)) == (std::vector<float>{0.25f, 0.5f, 0.25f}));
  users.lookup(keys | std::views::drop(1) | std::views::take(1), weights | std::views::take(1));
  CHECK(w[0] == 0.5f);
}

static void writing(const damo::embedding& users, const damo::filter& seen) {
  std::vector<unsigned long long> keys{7, 8, 9};
  std::vector<float> gradients{1, 2, 3};
  std::span all(gradients);
  users.insert(std::span(keys).first(2), all.first(2));
  users.apply_gradients(std::span(keys).subspan(1), all | std::views::drop(1));
  CHECK(users.lookup(keys) == (std::vector<float>{1, 0, -3}));
  users.insert_records(std::span(keys).last(1), std::vector<float>{0.75f},
                       std::array<std::int64_t, 1>{41});
  CHECK(users.record(9).update_num == 41 && users.record(9).data[0] == 0.75f);
  users.prefetch(std::span<const unsigned long long>(keys));
  users.erase(std::span(keys).first(1));
  std::vector<std::uint32_t> times{2, 0, 1};
  std::vector<std::uint8_t> admitted(3);
  seen.add(0, std::span(keys), std::span(times));
  seen.add(0, std::span(keys).last(1));
  seen.check(0, std::span(keys), std::span(admitted));
  CHECK(admitted == (std::vector<std::uint8_t>{1, 0, 1}));
}

// Room is refused if it is a temporary, constant, or of floats of another size.
template <class Room>
concept takes = requires(const damo::embedding& users, Room&& room) {
  users.lookup(stored, std::forward<Room>(room));
};
static_assert(takes<std::span<float>> && takes<const std::span<float>> &&
              takes<std::span<float, 3>>);
static_assert(takes<std::vector<float>&> && !takes<std::vector<float>> &&
              !takes<const std::vector<float>&>);
static_assert(!takes<std::span<const float>> && !takes<std::span<double>> &&
              !takes<std::array<float, 3>>);

int main() {
  damo::storage storage("spans");
  damo::embedding users(storage, damo::optimizer("sgd", {{"gamma", 1.0}}),
                        damo::initializer("zeros"), 1);
  users.insert({1, -1}, {0.25f, 0.5f});
  reading(users);
  writing(users, damo::filter({{"path", "spans.filter"}, {"capacity", 100}, {"count", 2}}));
  storage.dump(std::string("spans.dump"), {{"format", "table"}});
  damo::table table("spans.dump");
  std::vector<float> weights(3);
  table.lookup(0, made_keys(), std::span(weights).subspan(1));
  CHECK(weights == (std::vector<float>{0, 0.25f, 0.5f}));
}
#else
int main() { std::printf("SKIPPED: this compiler has no C++20\n"); }
#endif

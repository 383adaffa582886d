// Keys of every 64-bit type, and views that are temporaries.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <list>
#include <string>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "damo.hpp"
#include "support/throws.hpp"

template <class Keys, class = void>
struct takes : std::false_type {};
template <class Keys>
struct takes<Keys,
             std::void_t<decltype(std::declval<damo::embedding&>().erase(std::declval<Keys>()))>>
    : std::true_type {};

static_assert(takes<std::vector<std::int64_t>>::value &&
              takes<std::vector<unsigned long long>>::value);
static_assert(takes<const std::array<std::uint64_t, 2>&>::value &&
              takes<damo::span<const std::int64_t>>::value);
static_assert(!takes<std::vector<int>>::value && !takes<std::vector<double>>::value &&
              !takes<std::list<long>>::value);
// Weights to be written must not be a temporary that owns them.
static_assert(std::is_convertible_v<std::vector<float>&, damo::span<float>>);
static_assert(!std::is_convertible_v<std::vector<float>, damo::span<float>>);
static_assert(!std::is_convertible_v<std::array<float, 2>, damo::span<float>>);

// A view type such as other libraries have.
struct view {
  float* begin;
  std::size_t length;
  float* data() const { return begin; }
  std::size_t size() const { return length; }
};

template <class Key>
static void reads(const damo::embedding& users, std::vector<Key> keys) {
  std::vector<float> weights(keys.size());
  users.peek(keys, weights);
  CHECK(weights == (std::vector<float>{0.25f, 0.5f}));
  weights.assign(keys.size(), 0);
  users.lookup(keys, view{weights.data(), weights.size()});
  CHECK(weights == (std::vector<float>{0.25f, 0.5f}));
  users.lookup({keys.data() + 1, 1}, {weights.data(), 1});
  CHECK(weights[0] == 0.5f);
}

static int count_with_both_namespaces(const damo::storage& storage) {
  using namespace std;
  using namespace damo;
  int count = 0;
  for (const record& row : row_iterator(storage)) count += row.dim == 1;
  return count;
}

int main() {
  damo::storage storage("views");
  damo::embedding users(storage, damo::optimizer("sgd"), damo::initializer("zeros"), 1);
  // The largest unsigned key keeps its bits.
  users.insert({1, -1}, {0.25f, 0.5f});
  reads<std::int64_t>(users, {1, -1});
  reads<long>(users, {1, -1});
  reads<long long>(users, {1, -1});
  reads<std::uint64_t>(users, {1, ~std::uint64_t{0}});
  reads<unsigned long long>(users, {1, ~0ull});
  const long long array[] = {1, -1};
  CHECK(users.lookup(array) == (std::vector<float>{0.25f, 0.5f}));
  users.lookup({}, {});
#if __cplusplus >= 202002L
  std::vector<std::int64_t> keys{1, -1, 1};
  std::vector<float> weights(3);
  std::span<const std::int64_t> all(keys);
  std::span<float> room(weights);
  users.lookup(all.subspan(0, 2), room.subspan(0, 2));
  CHECK(weights == (std::vector<float>{0.25f, 0.5f, 0}));
#endif
  // getenv may return NULL.
  const auto refused = [](auto call) {
    throws(DAMO_STATUS_INVALID_ARGUMENT, "a string is NULL", call);
  };
  const char* unset = std::getenv("DAMO_SURELY_UNSET");
  refused([&] { damo::storage{unset}; });
  refused([&] { damo::table{unset}; });
  refused([&] { damo::table::merge("views", unset, "views"); });
  refused([&] { damo::optimizer{unset}; });
  refused([&] { storage.checkpoint(unset); });
  refused([&] { storage.dump(unset); });
  refused([&] { storage.stat(unset); });
  refused([&] { damo::params{{unset, 1}}; });
  refused([&] { damo::params{{"name", unset}}; });
  refused([&] { damo::key_hash(unset); });
  storage.checkpoint(std::filesystem::path("views.checkpoint"));
  CHECK(count_with_both_namespaces(storage) == 2);
}

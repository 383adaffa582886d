// Integers as keys, groups and counts: of any type, in braces too. Floats, bools and {} do not
// compile; otherwise they would become integers that nobody has written.
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "damo.hpp"
#include "support/throws.hpp"

enum id : std::int64_t { first = -5, second = 7 };
enum class scoped : std::int64_t { one = 1 };
enum group : std::uint32_t { users_of, items_of };

// An integer type of the user's own.
struct wrapped {
  std::int64_t number;
  operator std::int64_t() const { return number; }
};
struct real {
  double number;
  operator double() const { return number; }
};
// An integer that converts only explicitly.
struct asked {
  explicit operator std::int64_t() const { return 5; }
};

// Whether calls compile, for each type of an argument.
template <class Filter, class Key, class = void>
struct takes_key : std::false_type {};
template <class Filter, class Key>
struct takes_key<Filter, Key,
                 std::void_t<decltype(std::declval<const Filter&>().add(0, std::declval<Key>())),
                             decltype(std::declval<const Filter&>().add(0, std::declval<Key>(), 1)),
                             decltype(std::declval<const Filter&>().check(0, std::declval<Key>()))>>
    : std::true_type {};
template <class Filter, class Number, class = void>
struct takes_number : std::false_type {};
template <class Filter, class Number>
struct takes_number<
    Filter, Number,
    std::void_t<decltype(std::declval<const Filter&>().add(std::declval<Number>(), 5)),
                decltype(std::declval<const Filter&>().add(0, 5, std::declval<Number>())),
                decltype(std::declval<const Filter&>().check(std::declval<Number>(), 5))>>
    : std::true_type {};
template <class Key, class = void>
struct in_braces : std::false_type {};
template <class Key>
struct in_braces<Key,
                 std::void_t<decltype(damo::keys_view{std::declval<Key>(), std::declval<Key>()})>>
    : std::true_type {};
template <class Embedding, class Key, class = void>
struct has_record : std::false_type {};
template <class Embedding, class Key>
struct has_record<
    Embedding, Key,
    std::void_t<decltype(std::declval<const Embedding&>().record(std::declval<Key>()))>>
    : std::true_type {};

template <class T>
constexpr bool is_key = takes_key<damo::filter, T>::value && in_braces<T>::value &&
                        has_record<damo::embedding, T>::value;
template <class T>
constexpr bool is_no_key = !takes_key<damo::filter, T>::value && !in_braces<T>::value &&
                           !has_record<damo::embedding, T>::value;

static_assert(is_key<int> && is_key<unsigned> && is_key<long> && is_key<unsigned long> &&
              is_key<long long>);
static_assert(is_key<unsigned long long> && is_key<std::uint8_t> && is_key<std::int16_t>);
static_assert(is_key<const std::uint64_t&>);
static_assert(is_key<id> && is_key<wrapped> && is_key<std::integral_constant<std::int64_t, 5>>);
static_assert(is_key<const std::atomic<std::int64_t>&>);
static_assert(is_no_key<double> && is_no_key<float> && is_no_key<long double> && is_no_key<bool> &&
              is_no_key<scoped>);
static_assert(is_no_key<real> && is_no_key<asked> && is_no_key<std::nullptr_t>);
static_assert(is_no_key<const char*> && is_no_key<std::string>);
static_assert(takes_number<damo::filter, int>::value &&
              takes_number<damo::filter, std::size_t>::value);
static_assert(takes_number<damo::filter, group>::value &&
              takes_number<damo::filter, std::uint8_t>::value);
static_assert(!takes_number<damo::filter, double>::value &&
              !takes_number<damo::filter, bool>::value);
static_assert(!takes_number<damo::filter, real>::value &&
              !takes_number<damo::filter, std::string>::value);

// {} is no key and no count.
template <class Filter, class = void>
struct checks_nothing : std::false_type {};
template <class Filter>
struct checks_nothing<Filter, std::void_t<decltype(std::declval<const Filter&>().check(0, {}))>>
    : std::true_type {};
template <class Filter, class = void>
struct adds_no_times : std::false_type {};
template <class Filter>
struct adds_no_times<Filter, std::void_t<decltype(std::declval<const Filter&>().add(0, 5, {}))>>
    : std::true_type {};
static_assert(!checks_nothing<damo::filter>::value && !adds_no_times<damo::filter>::value);

// Other numbers are integers, too. A fraction of a second was once cut off to no TTL at all.
static_assert(std::is_constructible_v<damo::storage, const char*, int>);
static_assert(!std::is_constructible_v<damo::storage, const char*, double>);
template <class... Numbers>
constexpr bool makes_rows =
    std::is_constructible_v<damo::embedding, const damo::storage&, const damo::optimizer&,
                            const damo::initializer&, Numbers...>;
static_assert(makes_rows<int> && makes_rows<unsigned, group> &&
              makes_rows<std::size_t, std::uint32_t>);
static_assert(!makes_rows<double> && !makes_rows<int, float> && !makes_rows<bool>);
static_assert(
    std::is_invocable_v<decltype(&damo::embedding::set_step), const damo::embedding&, int>);
static_assert(
    !std::is_invocable_v<decltype(&damo::embedding::set_step), const damo::embedding&, double>);
static_assert(!std::is_invocable_v<decltype(&damo::table::dim), const damo::table&, double>);
static_assert(
    !std::is_invocable_v<decltype(&damo::scheduler::rate), const damo::scheduler&, double, double>);

static void counting() {
  damo::filter seen({{"path", "integers.filter"}, {"capacity", 1000}, {"count", 2}});
  const std::vector<std::int64_t> keys{1, 2};
  std::vector<std::uint8_t> admitted(2, 9);
  // An empty list of counts is no count of 0: one a key is needed.
  throws(DAMO_STATUS_INVALID_ARGUMENT, "2", [&] { seen.add(0, keys, {}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "2", [&] { seen.add(0, {1, 2}, {}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "2", [&] { seen.add(0, keys, {1}); });
  seen.check(0, keys, admitted);
  CHECK(admitted == (std::vector<std::uint8_t>{0, 0}));
  // An empty list of keys is not key 0.
  seen.add(0, {}, 2);
  seen.add(0, {}, {});
  seen.add(0, {});
  seen.add(0, {});
  CHECK(!seen.check(0, 0));
  seen.add(0, keys, {2, 1});
  seen.check(0, {1, 2}, admitted);
  CHECK(admitted == (std::vector<std::uint8_t>{1, 0}));
  seen.add(0, {2});
  CHECK(seen.check(0, 2) && seen.check(0, {2}));
  // Keys and counts of any type.
  seen.add(0, first, 2);
  seen.add(0, wrapped{9}, 2u);
  seen.add(items_of, ~std::uint64_t{0}, std::size_t{2});
  seen.add(0, std::int8_t{-3}, std::uint8_t{2});
  CHECK(seen.check(0, -5) && seen.check(0, 9) && seen.check(1, -1) && seen.check(0, -3) &&
        !seen.check(0, -1));
  seen.add(0, std::array<std::uint64_t, 2>{20, 21}, std::array<std::uint32_t, 2>{1, 2});
  seen.add(0, std::vector<unsigned long long>{20}, 1);
  CHECK(seen.check(0, 20) && seen.check(0, 21));
  // A number beyond 32 bits is refused, not cut off.
  throws(DAMO_STATUS_INVALID_ARGUMENT, "4294967296",
         [&] { seen.add(0, 30, std::int64_t{1} << 32); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { seen.add(0, keys, -1); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "4294967296", [&] { seen.add(std::int64_t{1} << 32, 30); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { seen.check(-1, 30); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "65536", [&] { seen.check(65536, 30); });
  CHECK(!seen.check(0, 30));
}

int main() {
  damo::storage storage("integers");
  damo::embedding users(storage, damo::optimizer("sgd"), damo::initializer("zeros"), 1);
  users.insert({1, -1, 5}, {0.25f, 0.5f, 1.0f});
  // Unsigned keys in braces, of several types, and variables whose values the compiler does not
  // know.
  std::uint64_t large = ~std::uint64_t{0};
  unsigned long long one = 1;
  unsigned five = 5;
  const std::int64_t minus = -1;
  CHECK(users.lookup({large}) == (std::vector<float>{0.5f}));
  CHECK(users.lookup({one, large}) == (std::vector<float>{0.25f, 0.5f}));
  CHECK(users.lookup({large, minus, 1, five, one, wrapped{5}}) ==
        (std::vector<float>{0.5f, 0.5f, 0.25f, 1, 0.25f, 1}));
  CHECK(users.lookup({~0ull, 1}) == (std::vector<float>{0.5f, 0.25f}));
  CHECK(users.lookup(damo::keys_view{large, one}) == (std::vector<float>{0.5f, 0.25f}));
  CHECK(damo::keys_view{large}.size() == 1 && damo::keys_view{}.size() == 0 &&
        damo::keys_view{}.data() == nullptr);
  const std::vector<std::uint64_t> owned{1, 5};
  CHECK(users.lookup({owned.data(), owned.size()}) == (std::vector<float>{0.25f, 1}));
  CHECK(users.lookup({owned}) == (std::vector<float>{0.25f, 1}));
  CHECK(users.record(large).data[0] == 0.5f && users.record(five).key == 5 &&
        users.record(wrapped{-1}).key == -1);
  users.erase({large, five});
  CHECK(storage.row_count() == 1);
  float row[2] = {9, 9}, again[2] = {9, 9};
  damo::initializer normal("random_normal");
  normal.fill(0, ~std::uint64_t{0}, row);
  normal.fill(users_of, -1, again);
  CHECK(row[0] == again[0] && row[1] == again[1] && row[0] != 9);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { normal.fill(-1, 5, row); });
  const damo::optimizer sgd("sgd");
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { damo::embedding(storage, sgd, normal, -1, 1); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "4294967296",
         [&] { damo::embedding(storage, sgd, normal, 1, std::uint64_t{1} << 32); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "18446744073709551615",
         [&] { damo::storage("other", ~std::uint64_t{0}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { damo::storage("other", -1); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { users.set_step(-1); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "-1", [&] { storage.row_count(-1); });
  users.set_step(std::uint64_t{7});
  CHECK(users.step() == 7 && storage.row_count(users_of) == 1 &&
        storage.row_count(damo::all_groups) == 1);
  counting();
}

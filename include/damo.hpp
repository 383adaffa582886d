// damo for C++17: owning handles, exceptions that carry status and message, views instead of
// pointer and length.
//
// Header-only, over damo.h, which documents every call. Handles can be moved, not copied, and
// destroyed in any order. Calls on a const object may come from many threads at once.
//
//     damo::storage storage("/data/tables");
//     damo::optimizer adam("adam", {{"gamma", 0.01}});
//     damo::initializer normal("random_normal", {{"stddev", 0.01}});
//     damo::embedding users(storage, adam, normal, /*dim=*/16, /*group=*/0,
//                           {{"duplicates", "sum"}});
//     users.lookup(keys, weights);
//     users.apply_gradients(keys, gradients);

#ifndef DAMO_HPP
#define DAMO_HPP

#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "damo.hpp needs C++17: compile with -std=c++17 or later, or use damo.h"
#else

#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "damo.h"

namespace damo {

class keys_view;

// The error of a call that failed. what() is damo's message.
class error : public std::runtime_error {
 public:
  error(damo_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  damo_status status() const noexcept { return status_; }

 private:
  damo_status status_;
};

// A view of elements that somebody else owns. Made from a vector, an array, or a pointer and a
// count.
template <class T>
class span {
 public:
  constexpr span() noexcept = default;
  constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  // A temporary can be read within one full expression. It can be written only if it is a view
  // itself, even a const one: what is written to another temporary would be lost.
  template <
      class Container,
      class = std::enable_if_t<
          std::is_convertible_v<decltype(std::data(std::declval<Container&>())), T*> &&
          (std::is_const_v<T> || std::is_lvalue_reference_v<Container> ||
           std::is_convertible_v<decltype(std::data(std::declval<const Container&>())), T*>) &&
          !std::is_same_v<std::remove_cv_t<std::remove_reference_t<Container>>, span>>>
  constexpr span(Container&& container) noexcept
      : data_(std::data(container)), size_(std::size(container)) {}

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winit-list-lifetime"
#endif
  // span<const T> from {a, b, c}, within one full expression.
  template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
  constexpr span(std::initializer_list<std::remove_cv_t<T>> list) noexcept
      : data_(list.begin()), size_(list.size()) {}
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#pragma GCC diagnostic pop
#endif

  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T& operator[](std::size_t index) const noexcept { return data_[index]; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

template <class T>
inline constexpr bool is_integer =
    std::is_integral_v<T> && !std::is_same_v<std::remove_cv_t<T>, bool> &&
    sizeof(T) <= sizeof(std::int64_t);

// Whether T can stand for an integer of the type To.
// - Accepted: every integral type but bool, enumerations that convert, and classes that convert
//   without narrowing.
// - Refused: floats, which would be truncated, and {}, which would be 0.
template <class T, class To, class = void>
struct stands_for
    : std::bool_constant<is_integer<T> || (std::is_enum_v<T> && std::is_convertible_v<T, To>)> {};
template <class T, class To>
struct stands_for<
    T, To,
    std::enable_if_t<std::is_class_v<T>, std::void_t<decltype(To{std::declval<const T&>()})>>>
    : std::is_convertible<const T&, To> {};

// A key as an argument. An unsigned integer keeps its bits.
class key {
 public:
  template <class T, class = std::enable_if_t<stands_for<T, std::int64_t>::value>>
  constexpr key(const T& value) noexcept(!std::is_class_v<T>)
      : value_(static_cast<std::int64_t>(value)) {}
  constexpr std::int64_t get() const noexcept { return value_; }

 private:
  friend class damo::keys_view;
  std::int64_t value_;
};
static_assert(sizeof(key) == sizeof(std::int64_t) && std::is_standard_layout_v<key>);

template <class T>
constexpr bool is_negative([[maybe_unused]] T value) noexcept {
  if constexpr (std::is_signed_v<T>) {
    return value < 0;
  } else {
    return false;
  }
}

// A number as an argument. A value that To cannot hold is refused, not truncated.
template <class To>
class number {
 public:
  template <class T, class = std::enable_if_t<stands_for<T, To>::value>>
  constexpr number(const T& value) : value_(static_cast<To>(value)) {
    if constexpr (is_integer<T>) {
      if (static_cast<T>(value_) != value || is_negative(value_) != is_negative(value)) {
        throw error(DAMO_STATUS_INVALID_ARGUMENT,
                    "damo: an integer is " + std::to_string(value) + "; " +
                        std::to_string(std::numeric_limits<To>::min()) + " to " +
                        std::to_string(std::numeric_limits<To>::max()) + " is needed");
      }
    }
  }
  constexpr To get() const noexcept { return value_; }

 private:
  To value_;
};
using group_number = number<std::uint32_t>;
using count_number = number<std::uint32_t>;
using signed_number = number<std::int64_t>;
using size_number = number<std::size_t>;

}  // namespace detail

// A view of keys: integers of 64 bits, of any type. Unsigned ones keep their bits.
class keys_view {
  template <class T>
  static constexpr bool is_key = std::is_integral_v<T> && sizeof(T) == sizeof(std::int64_t);
  template <class Container>
  using element = std::remove_cv_t<
      std::remove_pointer_t<decltype(std::data(std::declval<const Container&>()))>>;

 public:
  constexpr keys_view() noexcept = default;
  template <class Key, class = std::enable_if_t<is_key<Key>>>
  keys_view(const Key* data, std::size_t size) noexcept
      : data_(reinterpret_cast<const std::int64_t*>(data)), size_(size) {}
  template <class Container, class = std::enable_if_t<is_key<element<Container>>>>
  keys_view(const Container& container) noexcept
      : keys_view(std::data(container), std::size(container)) {}
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winit-list-lifetime"
#endif
  // From {1, 2, 3} of integers of any types, within one full expression.
  keys_view(std::initializer_list<detail::key> list) noexcept
      : data_(list.size() == 0 ? nullptr : &list.begin()->value_), size_(list.size()) {}
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#pragma GCC diagnostic pop
#endif

  constexpr const std::int64_t* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }

 private:
  const std::int64_t* data_ = nullptr;
  std::size_t size_ = 0;
};

inline const char* version() noexcept { return damo_version(); }

namespace detail {

inline void check(damo_status status) {
  if (status != DAMO_STATUS_OK) throw error(status, damo_last_error_message());
}

// A string for C. Refuses NULL, which getenv may return, and a NUL inside, where the string would
// end in C.
class text {
 public:
  text(const char* chars) : text_(chars == nullptr ? "" : chars) {
    if (chars == nullptr)
      throw error(DAMO_STATUS_INVALID_ARGUMENT, "damo: a string is NULL; one is needed");
  }
  // std::string, and what converts to it, such as a path.
  template <class String,
            class = std::enable_if_t<std::is_convertible_v<const String&, std::string> &&
                                     !std::is_convertible_v<const String&, const char*>>>
  text(const String& string) : text_(string) {
    if (text_.find('\0') != std::string::npos) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT,
                  "damo: a string of " + std::to_string(text_.size()) +
                      " characters that begins with '" + text_.c_str() +
                      "' has a NUL inside; one without is needed");
    }
  }
  const char* c_str() const noexcept { return text_.c_str(); }

 private:
  std::string text_;
};

// Owns a handle of the C ABI.
template <class T, void (*Free)(T*)>
class handle {
 public:
  explicit handle(T* raw) : raw_(raw) {
    if (raw == nullptr) throw error(damo_last_error_code(), damo_last_error_message());
  }
  // Throws after a move. NULL would pass for a default where the C ABI has one.
  T* get() const {
    if (raw_ == nullptr) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT, "damo: an object is used after it was moved from");
    }
    return raw_.get();
  }

 private:
  struct deleter {
    void operator()(T* raw) const noexcept { Free(raw); }
  };
  std::unique_ptr<T, deleter> raw_;
};

// The progress function that C gets. An exception of the caller's function must not pass through C:
// tell keeps it and cancels the call, and check throws it again.
template <class Progress>
class told {
 public:
  explicit told(Progress& progress) noexcept : progress_(progress) {}

  static bool tell(void* user, std::uint64_t rows, std::uint64_t rows_estimate) noexcept {
    told& self = *static_cast<told*>(user);
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<Progress&, std::uint64_t, std::uint64_t>>) {
        self.progress_(rows, rows_estimate);
        return true;
      } else {
        return static_cast<bool>(self.progress_(rows, rows_estimate));
      }
    } catch (...) {
      self.thrown_ = std::current_exception();
      return false;
    }
  }

  // Throws the caller's exception, or else the error of the call.
  void check(damo_status status) const {
    if (thrown_) std::rethrow_exception(thrown_);
    detail::check(status);
  }

 private:
  Progress& progress_;
  std::exception_ptr thrown_;
};

}  // namespace detail

// The value of a parameter: a bool, an integer, a float or a string.
class value {
 public:
  // Takes bool only: pointers would convert to it.
  template <class Bool, std::enable_if_t<std::is_same_v<Bool, bool>, int> = 0>
  value(Bool v) : v_(v) {}
  value(const char* v) : v_(std::string(detail::text(v).c_str())) {}
  value(std::string v) : v_(std::move(v)) {}
  template <class Number,
            class = std::enable_if_t<std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool>>>
  value(Number v) : v_(number(v)) {}
  const std::variant<bool, std::int64_t, double, std::string>& get() const noexcept { return v_; }

 private:
  template <class Number>
  static auto number(Number v) {
    if constexpr (std::is_floating_point_v<Number>) {
      return static_cast<double>(v);
    } else {
      if constexpr (std::is_unsigned_v<Number> && sizeof(Number) >= sizeof(std::int64_t)) {
        if (v > static_cast<Number>(INT64_MAX)) {
          throw error(DAMO_STATUS_INVALID_ARGUMENT,
                      "damo::value: " + std::to_string(v) +
                          " is given; an integer up to 2^63 - 1 is needed");
        }
      }
      return static_cast<std::int64_t>(v);
    }
  }

  std::variant<bool, std::int64_t, double, std::string> v_;
};

// A bag of parameters: damo::params{{"gamma", 0.01}, {"seed", 42}, {"duplicates", "sum"}}.
class params {
 public:
  params() : handle_(damo_params_new()) {}
  params(std::initializer_list<std::pair<const char*, value>> list) : params() {
    for (const auto& [key, v] : list) set(key, v);
  }

  params& set(const detail::text& key, const value& v) {
    const char* k = key.c_str();
    detail::check(std::visit(
        [&](const auto& x) {
          using X = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<X, bool>) {
            return damo_params_set_bool(get(), k, x);
          } else if constexpr (std::is_same_v<X, std::int64_t>) {
            return damo_params_set_int(get(), k, x);
          } else if constexpr (std::is_same_v<X, double>) {
            return damo_params_set_float(get(), k, x);
          } else {
            return damo_params_set_str(get(), k, detail::text(x).c_str());
          }
        },
        v.get()));
    return *this;
  }

  std::string json() const {
    std::size_t length = 0;
    detail::check(damo_params_to_json(get(), nullptr, 0, &length));
    std::string text(length + 1, '\0');
    detail::check(damo_params_to_json(get(), text.data(), text.size(), nullptr));
    text.resize(length);
    return text;
  }

  damo_params* get() const { return handle_.get(); }

 private:
  detail::handle<damo_params, damo_params_free> handle_;
};

class initializer {
 public:
  explicit initializer(const detail::text& name, const params& p = {})
      : handle_(damo_initializer_new(name.c_str(), p.get())) {}

  void fill(detail::group_number group, detail::key key, span<float> weights) const {
    detail::check(
        damo_initializer_fill(get(), group.get(), key.get(), weights.data(), weights.size()));
  }

  const damo_initializer* get() const { return handle_.get(); }

 private:
  detail::handle<damo_initializer, damo_initializer_free> handle_;
};

class scheduler {
 public:
  explicit scheduler(const detail::text& name, const params& p = {})
      : handle_(damo_scheduler_new(name.c_str(), p.get())) {}

  double rate(double learning_rate, detail::signed_number step) const {
    double rate = 0;
    detail::check(damo_scheduler_rate(get(), learning_rate, step.get(), &rate));
    return rate;
  }

  const damo_scheduler* get() const { return handle_.get(); }

 private:
  detail::handle<damo_scheduler, damo_scheduler_free> handle_;
};

class optimizer {
 public:
  explicit optimizer(const detail::text& name, const params& p = {})
      : handle_(damo_optimizer_new(name.c_str(), p.get(), nullptr)) {}
  optimizer(const detail::text& name, const params& p, const scheduler& s)
      : handle_(damo_optimizer_new(name.c_str(), p.get(), s.get())) {}

  // The number of floats in a row of dim weights: the weights and the optimizer's state.
  std::size_t row_len(detail::size_number dim) const {
    std::size_t row_len = 0;
    detail::check(damo_optimizer_row_len(get(), dim.get(), &row_len));
    return row_len;
  }

  // Applies one gradient to a row that the caller keeps. step is the number of gradients that the
  // row has had before.
  void apply(span<float> row, span<const float> gradient, detail::signed_number step) const {
    detail::check(damo_optimizer_apply(get(), row.data(), row.size(), gradient.data(),
                                       gradient.size(), step.get()));
  }

  double learning_rate() const {
    double rate = 0;
    detail::check(damo_optimizer_learning_rate(get(), &rate));
    return rate;
  }
  void set_learning_rate(double rate) const {
    detail::check(damo_optimizer_set_learning_rate(get(), rate));
  }

  const damo_optimizer* get() const { return handle_.get(); }

 private:
  detail::handle<damo_optimizer, damo_optimizer_free> handle_;
};

// The key of a string: XXH64 with seed 0. See damo_key_hash.
inline std::int64_t key_hash(const std::string& text) {
  std::int64_t key = 0;
  detail::check(
      damo_key_hash(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), &key));
  return key;
}
inline std::int64_t key_hash(const char* chars) {
  return key_hash(std::string(detail::text(chars).c_str()));
}

// Rows of dim floats: stride floats from the beginning of a row to that of the next. What lies
// behind the last row may be missing. So some columns of a matrix are rows, too.
template <class T>
class row_span {
 public:
  row_span(span<T> floats, detail::size_number dim) : row_span(floats, dim, dim) {}
  row_span(span<T> floats, detail::size_number dim, detail::size_number stride)
      : floats_(floats), dim_(dim.get()), stride_(stride.get()) {}
  // Rows that can be written can be read.
  template <class U, class = std::enable_if_t<std::is_same<const U, T>::value>>
  row_span(const row_span<U>& rows)
      : floats_(rows.data(), rows.size()), dim_(rows.dim()), stride_(rows.stride()) {}

  T* data() const noexcept { return floats_.data(); }
  // The number of floats, with those between the rows.
  std::size_t size() const noexcept { return floats_.size(); }
  std::size_t dim() const noexcept { return dim_; }
  std::size_t stride() const noexcept { return stride_; }

 private:
  span<T> floats_;
  std::size_t dim_;
  std::size_t stride_;
};

// Which of so many shards owns a key: 0 to shards - 1, the same in every language and release. See
// damo_key_shard.
inline std::uint32_t key_shard(detail::key key, detail::count_number shards) {
  std::uint32_t shard = 0;
  detail::check(damo_key_shard(key.get(), shards.get(), &shard));
  return shard;
}
// Writes the shard that owns each of keys.
inline void key_shard(keys_view keys, detail::count_number shards, span<std::uint32_t> owners) {
  detail::check(
      damo_key_shard_batch(keys.data(), keys.size(), shards.get(), owners.data(), owners.size()));
}

// What keys_partition writes.
struct partitioned_keys {
  std::vector<std::int64_t> keys;          // each once, by shard
  std::vector<std::uint64_t> starts;       // those of shard s are keys[starts[s] .. starts[s + 1])
  std::vector<std::uint32_t> positions;    // the index in keys of each key of the batch
  std::vector<std::uint32_t> occurrences;  // how often each of keys occurs in the batch

  // The keys of one shard, as long as this lives.
  keys_view of_shard(std::size_t) && = delete;
  keys_view of_shard(std::size_t shard) const& {
    return {keys.data() + starts.at(shard),
            static_cast<std::size_t>(starts.at(shard + 1) - starts[shard])};
  }
};

// Makes the keys of a batch distinct, and groups them by the shards that own them. See
// damo_keys_partition. Reuses the memory of `into`, whose contents are unspecified after an error.
inline void keys_partition(keys_view keys, detail::count_number shards, partitioned_keys& into) {
  into.keys.resize(keys.size());
  // A number that is too large is refused before anything is written.
  into.starts.resize(shards.get() < 65536 ? shards.get() + 1 : 65537);
  into.positions.resize(keys.size());
  into.occurrences.resize(keys.size());
  detail::check(damo_keys_partition(keys.data(), keys.size(), shards.get(), into.keys.data(),
                                    into.keys.size(), into.starts.data(), into.starts.size(),
                                    into.positions.data(), into.positions.size(),
                                    into.occurrences.data(), into.occurrences.size()));
  into.keys.resize(static_cast<std::size_t>(into.starts.back()));
  into.occurrences.resize(into.keys.size());
}
inline partitioned_keys keys_partition(keys_view keys, detail::count_number shards = 1) {
  partitioned_keys all;
  keys_partition(keys, shards, all);
  return all;
}

namespace detail {

// C takes one dim for both.
template <class T, class U>
std::size_t common_dim(const char* call, const row_span<T>& from, const row_span<U>& to) {
  if (from.dim() == to.dim()) return to.dim();
  throw error(DAMO_STATUS_INVALID_ARGUMENT,
              std::string("damo::") + call + ": rows of dim " + std::to_string(from.dim()) +
                  " are to become rows of dim " + std::to_string(to.dim()) +
                  "; the same dim is needed");
}

}  // namespace detail

// Copies the row at each position: row i of outputs becomes row positions[i] of rows. See
// damo_rows_gather.
//
//     damo::rows_gather({rows, 16}, part.positions, {matrix, 16, columns});
inline void rows_gather(row_span<const float> rows, span<const std::uint32_t> positions,
                        row_span<float> outputs) {
  const std::size_t dim = detail::common_dim("rows_gather", rows, outputs);
  detail::check(damo_rows_gather(rows.data(), rows.size(), rows.stride(), dim, positions.data(),
                                 positions.size(), outputs.data(), outputs.size(),
                                 outputs.stride()));
}

// Sums the gradients at each position, in their order, as apply_gradients does with those of a key
// that occurs several times. See damo_gradients_sum.
inline void gradients_sum(row_span<const float> gradients, span<const std::uint32_t> positions,
                          row_span<float> sums) {
  const std::size_t dim = detail::common_dim("gradients_sum", gradients, sums);
  detail::check(damo_gradients_sum(gradients.data(), gradients.size(), gradients.stride(), dim,
                                   positions.data(), positions.size(), sums.data(), sums.size(),
                                   sums.stride()));
}

// A counting Bloom filter in a file, {{"path", "..."}, {"capacity", ...}}: which keys were seen
// often enough.
class filter {
  template <class T>
  using if_key = std::enable_if_t<detail::stands_for<T, std::int64_t>::value>;
  template <class T>
  using if_number = std::enable_if_t<detail::stands_for<T, std::uint32_t>::value>;

 public:
  explicit filter(const params& p) : handle_(damo_filter_new(p.get())) {}

  // Adds num, or 1, to the count of a key, or of each of keys. Key and num are templates, so that
  // {} is refused.
  template <class Key, class = if_key<Key>>
  void add(detail::group_number group, const Key& key) const {
    add(group, key, 1);
  }
  template <class Key, class Num, class = if_key<Key>, class = if_number<Num>>
  void add(detail::group_number group, const Key& key, const Num& num) const {
    detail::check(damo_filter_add(get(), group.get(), detail::key(key).get(),
                                  detail::count_number(num).get()));
  }
  void add(detail::group_number group, keys_view keys) const { add(group, keys, 1); }
  template <class Num, class = if_number<Num>>
  void add(detail::group_number group, keys_view keys, const Num& num) const {
    detail::check(damo_filter_add_batch(get(), group.get(), keys.data(), keys.size(),
                                        detail::count_number(num).get()));
  }
  // Adds nums[i] to the count of keys[i].
  void add(detail::group_number group, keys_view keys, span<const std::uint32_t> nums) const {
    detail::check(damo_filter_add_counts(get(), group.get(), keys.data(), keys.size(), nums.data(),
                                         nums.size()));
  }

  // True once the key was added as often as the parameter count says. A small share of other keys
  // passes, too: the parameter fpr.
  bool check(detail::group_number group, detail::key key) const {
    bool admitted = false;
    detail::check(damo_filter_check(get(), group.get(), key.get(), &admitted));
    return admitted;
  }
  // Writes to admitted, one byte a key, 1 or 0.
  void check(detail::group_number group, keys_view keys, span<std::uint8_t> admitted) const {
    detail::check(damo_filter_check_batch(get(), group.get(), keys.data(), keys.size(),
                                          admitted.data(), admitted.size()));
  }

  // Makes what was added durable against a power failure of the machine.
  void sync() const { detail::check(damo_filter_sync(get())); }

  const damo_filter* get() const { return handle_.get(); }

 private:
  detail::handle<damo_filter, damo_filter_free> handle_;
};

// As a group: all groups.
inline constexpr std::uint32_t all_groups = DAMO_ALL_GROUPS;
// As the global step that a call expects: any step will do.
inline constexpr std::int64_t any_step = DAMO_ANY_STEP;

// A call of a client that numbers its calls. See damo_embedding_apply_gradients_once.
struct call_id {
  std::uint64_t client;    // the caller's own number
  std::uint64_t sequence;  // rises over all calls of the client
};
// As an embedding's group: the group with the name in the options, such as {{"name", "user"}}. It
// is made if there is none.
inline constexpr std::uint32_t group_by_name = DAMO_GROUP_BY_NAME;

// The result of a dump.
struct dumped {
  std::uint64_t number = 0;   // its number, which the next increment has as since
  std::uint64_t rows = 0;     // rows in the file
  std::uint64_t removed = 0;  // keys that an increment says are gone
};

// The result of an import.
struct imported {
  std::uint64_t imported = 0;  // records that came in
  std::uint64_t refused = 0;   // records that were left out
};

class storage {
 public:
  explicit storage(const detail::text& data_dir, detail::signed_number ttl_seconds = 0,
                   const params& options = {})
      : handle_(damo_storage_new(data_dir.c_str(), ttl_seconds.get(), options.get())) {}

  void flush() const { detail::check(damo_storage_flush(get())); }
  void compact() const { detail::check(damo_storage_compact(get())); }

  // Imports the rows of a checkpoint or dump of damo-embedding. damo_storage_import_with lists the
  // options; import_report tells why records were left out.
  damo::imported import_file(const detail::text& path, const params& options = {}) const {
    damo::imported done;
    detail::check(damo_storage_import_with(get(), path.c_str(), options.get(), &done.imported,
                                           &done.refused));
    return done;
  }
  // What became of the records of the latest import, as JSON. See damo_storage_import_report.
  std::string import_report() const {
    std::string text;
    std::size_t length = 0;
    damo_status status;
    do {  // Another thread may import in between.
      text.resize(length + 1);
      status = damo_storage_import_report(get(), text.data(), text.size(), &length);
    } while (status == DAMO_STATUS_INVALID_ARGUMENT && length >= text.size());
    detail::check(status);
    text.resize(length);
    return text;
  }

  // Writes the weights to a file for serving. damo_storage_dump lists what condition may have.
  damo::dumped dump(const detail::text& path, const params& condition = {}) const {
    damo::dumped done;
    detail::check(damo_storage_dump_with_progress(get(), path.c_str(), condition.get(), nullptr,
                                                  nullptr, &done.number, &done.rows,
                                                  &done.removed));
    return done;
  }
  // Calls progress(rows, rows_estimate) from time to time, on this thread. It may return void or a
  // bool. If it returns false, the dump is cancelled and throws CANCELLED. If it throws, the dump
  // is cancelled and throws the same.
  template <class Progress,
            class = std::enable_if_t<std::is_invocable_v<Progress&, std::uint64_t, std::uint64_t>>>
  damo::dumped dump(const detail::text& path, const params& condition, Progress&& progress) const {
    using Told = detail::told<std::remove_reference_t<Progress>>;
    Told told(progress);
    damo::dumped done;
    told.check(damo_storage_dump_with_progress(get(), path.c_str(), condition.get(), &Told::tell,
                                               &told, &done.number, &done.rows, &done.removed));
    return done;
  }

  // Makes a checkpoint: a directory, which must not exist yet, with everything of this moment.
  void checkpoint(const detail::text& path) const {
    detail::check(damo_storage_checkpoint(get(), path.c_str()));
  }
  // Replaces everything that is stored by a checkpoint. Embeddings that are open continue with it.
  void load_from_checkpoint(const detail::text& path) const {
    detail::check(damo_storage_load_from_checkpoint(get(), path.c_str()));
  }

  // Forgets a client of apply_gradients_once. Returns whether a group knew it.
  bool forget_client(std::uint64_t client) const {
    bool forgotten = false;
    detail::check(damo_storage_forget_client(get(), client, &forgotten));
    return forgotten;
  }

  // Counts the rows of now. Reads all of them.
  std::uint64_t row_count(detail::group_number group = all_groups) const {
    std::uint64_t rows = 0;
    detail::check(damo_storage_row_count(get(), group.get(), &rows));
    return rows;
  }
  // Reads everything that is stored, and checks every checksum. Returns the number of rows. Throws
  // CORRUPTION if something is damaged.
  std::uint64_t verify() const {
    std::uint64_t rows = 0;
    detail::check(damo_storage_verify(get(), &rows));
    return rows;
  }

  // Everything the storage holds except its rows, as JSON: the groups, their names and what they
  // were opened with, and the checkpoint id. See damo_storage_describe.
  std::string describe() const {
    std::string text;
    std::size_t length = 0;
    damo_status status;
    do {  // It may grow in between: other threads train, and open groups.
      text.resize(length + 1);
      status = damo_storage_describe(get(), text.data(), text.size(), &length);
    } while (status == DAMO_STATUS_INVALID_ARGUMENT && length >= text.size());
    detail::check(status);
    text.resize(length);
    return text;
  }

  std::uint64_t stat(const detail::text& name) const {
    std::uint64_t value = 0;
    detail::check(damo_storage_stat(get(), name.c_str(), &value));
    return value;
  }

  const damo_storage* get() const { return handle_.get(); }

 private:
  detail::handle<damo_storage, damo_storage_free> handle_;
};

// Everything stored of one row.
struct record {
  std::uint32_t group = 0;
  std::int64_t key = 0;
  std::int64_t update_time = 0;  // milliseconds since 1970
  std::int64_t update_num = 0;   // gradients applied so far
  std::size_t dim = 0;
  std::vector<float> data;  // dim weights, then the optimizer's state
};

// What embedding::sum_gradients returns when it writes into buffers of the caller.
struct summed {
  std::size_t keys = 0;  // how many were written
  double norm = 0;       // the 2-norm of all sums together
  double largest = 0;    // the largest absolute value among them
};
// What embedding::sum_gradients returns when it makes the buffers: the sums, too.
struct gradient_sums {
  std::vector<std::int64_t> keys;  // each once, in an unspecified order
  std::vector<float> sums;         // dim floats a key
  double norm = 0;
  double largest = 0;
};

// Every row of a group, or of all groups, of one moment, in order of group and key. Keeps its
// storage open. For one thread at a time.
//
//     for (const damo::record& row : damo::row_iterator(storage)) ...
class row_iterator {
 public:
  explicit row_iterator(const storage& s, detail::group_number group = all_groups)
      : handle_(damo_iterator_new(s.get(), group.get())) {}

  // Reads the next row into row, whose memory it reuses. Returns false at the end, and leaves row
  // as it was.
  bool next(record& row) {
    bool found = false;
    record read;
    const float* data = nullptr;
    std::size_t data_len = 0;
    detail::check(damo_iterator_next(get(), &found, &read.group, &read.key, &read.update_time,
                                     &read.update_num, &read.dim, &data, &data_len));
    if (!found) return false;
    read.data = std::move(row.data);
    read.data.assign(data, data + data_len);
    row = std::move(read);
    return true;
  }

  // An input iterator, for the loop above.
  class place {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = record;
    using difference_type = std::ptrdiff_t;
    using pointer = const record*;
    using reference = const record&;

    reference operator*() const { return rows_->row_; }
    pointer operator->() const { return &rows_->row_; }
    place& operator++() {
      if (!rows_->next(rows_->row_)) rows_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(const place& other) const noexcept { return rows_ == other.rows_; }
    bool operator!=(const place& other) const noexcept { return rows_ != other.rows_; }

   private:
    friend class row_iterator;
    explicit place(row_iterator* rows) noexcept : rows_(rows) {}
    row_iterator* rows_;  // nullptr: the end
  };
  // Reads the next row: the first row, of a new row_iterator.
  place begin() { return ++place(this); }
  place end() noexcept { return place(nullptr); }

  const damo_iterator* get() const { return handle_.get(); }

 private:
  detail::handle<damo_iterator, damo_iterator_free> handle_;
  record row_;
};
// The same class. The name is ambiguous after using namespace for both damo and std.
using iterator = row_iterator;

// A lookup that embedding::begin_lookup has begun. Keeps nothing open.
class begun_lookup {
 public:
  const damo_lookup* get() const { return handle_.get(); }

 private:
  friend class embedding;
  explicit begun_lookup(damo_lookup* raw) : handle_(raw) {}
  detail::handle<damo_lookup, damo_lookup_free> handle_;
};

// Rows that embedding::pin has copied, for a trainer with an optimizer of its own. Change them, and
// commit; without commit nothing has changed. Its memory is used again for the next keys: have one
// a thread. For one thread at a time. Keeps its storage open. See damo_rows_pin.
//
//     damo::pin rows;
//     for (const sample& s : samples) {
//       users.pin(s.keys, rows);
//       for (std::size_t i = 0; i < rows.size(); ++i) step(rows.weights(i), rows.state(i), s);
//       rows.commit();
//     }
class pin {
 public:
  pin() = default;

  // The number of keys that were pinned, and are not committed yet.
  std::size_t size() const noexcept { return rows_.size(); }
  // The row of the key at a position: its weights, and then the optimizer's state. A key that was
  // given twice has one row.
  span<float> operator[](std::size_t position) const noexcept {
    return {rows_[position], row_len_};
  }
  span<float> weights(std::size_t position) const noexcept { return {rows_[position], dim_}; }
  span<float> state(std::size_t position) const noexcept {
    return {rows_[position] + dim_, row_len_ - dim_};
  }
  // Whether commit makes the row of the key at a position.
  bool is_new(std::size_t position) const noexcept { return created_[position] != 0; }

  // Changes the rows in the storage: all of them, or none after an error. conflicts is what becomes
  // of rows that others have changed since: "add" keeps both changes, "refuse" throws BUSY. The
  // rows are not to be used afterwards.
  void commit(const detail::text& conflicts = "add") {
    detail::check(damo_pin_commit(raw_.get(), conflicts.c_str()));
    rows_.clear();
  }

  const damo_pin* get() const noexcept { return raw_.get(); }

 private:
  friend class embedding;
  struct deleter {
    void operator()(damo_pin* raw) const noexcept { damo_pin_free(raw); }
  };
  void take(const damo_embedding* of, keys_view keys, std::size_t dim, std::size_t row_len) {
    // All room before the first change: without memory the pin stays as it is.
    rows_.reserve(keys.size());
    created_.reserve(keys.size());
    rows_.resize(keys.size());
    created_.resize(keys.size());
    damo_pin* raw = raw_.get();
    const damo_status status =
        damo_rows_pin(of, keys.data(), keys.size(), rows_.data(), created_.data(), &raw);
    if (raw != raw_.get()) raw_.reset(raw);
    if (status != DAMO_STATUS_OK) rows_.clear();
    detail::check(status);
    dim_ = dim;
    row_len_ = row_len;
  }

  std::unique_ptr<damo_pin, deleter> raw_;
  std::vector<float*> rows_;
  std::vector<std::uint8_t> created_;
  std::size_t dim_ = 0;
  std::size_t row_len_ = 0;
};

// One group of a storage. Keeps its storage open.
class embedding {
 public:
  embedding(const storage& s, const optimizer& o, const initializer& i, detail::size_number dim,
            detail::group_number group = 0, const params& options = {})
      : handle_(
            damo_embedding_new(s.get(), o.get(), i.get(), dim.get(), group.get(), options.get())),
        dim_(dim.get()),
        row_len_(o.row_len(dim.get())) {
    detail::check(damo_embedding_group(get(), &group_));
  }

  std::size_t dim() const noexcept { return dim_; }
  std::uint32_t group() const noexcept { return group_; }

  // Writes the weights of keys, dim floats a key. Creates the rows that are missing.
  void lookup(keys_view keys, span<float> weights) const {
    detail::check(
        damo_embedding_lookup(get(), keys.data(), keys.size(), weights.data(), weights.size()));
  }
  std::vector<float> lookup(keys_view keys) const {
    std::vector<float> weights(keys.size() * dim_);
    lookup(keys, weights);
    return weights;
  }

  // For distinct keys, where keys[i] occurs occurrences[i] times in a batch. As lookup of the
  // batch, but writes each key's row once. Filters and statistics count every occurrence.
  // keys_partition makes both arguments.
  void lookup_counted(keys_view keys, span<const std::uint32_t> occurrences,
                      span<float> weights) const {
    detail::check(damo_embedding_lookup_counted(get(), keys.data(), keys.size(),
                                                occurrences.data(), occurrences.size(),
                                                weights.data(), weights.size()));
  }
  std::vector<float> lookup_counted(keys_view keys,
                                    span<const std::uint32_t> occurrences) const {
    std::vector<float> weights(keys.size() * dim_);
    lookup_counted(keys, occurrences, weights);
    return weights;
  }

  // As lookup, but creates nothing: a key without a row reads as zeros.
  void peek(keys_view keys, span<float> weights) const {
    detail::check(damo_embedding_peek(get(), keys.data(), keys.size(), weights.data(),
                                      weights.size(), nullptr));
  }
  // Also writes to found, one byte a key, 1 for a key with a row and 0 for one without.
  void peek(keys_view keys, span<float> weights, span<std::uint8_t> found) const {
    if (found.size() != keys.size()) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT,
                  "damo::embedding::peek: found has " + std::to_string(found.size()) +
                      " bytes and keys has " + std::to_string(keys.size()) +
                      " keys; one byte a key is needed");
    }
    detail::check(damo_embedding_peek(get(), keys.data(), keys.size(), weights.data(),
                                      weights.size(), found.data()));
  }

  // Begins a lookup: writes the weights of keys as peek does. Changes no row.
  begun_lookup begin_lookup(keys_view keys, span<float> weights) const {
    return begun_lookup(damo_embedding_begin_lookup(get(), keys.data(), keys.size(), weights.data(),
                                                    weights.size()));
  }
  // Turns the weights of begin_lookup into what lookup writes now. Returns how many keys' weights
  // it has written. positions, one a key, begins with their positions, ascending. A lookup is
  // finished once.
  std::size_t finish_lookup(const begun_lookup& lookup, span<float> weights,
                            span<std::int64_t> positions) const {
    std::size_t changed = 0;
    detail::check(damo_embedding_finish_lookup(get(), lookup.get(), weights.data(), weights.size(),
                                               positions.data(), positions.size(), &changed));
    return changed;
  }

  void apply_gradients(keys_view keys, span<const float> gradients) const {
    detail::check(damo_embedding_apply_gradients(get(), keys.data(), keys.size(), gradients.data(),
                                                 gradients.size()));
  }

  // As apply_gradients, for callers that send a call again until they have an answer: a call that
  // is stored is not made again. Returns whether it was made now. If it is not stored, and the
  // group's step is not the expected one, this throws STEP_MISMATCH.
  bool apply_gradients_once(call_id call, keys_view keys, span<const float> gradients,
                            std::int64_t expected = any_step) const {
    bool applied = false;
    detail::check(damo_embedding_apply_gradients_once(get(), call.client, call.sequence, expected,
                                                      keys.data(), keys.size(), gradients.data(),
                                                      gradients.size(), &applied));
    return applied;
  }
  // As lookup, if the group's global step is step: all rows are then of that step. Throws
  // STEP_MISMATCH at another one.
  void lookup_at(std::int64_t step, keys_view keys, span<float> weights) const {
    detail::check(damo_embedding_lookup_at(get(), step, keys.data(), keys.size(), weights.data(),
                                           weights.size()));
  }

  // Sums gradients by key, as apply_gradients does before it steps. Writes each key once, without
  // padding, and the sum of its gradients (the mean when "duplicates" is "mean"). Changes nothing
  // in the storage. The buffers need room for the whole batch, and can be used again for the next
  // one.
  summed sum_gradients(keys_view keys, span<const float> gradients,
                       span<std::int64_t> summed_keys, span<float> sums) const {
    summed of;
    detail::check(damo_embedding_sum_gradients(get(), keys.data(), keys.size(), gradients.data(),
                                               gradients.size(), summed_keys.data(),
                                               summed_keys.size(), sums.data(), sums.size(),
                                               &of.keys, &of.norm, &of.largest));
    return of;
  }
  gradient_sums sum_gradients(keys_view keys, span<const float> gradients) const {
    gradient_sums all{std::vector<std::int64_t>(keys.size()), std::vector<float>(gradients.size())};
    const summed of = sum_gradients(keys, gradients, all.keys, all.sums);
    all.keys.resize(of.keys);
    all.sums.resize(of.keys * dim_);
    all.norm = of.norm;
    all.largest = of.largest;
    return all;
  }

  // Copies the whole rows of keys into rows, to be changed there and committed. A key without a row
  // gets the floats that its row begins with. Nothing is made and nothing is locked.
  void pin(keys_view keys, damo::pin& rows) const { rows.take(get(), keys, dim_, row_len_); }
  damo::pin pin(keys_view keys) const {
    damo::pin rows;
    pin(keys, rows);
    return rows;
  }

  // Brings rows into memory in the background, for a trainer that knows its next batch. Returns at
  // once.
  void prefetch(keys_view keys) const {
    detail::check(damo_embedding_prefetch(get(), keys.data(), keys.size()));
  }

  // Stores pretrained weights as fresh rows. Rows that exist are replaced.
  void insert(keys_view keys, span<const float> weights) const {
    detail::check(
        damo_embedding_insert(get(), keys.data(), keys.size(), weights.data(), weights.size()));
  }

  // Stores whole rows, as record reads them: weights and the optimizer's state. update_nums has
  // their update counts; empty means 0 for all.
  void insert_records(keys_view keys, span<const float> rows,
                      span<const std::int64_t> update_nums = {}) const {
    detail::check(damo_embedding_insert_records(get(), keys.data(), keys.size(), rows.data(),
                                                rows.size(), update_nums.data(),
                                                update_nums.size()));
  }

  // Deletes the rows of keys (delete is a keyword). A key without a row is not an error.
  void erase(keys_view keys) const {
    detail::check(damo_embedding_delete(get(), keys.data(), keys.size()));
  }

  // Removes all rows of the group at once, and sets its global step to 0: for a new model.
  void clear() const { detail::check(damo_embedding_clear(get())); }

  // Reads everything stored of one row. Throws NOT_FOUND if the key has no row.
  damo::record record(detail::key key) const {
    damo::record row;
    row.group = group_;
    row.key = key.get();
    row.dim = dim_;
    row.data.resize(row_len_);
    detail::check(damo_embedding_record(get(), key.get(), &row.update_time, &row.update_num,
                                        row.data.data(), row.data.size()));
    return row;
  }

  // From now on only keys that were looked up often enough get rows. nullptr: all keys do.
  void set_filter(const filter& f) const {
    detail::check(damo_embedding_set_filter(get(), f.get()));
  }
  void set_filter(std::nullptr_t) const {
    detail::check(damo_embedding_set_filter(get(), nullptr));
  }

  // The group's global step: the apply_gradients calls so far, or counted on from what set_step
  // set.
  std::int64_t step() const {
    std::int64_t step = 0;
    detail::check(damo_embedding_step(get(), &step));
    return step;
  }
  void set_step(detail::signed_number step) const {
    detail::check(damo_embedding_set_step(get(), step.get()));
  }

  const damo_embedding* get() const { return handle_.get(); }

 private:
  detail::handle<damo_embedding, damo_embedding_free> handle_;
  std::uint32_t group_ = 0;
  std::size_t dim_;
  std::size_t row_len_;
};

// Whether offsets end with the number of keys: torch's include_last_offset.
enum class last_offset { absent, present };

// One training step over many groups: their rows in one call, and one transaction for all of their
// gradients. See damo_step_new. Keeps its storage open. For one thread at a time.
//
//     damo::step step(storage);
//     for (...) {
//       step.add(users, user_ids);                      // a row a key
//       step.add(genres, genre_ids, offsets, "mean");   // a row a bag
//       step.lookup(matrix);                            // [batch, step.width()]
//       ...
//       step.apply_gradients(gradients);                // the same layout
//       step.clear();                                   // keeps the memory
//     }
//
// A matrix has the parts side by side, in the order of add: all of them need the same number of
// rows. Other layouts are given as one row_span a part.
class step {
 public:
  explicit step(const storage& s, const params& options = {})
      : handle_(damo_step_new(s.get(), options.get())) {}

  // Adds a part with one row a key. Copies the keys. Returns the part's number: 0, 1, ...
  std::size_t add(const embedding& e, keys_view keys) {
    return add_part({keys.size(), e.dim(), width_}, [&] {
      return damo_step_add_keys(get(), e.get(), keys.data(), keys.size());
    });
  }
  // As add, with how often each key occurs: lookups count every occurrence, as
  // embedding::lookup_counted does. The part has one row a key, and takes one gradient a key: the
  // sum of those of its occurrences. The option duplicates "mean" divides it by their number.
  std::size_t add_counted(const embedding& e, keys_view keys,
                          span<const std::uint32_t> occurrences) {
    return add_part({keys.size(), e.dim(), width_}, [&] {
      return damo_step_add_keys_counted(get(), e.get(), keys.data(), keys.size(),
                                        occurrences.data(), occurrences.size());
    });
  }
  // Adds a part with one row a bag: the "sum", "mean" or "max" of the rows of its keys. offsets has
  // the index of each bag's first key, in integers of 64 bits. Copies everything.
  std::size_t add(const embedding& e, keys_view keys, keys_view offsets,
                  const detail::text& pooling = "sum",
                  last_offset last = last_offset::absent) {
    return add_bags(e, keys, offsets, pooling, nullptr, last);
  }
  // With a weight a key, for the pooling "sum".
  std::size_t add(const embedding& e, keys_view keys, keys_view offsets,
                  const detail::text& pooling, span<const float> weights,
                  last_offset last = last_offset::absent) {
    if (weights.size() != keys.size()) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT,
                  "damo::step::add: weights has " + std::to_string(weights.size()) +
                      " floats and keys has " + std::to_string(keys.size()) +
                      " keys; one weight a key is needed");
    }
    return add_bags(e, keys, offsets, pooling, weights.data(), last);
  }

  // Writes the rows of all parts. Creates those that are missing.
  void lookup(span<float> matrix) {
    const span<const damo_rows> rows = columns("lookup: matrix", matrix.data(), matrix.size());
    detail::check(damo_step_lookup(get(), rows.data(), rows.size()));
  }
  void lookup(span<const row_span<float>> outputs) {
    const span<const damo_rows> rows = parts_of("lookup: outputs", outputs);
    detail::check(damo_step_lookup(get(), rows.data(), rows.size()));
  }

  // As lookup, but creates nothing: a key without a row reads as zeros.
  void peek(span<float> matrix) {
    const span<const damo_rows> rows = columns("peek: matrix", matrix.data(), matrix.size());
    detail::check(damo_step_peek(get(), rows.data(), rows.size()));
  }
  void peek(span<const row_span<float>> outputs) {
    const span<const damo_rows> rows = parts_of("peek: outputs", outputs);
    detail::check(damo_step_peek(get(), rows.data(), rows.size()));
  }

  // Applies the gradients of what lookup wrote: to all groups, or to none if it throws.
  void apply_gradients(span<const float> matrix) {
    refused_ = true;
    // C only reads them.
    apply(columns("apply_gradients: matrix", const_cast<float*>(matrix.data()), matrix.size()));
  }
  void apply_gradients(span<const row_span<const float>> gradients) {
    refused_ = true;
    apply(parts_of("apply_gradients: gradients", gradients));
  }

  // As apply_gradients, for callers that send a call again until they have an answer: a call that
  // is stored is not made again. Returns whether it was made now. expected has for each part the
  // step of its group, or any_step; empty: any. If the call is not stored, and a group has another
  // step, this throws STEP_MISMATCH.
  bool apply_gradients_once(call_id call, span<const float> matrix,
                            span<const std::int64_t> expected = {}) {
    refused_ = true;
    return apply_once(call, expected,
                      columns("apply_gradients_once: matrix", const_cast<float*>(matrix.data()),
                              matrix.size()));
  }
  bool apply_gradients_once(call_id call, span<const row_span<const float>> gradients,
                            span<const std::int64_t> expected = {}) {
    refused_ = true;
    return apply_once(call, expected, parts_of("apply_gradients_once: gradients", gradients));
  }

  // As lookup, if the groups are at these steps: all rows are then of them. steps has for each part
  // the step of its group, or any_step; empty: any. Throws STEP_MISMATCH at another one.
  void lookup_at(span<const std::int64_t> steps, span<float> matrix) {
    read_at(steps, columns("lookup_at: matrix", matrix.data(), matrix.size()));
  }
  void lookup_at(span<const std::int64_t> steps, span<const row_span<float>> outputs) {
    read_at(steps, parts_of("lookup_at: outputs", outputs));
  }

  // The 2-norm of the latest gradients of all keys together, before they were clipped. The step
  // needs the option clip_norm.
  double gradient_norm() const {
    double norm = 0;
    detail::check(damo_step_gradient_norm(get(), &norm));
    if (refused_) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT,
                  "damo::step::gradient_norm: the latest call has failed; call apply_gradients "
                  "first");
    }
    return norm;
  }

  // Whether the option non_finite "skip" skipped the latest apply_gradients. False if that has
  // failed.
  bool skipped() const {
    std::uint8_t skipped = 0;
    detail::check(damo_step_skipped(get(), &skipped));
    return skipped != 0 && !refused_;
  }

  // Removes all parts.
  void clear() {
    detail::check(damo_step_clear(get()));
    parts_.clear();
    width_ = 0;
  }

  std::size_t parts() const noexcept { return parts_.size(); }
  // The floats in a row of a matrix: the sum of all parts' dims.
  std::size_t width() const noexcept { return width_; }
  // The rows of a matrix: those of the first part.
  std::size_t rows() const noexcept { return parts_.empty() ? 0 : parts_.front().rows; }
  // The first column of a part in a matrix.
  std::size_t column(std::size_t of_part) const { return parts_.at(of_part).column; }

  damo_step* get() const { return handle_.get(); }

 private:
  struct part {
    std::size_t rows;
    std::size_t dim;
    std::size_t column;
  };

  // Either both know of the part, or neither does.
  template <class Add>
  std::size_t add_part(const part& next, Add add_to_handle) {
    parts_.push_back(next);
    const damo_status status = add_to_handle();
    if (status != DAMO_STATUS_OK) {
      parts_.pop_back();
      detail::check(status);
    }
    width_ += next.dim;
    return parts_.size() - 1;
  }

  std::size_t add_bags(const embedding& e, keys_view keys, keys_view offsets,
                       const detail::text& pooling, const float* weights, last_offset last) {
    const bool has_last = last == last_offset::present;
    const std::size_t bags = offsets.size() - (has_last && offsets.size() > 0 ? 1 : 0);
    return add_part({bags, e.dim(), width_}, [&] {
      return damo_step_add_bags(get(), e.get(), keys.data(), keys.size(), offsets.data(),
                                offsets.size(), has_last, pooling.c_str(), weights);
    });
  }

  // The columns of each part in a matrix. `name` is the call and its argument.
  span<const damo_rows> columns(const char* name, float* floats, std::size_t size) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].rows != rows()) {
        refuse(name, ": part 0 has " + std::to_string(rows()) + " rows and part " +
                         std::to_string(i) + " has " + std::to_string(parts_[i].rows) +
                         "; a matrix needs the same number of each");
      }
    }
    if (size != rows() * width_) {
      refuse(name, " has " + std::to_string(size) + " floats; " + std::to_string(rows()) +
                       " rows x " + std::to_string(width_) + " columns are needed");
    }
    rows_.resize(parts_.size());
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::size_t column = size == 0 ? 0 : parts_[i].column;
      rows_[i] = {size == 0 ? floats : floats + column, size - column, width_};
    }
    return rows_;
  }

  // The rows of each part as the caller has them. C takes the dims from the embeddings.
  template <class T>
  span<const damo_rows> parts_of(const char* name, span<const row_span<T>> given) {
    for (std::size_t i = 0; i < given.size() && i < parts_.size(); ++i) {
      if (given[i].dim() != parts_[i].dim) {
        refuse(name, "[" + std::to_string(i) + "] has rows of dim " +
                         std::to_string(given[i].dim()) + " and part " + std::to_string(i) +
                         " has dim " + std::to_string(parts_[i].dim) +
                         "; the same dim is needed");
      }
    }
    rows_.resize(given.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
      rows_[i] = {const_cast<float*>(given[i].data()), given[i].size(), given[i].stride()};
    }
    return rows_;
  }

  void apply(span<const damo_rows> rows) {
    refused_ = false;
    detail::check(damo_step_apply_gradients(get(), rows.data(), rows.size()));
  }

  bool apply_once(call_id call, span<const std::int64_t> expected, span<const damo_rows> rows) {
    check_steps("apply_gradients_once: expected", expected, rows.size());
    refused_ = false;
    bool applied = false;
    detail::check(damo_step_apply_gradients_once(get(), call.client, call.sequence,
                                                 expected.data(), rows.data(), rows.size(),
                                                 &applied));
    return applied;
  }

  void read_at(span<const std::int64_t> steps, span<const damo_rows> rows) {
    check_steps("lookup_at: steps", steps, rows.size());
    detail::check(damo_step_lookup_at(get(), steps.data(), rows.data(), rows.size()));
  }

  // C takes one step a part, or NULL.
  static void check_steps(const char* name, span<const std::int64_t> given, std::size_t parts) {
    if (!given.empty() && given.size() != parts) {
      refuse(name, " has " + std::to_string(given.size()) + " steps; one for each of the " +
                       std::to_string(parts) + " parts, or none, is needed");
    }
  }

  [[noreturn]] static void refuse(const char* name, const std::string& why) {
    throw error(DAMO_STATUS_INVALID_ARGUMENT, std::string("damo::step::") + name + why);
  }

  detail::handle<damo_step, damo_step_free> handle_;
  std::vector<part> parts_;
  std::size_t width_ = 0;
  std::vector<damo_rows> rows_;  // kept from call to call
  bool refused_ = false;         // whether the latest gradients were refused before C saw them
};

// A serving table: a dump in the format "table", read without a storage.
class table {
 public:
  explicit table(const detail::text& path) : handle_(damo_table_open(path.c_str())) {}

  // Merges base and the increment after it into a new table at path. See damo_table_merge.
  static void merge(const detail::text& base, const detail::text& increment,
                    const detail::text& path) {
    detail::check(damo_table_merge(base.c_str(), increment.c_str(), path.c_str()));
  }

  // Writes the weights of keys, dim floats a key. A key without a row reads as zeros.
  void lookup(detail::group_number group, keys_view keys, span<float> weights) const {
    detail::check(damo_table_lookup(get(), group.get(), keys.data(), keys.size(), weights.data(),
                                    weights.size(), nullptr));
  }
  // Also writes to found, one byte a key, 1 for a key with a row and 0 for one without.
  void lookup(detail::group_number group, keys_view keys, span<float> weights,
              span<std::uint8_t> found) const {
    if (found.size() != keys.size()) {
      throw error(DAMO_STATUS_INVALID_ARGUMENT,
                  "damo::table::lookup: found has " + std::to_string(found.size()) +
                      " bytes and keys has " + std::to_string(keys.size()) +
                      " keys; one byte a key is needed");
    }
    detail::check(damo_table_lookup(get(), group.get(), keys.data(), keys.size(), weights.data(),
                                    weights.size(), found.data()));
  }
  std::vector<float> lookup(detail::group_number group, keys_view keys) const {
    std::vector<float> weights(keys.size() * dim(group));
    lookup(group, keys, weights);
    return weights;
  }

  std::size_t dim(detail::group_number group) const {
    std::size_t dim = 0;
    detail::check(damo_table_dim(get(), group.get(), &dim));
    return dim;
  }
  std::uint64_t rows(detail::group_number group) const {
    std::uint64_t rows = 0;
    detail::check(damo_table_rows(get(), group.get(), &rows));
    return rows;
  }
  // The sequence number of the last call that the table has.
  std::uint64_t number() const {
    std::uint64_t number = 0;
    detail::check(damo_table_number(get(), &number));
    return number;
  }

  const damo_table* get() const { return handle_.get(); }

 private:
  detail::handle<damo_table, damo_table_free> handle_;
};

// Lends the host's threads until this object is destroyed: to all storages of the process, or to
// one storage, which must outlive it. A new one replaces the one before, and the destructor of
// either takes the threads back. So have one at a time. See damo_executor_set.
//
//     damo::executor pool([&](std::size_t threads, auto work) {
//       ...  // calls work() on up to so many threads at once, and returns once all have returned
//     });
//
// run may be called by several threads at once. It may throw only once no further call of work can
// begin. damo then does the rest on the caller's thread.
template <class Run>
class executor {
 public:
  explicit executor(Run run, std::size_t threads = 0) : run_(std::move(run)) {
    detail::check(damo_executor_set(&call, this, threads));
  }
  executor(const storage& of, Run run, std::size_t threads = 0)
      : storage_(of.get()), run_(std::move(run)) {
    detail::check(damo_storage_set_executor(storage_, &call, this, threads));
  }
  executor(const storage&&, Run, std::size_t = 0) = delete;
  executor(const executor&) = delete;
  executor& operator=(const executor&) = delete;
  ~executor() {
    if (storage_ == nullptr) {
      damo_executor_set(nullptr, nullptr, 0);
    } else {
      damo_storage_set_executor(storage_, nullptr, nullptr, 0);
    }
  }

 private:
  static void call(void* self, std::size_t threads, damo_work work, void* context) noexcept {
    try {
      static_cast<executor*>(self)->run_(threads, [work, context] { work(context); });
    } catch (...) {
    }
  }

  const damo_storage* storage_ = nullptr;
  Run run_;
};

#ifdef _OPENMP
// OpenMP's threads: damo::executor pool(damo::openmp);
struct openmp_threads {
  template <class Work>
  void operator()(std::size_t, const Work& work) const {
    // Without num_threads: GNU's OpenMP ends and starts threads when the number changes.
#pragma omp parallel
    work();
  }
};
inline constexpr openmp_threads openmp{};
#endif

}  // namespace damo

#endif
#endif  // DAMO_HPP

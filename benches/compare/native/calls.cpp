// Times calls, made by threads of its own: a library that calls.py and callers.py load, so that
// nothing of Python is in what is timed.
//
// Functions return NULL or false after an error, which calls_error then tells.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "drive.hpp"
#include "tables.hpp"

namespace {

thread_local std::string error;

template <class Function>
auto guarded(Function function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception& caught) {
    error = caught.what();
    return {};
  }
}

// Any table, behind one handle. A run has no virtual call within it.
class any_table {
 public:
  virtual ~any_table() = default;
  virtual void insert(const std::int64_t* keys, std::size_t count, const float* weights) = 0;
  virtual void lookup(const std::int64_t* keys, std::size_t count, float* weights) = 0;
  virtual void apply(const std::int64_t* keys, std::size_t count, const float* gradients) = 0;
  virtual cost run(const samples& given) = 0;
};

template <class Table>
class held final : public any_table {
 public:
  template <class... Arguments>
  explicit held(const Arguments&... arguments) : table_(arguments...) {}
  void insert(const std::int64_t* keys, std::size_t count, const float* weights) override {
    table_.insert(keys, count, weights);
  }
  void lookup(const std::int64_t* keys, std::size_t count, float* weights) override {
    table_.lookup(keys, count, weights);
  }
  void apply(const std::int64_t* keys, std::size_t count, const float* gradients) override {
    table_.apply(keys, count, gradients);
  }
  cost run(const samples& given) override {
    return drive(given).of_a_call([this](std::size_t) -> Table& { return table_; });
  }

 private:
  Table table_;
};

template <class Rows>
std::unique_ptr<any_table> plain(const std::string& rule, std::size_t rows, std::size_t dim,
                                 const parameters& given) {
  if (rule == "adam") return std::make_unique<held<plain_table<Rows, adam>>>(rows, dim, given);
  if (rule == "adagrad") {
    return std::make_unique<held<plain_table<Rows, adagrad>>>(rows, dim, given);
  }
  throw std::invalid_argument("the optimizer is '" + rule + "'; it can be adam or adagrad");
}

}  // namespace

extern "C" {

const char* calls_error() { return error.c_str(); }

any_table* calls_damo(const damo_embedding* embedding, const damo_functions* functions,
                      std::size_t dim) {
  return guarded([&]() -> any_table* {
    return std::make_unique<held<library_table>>(embedding, *functions, dim).release();
  });
}

any_table* calls_plain(const char* kind, const char* rule, std::size_t rows, std::size_t dim,
                       const parameters* given) {
  return guarded([&]() -> any_table* {
    if (kind == std::string("array")) return plain<array_rows>(rule, rows, dim, *given).release();
    return plain<hash_map_rows>(rule, rows, dim, *given).release();
  });
}

void calls_free(any_table* table) { delete table; }

bool calls_insert(any_table* table, const std::int64_t* keys, std::size_t count,
                  const float* weights) {
  return guarded([&] { return table->insert(keys, count, weights), true; });
}

bool calls_lookup(any_table* table, const std::int64_t* keys, std::size_t count, float* weights) {
  return guarded([&] { return table->lookup(keys, count, weights), true; });
}

bool calls_apply(any_table* table, const std::int64_t* keys, std::size_t count,
                 const float* gradients) {
  return guarded([&] { return table->apply(keys, count, gradients), true; });
}

// With one table all threads call that; otherwise thread t calls tables[t], by virtual calls, which
// are too few to be noticed where calls are large.
bool calls_run(any_table* const* tables, std::size_t tables_len, const samples* given,
               cost* found) {
  return guarded([&] {
    if (tables_len == 1) return *found = tables[0]->run(*given), true;
    if (given->threads > tables_len) {
      throw std::invalid_argument(std::to_string(given->threads) + " threads are given "
                                  + std::to_string(tables_len) + " tables; each needs its own");
    }
    const auto own = [&](std::size_t t) -> any_table& { return *tables[t]; };
    return *found = drive(*given).of_a_call(own), true;
  });
}

}  // extern "C"

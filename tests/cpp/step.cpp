// damo::step: matrices and rows of other layouts, bags, memory that is used again, and what throws.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include "damo.hpp"
#include "support/throws.hpp"

// Allocations of this thread since the last reset.
static thread_local std::size_t allocations = 0;

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

// A group whose rows start at `value` and step by minus the gradient.
damo::embedding open(const damo::storage& storage, double value, std::size_t dim,
                     std::uint32_t group, const damo::params& options = {{"duplicates", "sum"}}) {
  return {storage, damo::optimizer("sgd", {{"gamma", 1}}),
          damo::initializer("constant", {{"value", value}}), dim, group, options};
}

// A feature with a key a sample, and one with several, side by side.
void a_matrix_has_the_parts_side_by_side(const damo::storage& storage) {
  const damo::embedding users = open(storage, 2, 1, 0);
  const damo::embedding genres = open(storage, 4, 2, 1);
  damo::step step(storage);
  CHECK(step.parts() == 0 && step.width() == 0 && step.rows() == 0);
  CHECK(step.add(users, {7, 8, 7}) == 0);
  // The last bag is empty.
  const std::vector<std::int64_t> ids{5, 6, 5}, offsets{0, 2, 3};
  CHECK(step.add(genres, ids, offsets, "mean") == 1);
  CHECK(step.parts() == 2 && step.rows() == 3 && step.width() == 3 && step.column(1) == 1);

  std::vector<float> matrix(9, -1);
  step.peek(matrix);
  CHECK(matrix == std::vector<float>(9, 0) && storage.row_count() == 0);
  step.lookup(matrix);
  CHECK((matrix == std::vector<float>{2, 4, 4, 2, 4, 4, 2, 0, 0}));

  const std::vector<float> gradients{1, 2, 4, 10, 8, 16, 100, 999, 999};
  step.apply_gradients(gradients);
  // Key 7 had 1 + 100. Key 5 had half of (2, 4) and all of (8, 16), key 6 half of (2, 4).
  CHECK((users.lookup({7, 8}) == std::vector<float>{-99, -8}));
  CHECK((genres.lookup({5, 6}) == std::vector<float>{-5, -14, 3, 2}));
  CHECK(users.step() == 1 && genres.step() == 1 && storage.row_count() == 4);
  step.lookup(matrix);
  CHECK((matrix == std::vector<float>{-99, -1, -6, -8, -5, -14, -99, 0, 0}));
}

void bags_have_weights_a_last_offset_and_integers_of_any_kind(const damo::storage& storage) {
  const damo::embedding group = open(storage, 0, 1, 2);
  group.insert({1, 2, -1}, {3, 5, 7});
  damo::step step(storage);
  const std::vector<unsigned long long> keys{1, 2, ~0ULL};
  const std::array<std::size_t, 3> offsets{0, 1, 3};
  const std::vector<float> weights{2, 0.5f, 10};
  step.add(group, keys, offsets, "sum", weights, damo::last_offset::present);
  step.add(group, keys, offsets, "max", damo::last_offset::present);
  step.add(group, keys, offsets, "sum", damo::last_offset::present);
  step.add(group, {2, 1}, {0, 1});
  CHECK(step.rows() == 2 && step.width() == 4);
  std::vector<float> matrix(8);
  step.lookup(matrix);
  CHECK((matrix == std::vector<float>{6, 3, 3, 5, 72.5f, 7, 12, 3}));
  step.apply_gradients({1, 10, 0, 0, 4, 100, 0, 0});
  // 1: 2 x 1 + 10; 2: 0.5 x 4; -1: 10 x 4 + 100
  CHECK((group.lookup(keys) == std::vector<float>{-9, 3, -133}));
  CHECK(group.step() == 1);
}

void other_layouts_are_spans_of_rows(const damo::storage& storage) {
  const damo::embedding one = open(storage, 1, 1, 3), two = open(storage, 2, 2, 4);
  damo::step step(storage);
  step.add(one, {1, 2, 3});
  step.add(two, {1, 2});
  std::vector<float> ones(3), twos(5, -1);
  // Rows of dim 2 with a float between them; none is needed behind the last row.
  step.lookup({{ones, 1}, {twos, 2, 3}});
  CHECK(ones == std::vector<float>(3, 1));
  CHECK((twos == std::vector<float>{2, 2, -1, 2, 2}));
  std::fill(ones.begin(), ones.end(), 0.0f);
  const std::vector<damo::row_span<float>> outputs{{ones, 1}, {twos, 2, 3}};
  step.peek(outputs);
  CHECK(ones == std::vector<float>(3, 1));
  step.apply_gradients({{ones, 1}, {twos, 2, 3}});
  CHECK(one.lookup({1, 2, 3}) == std::vector<float>(3, 0));
  CHECK(two.lookup({1, 2}) == std::vector<float>(4, 0));
}

// After clear a step is as new, and the second batch of a size allocates nothing.
void memory_is_used_again(const damo::storage& storage) {
  const damo::embedding a = open(storage, 1, 3, 5), b = open(storage, 1, 5, 6);
  damo::step step(storage);
  std::vector<std::int64_t> keys(100), offsets(50);
  std::vector<float> matrix(50 * 8), gradients(50 * 8, 0.25f);
  for (std::int64_t batch = 0; batch < 4; ++batch) {
    for (std::size_t i = 0; i < 100; ++i) keys[i] = batch + static_cast<std::int64_t>(i);
    for (std::size_t i = 0; i < 50; ++i) offsets[i] = static_cast<std::int64_t>(2 * i);
    allocations = 0;
    step.add(a, {keys.data(), 50});
    step.add(b, keys, offsets, "mean");
    step.lookup(matrix);
    step.apply_gradients(gradients);
    step.clear();
    CHECK(batch == 0 || allocations == 0);
    CHECK(step.parts() == 0 && step.width() == 0);
  }
  CHECK(a.step() == 4 && b.step() == 4);
  // The step is another object's now. It keeps the embedding until it is cleared.
  {
    const damo::embedding short_lived = open(storage, 9, 1, 7);
    step.add(short_lived, {1});
  }
  damo::step moved = std::move(step);
  std::array<float, 1> row{};
  moved.lookup(row);
  CHECK(row[0] == 9);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "after it was moved from", [&] { step.clear(); });
}

void gradients_are_clipped(const damo::storage& storage) {
  const damo::embedding a = open(storage, 0, 1, 20);
  damo::step step(storage, {{"clip_norm", 2.5}});
  step.add(a, {7, 8});
  throws(DAMO_STATUS_INVALID_ARGUMENT, "no gradients were applied", [&] { step.gradient_norm(); });
  step.apply_gradients(std::vector<float>{3, 4});
  CHECK(step.gradient_norm() == 5);
  const std::vector<float> rows = a.lookup({7, 8});
  CHECK(rows[1] / rows[0] > 1.333f && rows[1] / rows[0] < 1.334f);

  // An embedding's own limits come first.
  const damo::embedding b =
      open(storage, 0, 1, 21, {{"duplicates", "sum"}, {"clip_value", 3}, {"clip_norm", 4}});
  b.apply_gradients({1, 2}, {9, -1});
  CHECK(b.lookup({1, 2}) == std::vector<float>({-3, 1}));
  step.clear();
  step.add(b, {3, 4});
  step.apply_gradients(std::vector<float>{40, 40});
  CHECK(std::abs(step.gradient_norm() - 4) < 1e-5);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "'clip_row_norm' is 0",
         [&] { open(storage, 0, 1, 22, {{"clip_row_norm", 0}}); });
}

void wrong_gradients_are_skipped(const damo::storage& storage) {
  const damo::embedding a = open(storage, 1, 2, 23, {{"max_norm", 1}});
  damo::step step(storage, {{"non_finite", "skip"}, {"clip_norm", 1e300}});
  CHECK(!step.skipped());
  step.add(a, {7});
  step.apply_gradients(std::vector<float>{0, NAN});
  CHECK(step.skipped() && a.step() == 0 && storage.stat("steps_skipped") == 1);
  step.apply_gradients(std::vector<float>{0, 0});
  CHECK(!step.skipped() && a.step() == 1 && storage.stat("steps_skipped") == 1);
  // A call that fails was not skipped, whoever refuses it.
  const std::vector<float> two(2), three(3);
  const std::vector<damo::row_span<const float>> wide = {{three, 3}};
  const std::vector<std::function<void()>> failing = {
      [&] { step.apply_gradients(three); },
      [&] { step.apply_gradients(wide); },
      [&] { step.apply_gradients_once({1, 1}, three); },
      [&] { step.apply_gradients_once({1, 1}, two, std::vector<std::int64_t>{1, 1}); },
      [&] { step.apply_gradients_once({1, 1}, two, std::vector<std::int64_t>{-2}); },
  };
  for (const auto& fails : failing) {
    step.apply_gradients(std::vector<float>{0, NAN});
    CHECK(step.skipped() && std::isnan(step.gradient_norm()));
    throws(DAMO_STATUS_INVALID_ARGUMENT, "", fails);
    CHECK(!step.skipped());
    throws(DAMO_STATUS_INVALID_ARGUMENT, "the latest call has failed",
           [&] { step.gradient_norm(); });
  }
  const auto skips = storage.stat("steps_skipped");
  CHECK(a.step() == 1 && skips == 6);
  // The row began with the norm sqrt(2).
  CHECK(std::abs(a.lookup({7})[1] - std::sqrt(0.5)) < 1e-6);

  const damo::embedding b = open(storage, 1, 1, 24, {{"non_finite", "skip"}});
  b.apply_gradients({1}, {INFINITY});
  CHECK(b.step() == 0 && storage.stat("steps_skipped") == skips + 1);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "one of 'refuse', 'skip'",
         [&] { open(storage, 1, 1, 24, {{"non_finite", "no"}}); });
}

void what_is_wrong_throws(const damo::storage& storage) {
  const damo::embedding one = open(storage, 1, 1, 8), two = open(storage, 1, 2, 9);
  damo::step step(storage);
  const auto refused = [](const char* words, auto call) {
    throws(DAMO_STATUS_INVALID_ARGUMENT, words, call);
  };
  std::vector<float> four(4), five(5);
  refused("'median'", [&] { step.add(two, {1}, {0}, "median"); });
  refused("weights has 1 floats and keys has 2 keys; one weight a key is needed",
          [&] { step.add(two, {1, 2}, {0}, "sum", {0.5f}); });
  refused("weights", [&] { step.add(two, {1}, {0}, "mean", {0.5f}); });
  refused("offsets[1] is 2", [&] { step.add(two, {1}, {0, 2}); });
  CHECK(step.parts() == 0 && step.width() == 0);

  step.add(one, {1, 2});
  step.add(two, {1});
  refused("damo::step::lookup: matrix: part 0 has 2 rows and part 1 has 1",
          [&] { step.lookup(four); });
  refused("damo::step::apply_gradients: gradients[1] has rows of dim 1 and part 1 has dim 2",
          [&] { step.apply_gradients({{four, 1}, {four, 1}}); });
  refused("parts_len is 1", [&] { step.lookup({{four, 1}}); });
  step.clear();
  step.add(one, {1, 2});
  step.add(one, {3, 4});
  refused("damo::step::peek: matrix has 5 floats; 2 rows x 2 columns are needed",
          [&] { step.peek(five); });
  refused("NaN", [&] { step.apply_gradients({1, 1, 1, NAN}); });
  CHECK(one.step() == 0);
  const damo::embedding again = open(storage, 1, 1, 8);
  refused("embedding", [&] { step.add(again, {1, 2}); });
  // A refused part is in neither: the matrix has two columns still.
  step.lookup(four);
  CHECK(four == std::vector<float>(4, 1));
  const damo::storage other("other");
  refused("storage", [&] { step.add(open(other, 1, 1, 0), {1, 2}); });
  refused("'speed'", [&] { damo::step(storage, {{"speed", 1}}); });
}

int main() {
  const damo::storage storage("storage");
  a_matrix_has_the_parts_side_by_side(storage);
  bags_have_weights_a_last_offset_and_integers_of_any_kind(storage);
  other_layouts_are_spans_of_rows(storage);
  memory_is_used_again(storage);
  gradients_are_clipped(storage);
  wrong_gradients_are_skipped(storage);
  what_is_wrong_throws(storage);
}

// Kernels for callers that divide keys over storages: values, memory that is used again, columns of
// matrices, and what throws.

#include <array>
#include <limits>
#include <thread>

#include "damo.hpp"
#include "support/throws.hpp"

void keys_are_divided() {
  const std::vector<std::int64_t> keys{5, -1, 5, 8, std::numeric_limits<std::int64_t>::min(), -1};
  std::vector<std::uint32_t> owners(keys.size());
  damo::key_shard(keys, 3, owners);
  const damo::partitioned_keys part = damo::keys_partition(keys, 3);
  CHECK(part.keys.size() == 4 && part.starts.size() == 4 && part.occurrences.size() == 4);
  for (std::size_t i = 0; i < keys.size(); i++) {
    CHECK(owners[i] == damo::key_shard(keys[i], 3));
    const std::size_t at = part.positions[i];
    CHECK(part.keys[at] == keys[i]);
    CHECK(part.starts[owners[i]] <= at && at < part.starts[owners[i] + 1]);
  }
  std::size_t all = 0;
  for (std::size_t shard = 0; shard < 3; shard++) all += part.of_shard(shard).size();
  CHECK(all == 4 && part.occurrences[part.positions[0]] == 2);
  // Unsigned keys keep their bits.
  CHECK(damo::key_shard(~std::uint64_t{0}, 1000) == damo::key_shard(-1, 1000));

  // A second batch in the memory of the first.
  damo::partitioned_keys again = damo::keys_partition(keys);
  CHECK(again.keys == (std::vector<std::int64_t>{5, -1, 8, keys[4]}));
  const auto* before = again.keys.data();
  damo::keys_partition({7, 7, 3}, 1, again);
  CHECK((again.keys == std::vector<std::int64_t>{7, 3} && again.keys.data() == before));
  CHECK((again.occurrences == std::vector<std::uint32_t>{2, 1}));
  damo::keys_partition({}, 2, again);
  CHECK(again.keys.empty() && (again.starts == std::vector<std::uint64_t>{0, 0, 0}));
}

// What is sent once counts as often as it occurs.
void occurrences_count() {
  const damo::storage storage("counted");
  const damo::embedding group(storage, damo::optimizer("sgd"), damo::initializer("ones"), 2);
  const damo::partitioned_keys part = damo::keys_partition({5, 6, 5, 5});
  CHECK(group.lookup_counted(part.keys, part.occurrences) == std::vector<float>(4, 1));
  CHECK(storage.stat("rows_read") == 4);
  damo::step step(storage);
  CHECK(step.add_counted(group, part.keys, part.occurrences) == 0 && step.rows() == 2);
  std::vector<float> rows(4);
  step.lookup(rows);
  CHECK(rows == std::vector<float>(4, 1) && storage.stat("rows_read") == 8);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_lookup_counted: occurrences_len is 1",
         [&] { group.lookup_counted({5, 6}, std::vector<std::uint32_t>{2}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "damo_step_add_keys_counted: occurrences[1] of key 6",
         [&] { step.add_counted(group, {5, 6}, std::vector<std::uint32_t>{2, 0}); });
}

// Two features of two columns each, in one matrix, filled by two threads.
void rows_are_columns_of_a_matrix() {
  const std::vector<float> users{1, 2, 3, 4}, items{5, 6, 7, 8};
  const std::vector<std::uint32_t> positions{1, 0, 1};
  std::vector<float> matrix(12, -1);
  const auto columns = [&](std::size_t first) {
    return damo::row_span<float>({matrix.data() + first, matrix.size() - first}, 2, 4);
  };
  std::thread other([&] { damo::rows_gather({users, 2}, positions, columns(0)); });
  damo::rows_gather({items, 2}, positions, columns(2));
  other.join();
  CHECK((matrix == std::vector<float>{3, 4, 7, 8, 1, 2, 5, 6, 3, 4, 7, 8}));
  std::array<float, 6> sums{};
  const damo::span<const float> last(matrix.data() + 2, matrix.size() - 2);
  damo::gradients_sum({last, 2, 4}, positions, {sums, 2});
  CHECK((sums == std::array<float, 6>{5, 6, 14, 16, 0, 0}));
  // Rows that can be written are given where rows are read.
  damo::gradients_sum(columns(2), positions, {sums, 2});
  CHECK((sums == std::array<float, 6>{5, 6, 14, 16, 0, 0}));
}

void what_is_wrong_throws() {
  const std::vector<float> rows{1, 2, 3, 4};
  const std::vector<std::uint32_t> positions{0, 2};
  std::vector<float> outputs(4);
  const auto refused = [](const char* words, auto call) {
    throws(DAMO_STATUS_INVALID_ARGUMENT, words, call);
  };
  refused("positions[1] is 2", [&] { damo::rows_gather({rows, 2}, positions, {outputs, 2}); });
  refused("rows of dim 2 are to become rows of dim 4",
          [&] { damo::rows_gather({rows, 2}, positions, {outputs, 4}); });
  refused("sums has 1 rows", [&] {
    damo::gradients_sum({rows, 2}, positions, {{outputs.data(), 2}, 2});
  });
  refused("shards is 0", [] { damo::key_shard(5, 0); });
  refused("shards is 65537", [] { damo::keys_partition({5}, 65537); });
  refused("-1", [] { damo::keys_partition({5}, -1); });
  std::vector<std::uint32_t> owners(1);
  refused("owners_len is 1", [&] { damo::key_shard({1, 2}, 3, owners); });
}

int main() {
  keys_are_divided();
  occurrences_count();
  rows_are_columns_of_a_matrix();
  what_is_wrong_throws();
}

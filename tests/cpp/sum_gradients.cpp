// embedding::sum_gradients: returned vectors, buffers of the caller, and clipping with it.

#include <algorithm>
#include <cmath>

#include "damo.hpp"
#include "support/throws.hpp"

damo::embedding open(const damo::storage& storage, std::uint32_t group, const char* duplicates) {
  return {storage, damo::optimizer("sgd", {{"gamma", 1}}), damo::initializer("zeros"), 2, group,
          {{"duplicates", duplicates}, {"padding_key", 0}}};
}

void a_batch_is_summed(const damo::storage& storage) {
  const std::vector<std::int64_t> keys{4, 0, 4};
  const std::vector<float> gradients{1, 5, 9, 9, 2, -1};
  const damo::gradient_sums sums = open(storage, 0, "sequential").sum_gradients(keys, gradients);
  CHECK((sums.keys == std::vector<std::int64_t>{4} && sums.sums == std::vector<float>{3, 4}));
  CHECK(sums.norm == 5 && sums.largest == 4);
  const damo::gradient_sums means = open(storage, 1, "mean").sum_gradients(keys, gradients);
  CHECK((means.sums == std::vector<float>{1.5, 2}) && means.norm == 2.5 && means.largest == 2);
  const damo::gradient_sums none = open(storage, 0, "sum").sum_gradients({}, {});
  CHECK(none.keys.empty() && none.sums.empty() && none.norm == 0 && none.largest == 0);
  CHECK(storage.row_count() == 0);
}

// Two batches are added up, and the norm of their sum is clipped to 1, as clip_grad_norm_ does it.
void batches_are_added_up_and_clipped(const damo::storage& storage) {
  const damo::embedding embedding = open(storage, 2, "sum");
  std::vector<std::int64_t> keys{8, 9, 8, 9};
  std::vector<float> gradients{1, 0, 0, 4, 1, 0, 0, 0};
  std::vector<std::int64_t> room_for_keys(6);
  std::vector<float> sums(12, 7);
  damo::summed of = embedding.sum_gradients(keys, gradients, room_for_keys, sums);
  CHECK(of.keys == 2 && of.largest == 4 && sums[4] == 7);
  keys.assign(room_for_keys.begin(), room_for_keys.begin() + 2);
  gradients.assign(sums.begin(), sums.begin() + 4);
  keys.push_back(8);
  gradients.insert(gradients.end(), {1, 0});
  of = embedding.sum_gradients(keys, gradients, room_for_keys, sums);
  CHECK(of.keys == 2 && of.norm == 5);
  const auto scale = static_cast<float>(std::min(1.0, 1 / of.norm));
  std::for_each(sums.begin(), sums.begin() + 4, [&](float& sum) { sum *= scale; });
  embedding.apply_gradients({room_for_keys.data(), of.keys},
                            {sums.data(), of.keys * embedding.dim()});
  const std::vector<float> rows = embedding.lookup({8, 9});
  CHECK(std::abs(rows[0] + 0.6) < 1e-6 && rows[1] == 0 && rows[2] == 0 &&
        std::abs(rows[3] + 0.8) < 1e-6);
}

void what_is_wrong_throws(const damo::storage& storage) {
  const damo::embedding embedding = open(storage, 3, "sum");
  throws(DAMO_STATUS_INVALID_ARGUMENT, "key 6 (position 1, column 0)",
         [&] { embedding.sum_gradients({5, 6}, {1, 1, NAN, 1}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "gradients_len is 3",
         [&] { embedding.sum_gradients({5, 6}, {1, 1, 1}); });
  std::vector<std::int64_t> keys(1);
  std::vector<float> sums(4);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "summed_keys_len is 1",
         [&] { embedding.sum_gradients({5, 6}, {1, 1, 1, 1}, keys, sums); });
}

int main(int, char** argv) {
  const damo::storage storage(std::string(argv[1]) + "/table");
  a_batch_is_summed(storage);
  batches_are_added_up_and_clipped(storage);
  what_is_wrong_throws(storage);
}

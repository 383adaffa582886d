// embedding::begin_lookup and finish_lookup.

#include "damo.hpp"
#include "support/throws.hpp"

#include <utility>

int main() {
  const damo::storage storage("storage");
  const damo::embedding embedding(storage, damo::optimizer("sgd", {{"gamma", 1}}),
                                  damo::initializer("ones"), 2);
  std::vector<std::int64_t> keys(300);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<std::int64_t>(i);
  std::vector<float> weights(600, 9);
  std::vector<std::int64_t> positions(300);

  damo::begun_lookup first = embedding.begin_lookup(keys, weights);
  CHECK(weights == std::vector<float>(600, 0));
  CHECK(embedding.finish_lookup(first, weights, positions) == 300 && positions[299] == 299);
  CHECK(weights == std::vector<float>(600, 1));

  // Rows without a step may be read again.
  embedding.apply_gradients(keys, std::vector<float>(600));
  first = embedding.begin_lookup(keys, weights);
  const damo::begun_lookup second = std::move(first);
  embedding.apply_gradients({5, 299}, {1, 2, 3, 4});
  CHECK(embedding.finish_lookup(second, weights, positions) == 2);
  CHECK(positions[0] == 5 && positions[1] == 299 && weights == embedding.lookup(keys));

  throws(DAMO_STATUS_INVALID_ARGUMENT, "is finished",
         [&] { embedding.finish_lookup(second, weights, positions); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "after it was moved from",
         [&] { embedding.finish_lookup(first, weights, positions); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "weights_len is 3", [&] {
    std::vector<float> few(3);
    embedding.begin_lookup(keys, few);
  });
}

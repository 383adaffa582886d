// damo on OpenMP's threads: a step whose dense part is an OpenMP loop, first beside damo's own
// threads and then with the threads lent to damo.
//
//     train_openmp [DIRECTORY [STEPS]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "damo.hpp"

namespace {

constexpr std::size_t dim = 16, batch = 100000, id_count = 600000;

// Ids of one batch: some are frequent, most are rare.
std::vector<std::int64_t> ids_of(std::uint64_t step) {
  std::vector<std::int64_t> ids(batch);
  std::uint64_t state = step + 1;
  for (std::int64_t& id : ids) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const double share = static_cast<double>(state >> 11) / 9007199254740992.0;
    id = static_cast<std::int64_t>(share * share * static_cast<double>(id_count));
  }
  return ids;
}

// Stands for the dense part of a model: the gradients of the weights.
void dense_part(const std::vector<float>& weights, std::vector<float>& gradients) {
#pragma omp parallel for
  for (std::size_t i = 0; i < weights.size(); i++) {
    float value = weights[i];
    for (int layer = 0; layer < 8; layer++) value = value * 0.5f + 0.01f;
    gradients[i] = value * 1e-3f;
  }
}

double steps_a_second(const damo::embedding& rows, std::uint64_t steps) {
  std::vector<float> weights(batch * dim), gradients(batch * dim);
  const auto began = std::chrono::steady_clock::now();
  for (std::uint64_t step = 0; step < steps; step++) {
    const std::vector<std::int64_t> ids = ids_of(step);
    rows.lookup(ids, weights);
    dense_part(weights, gradients);
    rows.apply_gradients(ids, gradients);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  return static_cast<double>(steps) / took.count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const char* directory, std::uint64_t steps) {
  const damo::storage storage(directory);
  const damo::optimizer adam("adam");
  const damo::initializer normal("random_normal", {{"stddev", 0.01}});
  const damo::embedding rows(storage, adam, normal, dim, /*group=*/0, {{"duplicates", "sum"}});
  steps_a_second(rows, steps);  // makes the rows
  std::vector<double> own, lent;
  for (int turn = 0; turn < 5; turn++) {  // in turns, as other programs may take the cores
    own.push_back(steps_a_second(rows, steps));
    const damo::executor pool(damo::openmp);
    lent.push_back(steps_a_second(rows, steps));
  }
  std::printf("%.1f steps/s with damo's own threads, %.1f with OpenMP's (medians of 5)\n",
              median(own), median(lent));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const long steps = argc > 2 ? std::atol(argv[2]) : 20;
  if (argc > 3 || steps < 1 || (argc > 1 && argv[1][0] == '-')) {
    std::fprintf(stderr, "usage: train_openmp [DIRECTORY [STEPS]]\n");
    return 2;
  }
  try {
    return run(argc > 1 ? argv[1] : "train_openmp.damo", static_cast<std::uint64_t>(steps));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_openmp: %s\n", error.what());
    return 1;
  }
}

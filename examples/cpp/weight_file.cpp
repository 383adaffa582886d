#include "weight_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace {

template <class T>
void put(std::ostream& out, T value) {
  char bytes[sizeof(T)];
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes[i] = static_cast<char>((value >> (8 * i)) & 0xff);
  }
  out.write(bytes, sizeof(T));
}

void put_float(std::ostream& out, float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  put(out, bits);
}

// peek returns the weights in the order of the keys, hence sorted, and says which keys have a row.
void put_group(std::ostream& out, std::uint32_t group, const damo::embedding& embedding,
               const std::vector<std::int64_t>& keys) {
  const std::size_t dim = embedding.dim();
  std::vector<float> weights(keys.size() * dim);
  std::vector<std::uint8_t> found(keys.size());
  embedding.peek(keys, weights, found);

  put(out, group);
  put(out, static_cast<std::uint32_t>(dim));
  put(out, static_cast<std::uint64_t>(
               std::count_if(found.begin(), found.end(), [](auto f) { return f != 0; })));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (found[i] == 0) continue;
    put(out, static_cast<std::uint64_t>(keys[i]));
    for (std::size_t f = 0; f < dim; ++f) put_float(out, weights[i * dim + f]);
  }
}

}  // namespace

void check_weight_file(const std::string& path) {
  errno = 0;
  if (!std::ofstream(path, std::ios::binary | std::ios::app)) {
    throw std::runtime_error(path + ": " +
                             (errno != 0 ? std::strerror(errno) : "cannot be written"));
  }
}

void save_weights(const std::string& path, const factorization_machine& model,
                  const click_log& log) {
  std::vector<std::int64_t> keys = log.keys;
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());

  errno = 0;
  std::ofstream out(path, std::ios::binary);
  std::vector<std::int64_t> linear_keys{bias_key};  // below all others, so still ascending
  linear_keys.insert(linear_keys.end(), keys.begin(), keys.end());
  put_group(out, linear_group, model.linear(), linear_keys);
  put_group(out, factor_group, model.factors(), keys);
  out.close();
  if (!out) {
    throw std::runtime_error(path + ": " +
                             (errno != 0 ? std::strerror(errno) : "cannot be written"));
  }
}

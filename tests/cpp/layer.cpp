// damo.hpp: values in and out, ownership, exceptions, views. The behaviour behind it is tested
// elsewhere.

#include "damo.hpp"

#include <array>
#include <type_traits>

#include "support/throws.hpp"

static_assert(!std::is_copy_constructible_v<damo::storage> &&
              std::is_move_constructible_v<damo::storage>);
static_assert(!std::is_copy_constructible_v<damo::embedding> &&
              std::is_move_assignable_v<damo::embedding>);
static_assert(!std::is_convertible_v<std::vector<double>&, damo::span<float>>,
              "an element type is never changed");
static_assert(!std::is_convertible_v<const std::vector<float>&, damo::span<float>>,
              "const stays const");
static_assert(std::is_convertible_v<std::vector<float>&, damo::span<const float>>);
static_assert(std::is_convertible_v<std::vector<float>, damo::span<const float>>,
              "a temporary may be read");
static_assert(!std::is_convertible_v<std::vector<float>, damo::span<float>>, "but not written to");
enum color { red };
static_assert(!std::is_convertible_v<int*, damo::value> &&
                  !std::is_convertible_v<color, damo::value>,
              "neither is a bool");

void params_carry_every_type() {
  const damo::params params{{"a", 1}, {"b", 2.5}, {"c", true}, {"d", "text"},
                            {"e", std::string("more")}, {"f", 3u}, {"g", std::int64_t{-4}},
                            {"h", 0.5f}};
  CHECK(params.json() == R"({"a":1,"b":2.5,"c":true,"d":"text","e":"more","f":3,"g":-4,"h":0.5})");
  throws(DAMO_STATUS_INVALID_ARGUMENT, "18446744073709551615",
         [] { damo::params{{"a", UINT64_MAX}}; });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "key is empty", [] { damo::params{{"", 1}}; });
}

void leaves_answer() {
  std::array<float, 3> weights{};
  damo::initializer("constant", {{"value", 2}}).fill(0, 7, weights);
  CHECK(weights[0] == 2 && weights[2] == 2);

  const damo::scheduler halving("exponential_decay", {{"decay_steps", 10}, {"decay_rate", 0.5}});
  CHECK(halving.rate(1.0, 20) == 0.25);

  damo::optimizer adagrad("adagrad", {{"gamma", 1}}, halving);
  CHECK(adagrad.row_len(3) == 6);
  CHECK(adagrad.learning_rate() == 1);
  adagrad.set_learning_rate(2);
  std::vector<float> row{0, 0};
  const std::vector<float> gradient{3};
  adagrad.apply(row, gradient, 10);  // the rate is 2 * 0.5 by then
  CHECK(row[0] == -1 && row[1] == 9);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "'gama'", [] { damo::optimizer("sgd", {{"gama", 1}}); });
}

damo::embedding open(const std::string& dir, std::uint32_t group) {
  // Everything but the embedding is freed when this returns; the storage stays open for it.
  return {damo::storage(dir), damo::optimizer("sgd", {{"gamma", 0.5}}), damo::initializer("ones"),
          2, group, {{"duplicates", "sum"}, {"padding_key", 0}}};
}

void an_embedding_trains(const std::string& dir) {
  damo::embedding embedding = open(dir, 3);
  const std::vector<std::int64_t> keys{4, 0, 4, 9};
  CHECK((embedding.lookup(keys) == std::vector<float>{1, 1, 0, 0, 1, 1, 1, 1}));
  embedding.apply_gradients(keys, {1, 2, 9, 9, 1, 2, 4, 4});
  std::vector<float> weights(8);
  std::vector<std::uint8_t> found(4);
  embedding.peek(keys, weights, found);
  CHECK((weights == std::vector<float>{0, -1, 0, 0, 0, -1, -1, -1}));
  CHECK((found == std::vector<std::uint8_t>{1, 0, 1, 1}));
  CHECK(embedding.step() == 1 && embedding.dim() == 2 && embedding.group() == 3);

  const damo::record record = embedding.record(4);
  CHECK(record.update_num == 1 && record.update_time > 1700000000000 &&
        (record.data == std::vector<float>{0, -1}));
  embedding.insert({4}, {7, 8});
  CHECK((embedding.record(4).data == std::vector<float>{7, 8}) &&
        embedding.record(4).update_num == 0);
  embedding.erase({4});
  throws(DAMO_STATUS_NOT_FOUND, "key 4", [&] { embedding.record(4); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "weights_len is 7", [&] {
    std::vector<float> short_by_one(7);
    embedding.lookup(keys, short_by_one);
  });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "found has 0 bytes", [&] {
    std::vector<std::uint8_t> reserved;
    reserved.reserve(64);  // its data() is not null
    embedding.peek(keys, weights, reserved);
  });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "has a NUL inside",
         [&] { damo::storage(dir + std::string("\0x", 2)); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "after it was moved from", [] {
    damo::params params{{"gamma", 1}};
    const damo::params taken = std::move(params);
    damo::optimizer("sgd", params);
  });
  embedding.peek({4, 9}, weights = std::vector<float>(4));
  throws(DAMO_STATUS_INVALID_ARGUMENT, "found has 3 bytes", [&] {
    std::vector<std::uint8_t> three(3);
    embedding.peek(keys, weights, three);
  });
  embedding.clear();
  CHECK(embedding.step() == 0);
  throws(DAMO_STATUS_NOT_FOUND, "key 9", [&] { embedding.record(9); });
  CHECK((embedding.lookup({4, 9}) == std::vector<float>{1, 1, 1, 1}));
  embedding.set_step(40);

  damo::embedding moved = std::move(embedding);
  CHECK(moved.step() == 40);
  throws(DAMO_STATUS_BUSY, dir.c_str(), [&] { damo::storage again(dir); });
  moved = open(dir + "/other", 0);  // closes the first storage
  const damo::storage again(dir);
  CHECK(again.stat("groups") == 1);
  again.flush();
}

void groups_have_names(const std::string& dir) {
  const damo::storage storage(dir);
  const damo::optimizer sgd("sgd");
  const damo::initializer ones("ones");
  const damo::embedding first(storage, sgd, ones, 2, 0);
  const damo::embedding users(storage, sgd, ones, 2, damo::group_by_name, {{"name", "user"}});
  const damo::embedding again(storage, sgd, ones, 2, damo::group_by_name, {{"name", "user"}});
  CHECK(users.group() == 1 && again.group() == 1);
  users.insert({4}, {7, 8});
  CHECK((again.lookup({4}) == std::vector<float>{7, 8}) && again.record(4).group == 1);
  throws(DAMO_STATUS_ALREADY_EXISTS, "'user' is group 1", [&] {
    damo::embedding(storage, sgd, ones, 2, 0, {{"name", "user"}});
  });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "the option name", [&] {
    damo::embedding(storage, sgd, ones, 2, damo::group_by_name);
  });
  const std::string described = storage.describe();
  CHECK(described.find("\"checkpoint\":null") != std::string::npos);
  CHECK(described.find("{\"group\":1,\"name\":\"user\",\"dim\":2") != std::string::npos);
  CHECK(described.back() == '}');
}

void a_filter_admits(const std::string& scratch) {
  const std::string path = scratch + "/filter";
  damo::embedding embedding = open(scratch + "/admitted", 3);
  {
    const damo::filter filter({{"path", path}, {"capacity", 1000}, {"count", 2}});
    filter.add(3, 4);
    CHECK(!filter.check(3, 4));
    filter.add(3, {4, 5});
    std::vector<std::uint8_t> admitted(2);
    filter.check(3, {4, 5}, admitted);
    CHECK((admitted == std::vector<std::uint8_t>{1, 0}));
    filter.add(3, 6, 15);
    CHECK(filter.check(3, 6) && !filter.check(4, 6));
    filter.sync();
    embedding.set_filter(filter);
  }
  throws(DAMO_STATUS_BUSY, path.c_str(),
         [&] { damo::filter({{"path", path}, {"capacity", 1000}, {"count", 2}}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "'path'", [] { damo::filter(damo::params{}); });
  CHECK((embedding.lookup({4, 7}) == std::vector<float>{1, 1, 1, 1}));
  embedding.apply_gradients({4, 7}, {2, 2, 2, 2});
  // 7 comes for the third time.
  CHECK((embedding.lookup({4, 7, 7}) == std::vector<float>{0, 0, 1, 1, 1, 1}));
  CHECK(embedding.record(7).update_num == 0);
  embedding.set_filter(nullptr);
  CHECK((embedding.lookup({8}) == std::vector<float>{1, 1}) && embedding.record(8).update_num == 0);
  const damo::filter again({{"path", path}, {"capacity", 1000}, {"count", 2}});
  CHECK(again.check(3, 7) && !again.check(3, 8));
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  CHECK(std::string(damo::version()) == damo_version());
  params_carry_every_type();
  leaves_answer();
  an_embedding_trains(std::string(argv[1]) + "/storage");
  groups_have_names(std::string(argv[1]) + "/named");
  a_filter_admits(argv[1]);
  return 0;
}

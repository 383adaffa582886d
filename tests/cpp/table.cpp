// damo::table: values in and out, ownership, exceptions, views. The behaviour behind it is tested
// elsewhere.

#include "damo.hpp"

#include <type_traits>

#include "support/throws.hpp"

static_assert(!std::is_copy_constructible_v<damo::table> &&
              std::is_move_constructible_v<damo::table>);

int main(int argc, char** argv) {
  CHECK(argc == 2);
  const std::string golden = TESTS_DIR "/golden/tables/", merged = std::string(argv[1]) + "/merged";
  const damo::table base(golden + "base.table");
  CHECK(base.number() == 1 && base.dim(0) == 2 && base.rows(0) == 3 && base.rows(7) == 0);
  CHECK((base.lookup(0, {2, 99, 1}) == std::vector<float>{1.5, 2.5, 0, 0, 0.5, -0.5}));
  std::vector<float> weights(4, 9.0f);
  base.lookup(0, {-7, 3}, weights);
  CHECK((weights == std::vector<float>{4, 8, 0, 0}));
  std::vector<std::uint8_t> found(2);
  base.lookup(0, {3, -7}, weights, found);
  CHECK((weights == std::vector<float>{0, 0, 4, 8}) && (found == std::vector<std::uint8_t>{0, 1}));

  damo::table::merge(golden + "base.table", golden + "increment.table", merged);
  damo::table moved(merged);
  damo::table table = std::move(moved);
  CHECK(table.number() == 2 && (table.lookup(7, {5}) == std::vector<float>{1, 2, 3}));

  throws(DAMO_STATUS_NOT_FOUND, "groups 0, 7", [&] { base.lookup(8, {1}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "weights_len is 4", [&] { base.lookup(0, {1}, weights); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "found has 2 bytes",
         [&] { base.lookup(0, {1, 2, 3}, weights, found); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "is an increment",
         [&] { damo::table(golden + "increment.table"); });
  throws(DAMO_STATUS_NOT_FOUND, "no.table", [&] { damo::table(golden + "no.table"); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "has a NUL inside",
         [&] { damo::table(golden + std::string("\0x", 2)); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "after it was moved from", [&] { moved.number(); });
  return 0;
}

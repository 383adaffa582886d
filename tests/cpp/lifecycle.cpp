// damo.hpp: dumps with progress, checkpoints, iteration. The behaviour behind it is tested
// elsewhere.

#include "damo.hpp"

#include <filesystem>
#include <functional>
#include <type_traits>

#include "support/throws.hpp"

static_assert(!std::is_copy_constructible_v<damo::iterator> &&
              std::is_move_constructible_v<damo::iterator>);
static_assert(
    std::is_same_v<std::iterator_traits<damo::iterator::place>::value_type, damo::record>);

damo::embedding embed(const damo::storage& storage, std::uint32_t group) {
  return {storage, damo::optimizer("adagrad", {{"gamma", 0.5}}), damo::initializer("ones"), 2,
          group};
}

// What the caller's function throws: derived from nothing.
struct stop {
  std::uint64_t rows;
};

void dumps(const damo::storage& storage, const damo::embedding& embedding,
           const std::string& path) {
  std::vector<std::int64_t> keys(20000);
  for (std::size_t i = 0; i < keys.size(); i++) keys[i] = static_cast<std::int64_t>(i);
  embedding.lookup(keys);
  embedding.apply_gradients({8}, {1, 1});
  const damo::params table{{"format", "table"}};
  const damo::dumped first = storage.dump(path, table);
  CHECK(first.rows == 20000 && first.removed == 0);
  CHECK((damo::table(path).lookup(3, {19999}) == std::vector<float>{1, 1}));
  CHECK(damo::table(path).number() == first.number);

  // Progress functions that return nothing, bool and a number: a lambda, a function object, a const
  // one.
  std::uint64_t told = 0, calls = 0;
  storage.dump(path, table, [&](std::uint64_t rows, std::uint64_t rows_estimate) {
    CHECK(rows > told && rows <= rows_estimate);
    told = rows;
    calls++;
  });
  CHECK(told == 20000 && calls > 1);
  const std::function<bool(std::uint64_t, std::uint64_t)> go_on = [](std::uint64_t, std::uint64_t) {
    return true;
  };
  CHECK(storage.dump(path, {{"format", "table"}, {"min_count", 1}}, go_on).rows == 1);
  throws(DAMO_STATUS_CANCELLED, "progress returned false",
         [&] { storage.dump(path, table, [](std::uint64_t, std::uint64_t) { return 0; }); });
  CHECK(damo::table(path).rows(3) == 1);

  // An exception comes out as it is, and the dump that it ended leaves nothing.
  calls = 0;
  try {
    storage.dump(path + ".never", table, [&](std::uint64_t rows, std::uint64_t) {
      if (++calls == 2) throw stop{rows};
    });
    CHECK(!"reached");
  } catch (const stop& caught) {
    CHECK(calls == 2 && caught.rows > 0 && caught.rows < 20000);
  }
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(path).parent_path())) {
    CHECK(entry.path().string().find("never") == std::string::npos);
  }
  try {
    storage.dump(path, table, std::function<bool(std::uint64_t, std::uint64_t)>());
    CHECK(!"reached");
  } catch (const std::bad_function_call&) {
  }

  embedding.erase({5, 6, 7});
  embedding.apply_gradients({8}, {1, 1});
  embedding.lookup({30000});
  const damo::dumped next =
      storage.dump(path, {{"format", "table"}, {"since", static_cast<std::int64_t>(first.number)}});
  CHECK(next.rows == 2 && next.removed == 3 && next.number > first.number);

  CHECK(storage.dump(path, {{"min_count", 1}}).rows == 1);  // classic
  CHECK(std::filesystem::file_size(path) == 256 * 12 + 12 + 8);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "'formt'",
         [&] { storage.dump(path, {{"formt", "table"}}); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "has a NUL inside",
         [&] { storage.dump(path + std::string("\0x", 2)); });
}

void iterates(const damo::storage& storage) {
  const damo::embedding one = embed(storage, 1), two = embed(storage, 2);
  one.apply_gradients({-4, 9}, {1, 1, 2, 2});
  two.lookup({9});
  std::vector<std::pair<std::uint32_t, std::int64_t>> seen;
  for (const damo::record& row : damo::iterator(storage)) {
    if (row.group == 3) break;
    seen.emplace_back(row.group, row.key);
    CHECK(row.dim == 2 && row.data.size() == 4 && row.update_time > 1700000000000);
    const damo::record stored = (row.group == 1 ? one : two).record(row.key);
    CHECK(stored.group == row.group && stored.key == row.key && stored.dim == 2 &&
          stored.data == row.data);
    CHECK(stored.update_num == row.update_num && stored.update_time == row.update_time);
  }
  CHECK((seen == std::vector<std::pair<std::uint32_t, std::int64_t>>{{1, -4}, {1, 9}, {2, 9}}));

  damo::iterator rows(storage, 1);
  damo::iterator moved = std::move(rows);
  damo::record row;
  CHECK(moved.next(row) && row.key == -4);
  one.erase({9});  // later than its moment
  CHECK(moved.begin()->key == 9);
  CHECK(moved.begin() == moved.end() && !moved.next(row) && row.key == -4);
  throws(DAMO_STATUS_INVALID_ARGUMENT, "after it was moved from", [&] { rows.next(row); });
  throws(DAMO_STATUS_NOT_FOUND, "group 8", [&] { damo::iterator none(storage, 8); });
  CHECK(storage.row_count(1) == 1 && storage.row_count() == 2 + 19998);
  CHECK(storage.verify() == storage.row_count());
  throws(DAMO_STATUS_NOT_FOUND, "group 8", [&] { storage.row_count(8); });
}

// The iterator keeps its storage open.
damo::iterator outlives(const std::string& dir) {
  const damo::storage storage(dir);
  return damo::iterator(storage, 2);
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  const std::string scratch = argv[1], checkpoint = scratch + "/checkpoint";
  {
    const damo::storage storage(scratch + "/storage");
    const damo::embedding embedding = embed(storage, 3);
    dumps(storage, embedding, scratch + "/dump");
    iterates(storage);
    const damo::record before = embedding.record(8);
    storage.checkpoint(checkpoint);
    throws(DAMO_STATUS_ALREADY_EXISTS, checkpoint.c_str(), [&] { storage.checkpoint(checkpoint); });
    embedding.apply_gradients({8}, {1, 1});
    {
      damo::iterator rows(storage);
      throws(DAMO_STATUS_BUSY, "iterator", [&] { storage.load_from_checkpoint(checkpoint); });
    }
    storage.load_from_checkpoint(checkpoint);
    CHECK(embedding.record(8).data == before.data &&
          embedding.record(8).update_num == before.update_num);
    throws(DAMO_STATUS_NOT_FOUND, "missing",
           [&] { storage.load_from_checkpoint(scratch + "/missing"); });
  }
  damo::iterator last = outlives(checkpoint);
  throws(DAMO_STATUS_BUSY, "checkpoint", [&] { damo::storage again(checkpoint); });
  damo::record row;
  CHECK(last.next(row) && row.group == 2 && row.key == 9 && !last.next(row));
  last = outlives(scratch + "/storage");
  CHECK(last.next(row) && row.data[0] == 1);
  return 0;
}

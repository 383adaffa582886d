// damo::storage::import_file and counted dumps, on files that releases of damo-embedding wrote.

#include "damo.hpp"

#include "support/throws.hpp"

int main(int argc, char** argv) {
  CHECK(argc == 2);
  const std::string fixtures = TESTS_DIR "/import/fixtures/", folder = argv[1];
  const damo::optimizer sgd("sgd", {{"gamma", 0.125}});
  const damo::initializer zeros("zeros");
  for (const std::string release : {"1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12"}) {
    const damo::storage storage(folder + "/" + release);
    const damo::embedding rows(storage, sgd, zeros, 3, 0);
    const damo::imported done = storage.import_file(fixtures + release + "/sgd3.checkpoint");
    CHECK(done.imported == 5 && done.refused == 0);
    const char* header = release == "1.1.12" ? "\"value_header\":40" : "\"value_header\":32";
    CHECK(storage.import_report().find(header) != std::string::npos);
    CHECK((rows.lookup({2}) == std::vector<float>{0.0859375f, -0.09375f, 0.125f}));

    // A dump has the same weights, and what is dumped counted comes in again.
    const std::string theirs = fixtures + release + "/sgd3.dump",
                      ours = folder + "/" + release + ".dump";
    CHECK(storage.import_file(theirs, {{"group", 0}}).imported == 5);
    CHECK(storage.dump(ours, {{"format", "counted"}}).rows == 5);
    CHECK(storage.import_file(ours, {{"format", "counted"}}).imported == 5);
    CHECK((rows.lookup({2}) == std::vector<float>{0.0859375f, -0.09375f, 0.125f}));

    throws(DAMO_STATUS_INVALID_ARGUMENT, "its dim is 1; the group has 3",
           [&] { storage.import_file(fixtures + release + "/sgd1.checkpoint"); });
    throws(DAMO_STATUS_CORRUPTION, "classic dump",
           [&] { storage.import_file(ours, {{"format", "classic"}}); });
    throws(DAMO_STATUS_INVALID_ARGUMENT, "header_groups", [&] {
      storage.import_file(theirs, {{"format", "counted"}, {"header_groups", 8}});
    });
    throws(DAMO_STATUS_INVALID_ARGUMENT, "formt",
           [&] { storage.import_file(theirs, {{"formt", "counted"}}); });
  }
  return 0;
}

/* compare DIR OTHER: fails unless two storages have the same rows, bit by bit, with optimizer state
   and counts. */
#include "../c/check.h"

struct row {
  bool found;
  uint32_t group;
  int64_t key, time, updates;
  size_t dim, len;
  const float *data;
};

static damo_storage *storages[2];
static damo_iterator *rows[2];

static struct row next(int index) {
  struct row row = {0};
  CHECK_OK(damo_iterator_next(rows[index], &row.found, &row.group, &row.key, &row.time,
                              &row.updates, &row.dim, &row.data, &row.len));
  return row;
}

int main(int argc, char **argv) {
  damo_params *options = damo_params_new();
  long count = 0;
  int index;
  CHECK(argc == 3);
  CHECK_OK(damo_params_set_bool(options, "read_only", true));
  for (index = 0; index < 2; index++) {
    storages[index] = damo_storage_new(argv[index + 1], 0, options);
    CHECK(storages[index] != NULL);
    rows[index] = damo_iterator_new(storages[index], DAMO_ALL_GROUPS);
    CHECK(rows[index] != NULL);
  }
  for (;; count++) {
    const struct row a = next(0), b = next(1);
    CHECK(a.found == b.found);
    if (!a.found) break;
    CHECK(a.group == b.group && a.key == b.key && a.updates == b.updates && a.dim == b.dim &&
          a.len == b.len);
    CHECK(memcmp(a.data, b.data, a.len * sizeof *a.data) == 0);
  }
  CHECK(count > 0);
  printf("%ld rows are the same\n", count);
  for (index = 0; index < 2; index++) {
    damo_iterator_free(rows[index]);
    damo_storage_free(storages[index]);
  }
  damo_params_free(options);
  return 0;
}

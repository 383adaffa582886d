/* look DIR: opens DIR with read_only again and again while other processes train it, until DIR.done
   exists, and prints how often. Each look reads every file and must not find fewer rows than the
   one before, whatever is written, merged, opened and closed in the meantime. Exits with 0 if the
   last look finds all rows. */
#define _GNU_SOURCE
#include <unistd.h>

#include "../c/check.h"
#include "train.h"

/* Returns the number of rows, or -1 if the storage does not exist yet. */
static int64_t look(const char *dir, damo_params *options) {
  damo_storage *storage = damo_storage_new(dir, 0, options);
  uint64_t rows = 0;
  if (storage == NULL) {
    CHECK(damo_last_error_code() == DAMO_STATUS_NOT_FOUND);
    return -1;
  }
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows));
  CHECK(rows <= ROWS);
  /* Reads every file again, also those that were merged away in the meantime. */
  CHECK_OK(damo_storage_verify(storage, NULL));
  damo_storage_free(storage);
  return (int64_t)rows;
}

int main(int argc, char **argv) {
  char done[4096];
  long looks = 0, seen = 0;
  int64_t rows, last = -1;
  damo_params *options = damo_params_new();
  const pid_t parent = getppid();
  CHECK(argc == 2);
  snprintf(done, sizeof done, "%s.done", argv[1]);
  CHECK_OK(damo_params_set_bool(options, "read_only", true));
  /* Ends also when the process that started it was killed. */
  while (access(done, F_OK) != 0 && getppid() == parent) {
    rows = look(argv[1], options);
    /* Once the storage exists it stays, and no row goes. */
    CHECK(rows >= last);
    last = rows;
    looks++;
    seen += rows > 0;
    usleep(10000);
  }
  CHECK(look(argv[1], options) == ROWS);
  printf("%ld looks while it was trained, %ld of them at rows\n", looks, seen);
  damo_params_free(options);
  return 0;
}

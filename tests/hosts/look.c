/* look DIR: opens DIR with read_only again and again while another process trains it, until
   DIR.done is there, and says how often. It ends with 0 if it has seen rows. */
#define _GNU_SOURCE
#include <unistd.h>

#include "../c/check.h"
#include "train.h"

/* A merge may have removed a file since the storage was opened here: IO, and one looks again. */
static long gone;
static bool looked(damo_status status) {
  if (status == DAMO_STATUS_IO && strstr(damo_last_error_message(), "No such file") != NULL) {
    gone++;
    return false;
  }
  CHECK(status == DAMO_STATUS_OK);
  return true;
}

static long look(const char *dir, damo_params *options) {
  damo_storage *storage = damo_storage_new(dir, 0, options);
  uint64_t rows = 0;
  if (storage == NULL) {
    /* It is not there yet, or just being made. */
    CHECK(damo_last_error_code() == DAMO_STATUS_NOT_FOUND || damo_last_error_code() == DAMO_STATUS_BUSY);
    return 0;
  }
  if (!looked(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows)) || !looked(damo_storage_verify(storage, NULL)))
    rows = 0;
  CHECK(rows <= ROWS);
  damo_storage_free(storage);
  return rows > 0;
}

int main(int argc, char **argv) {
  char done[4096];
  long looks = 0, seen = 0;
  damo_params *options = damo_params_new();
  CHECK(argc == 2);
  snprintf(done, sizeof done, "%s.done", argv[1]);
  CHECK_OK(damo_params_set_bool(options, "read_only", true));
  while (access(done, F_OK) != 0) {
    seen += look(argv[1], options);
    looks++;
    usleep(10000);
  }
  printf("%ld looks while it was trained, %ld of them at rows, %ld at a file that had just been merged\n", looks, seen, gone);
  gone = 0;
  CHECK(look(argv[1], options) > 0 && gone == 0);
  damo_params_free(options);
  return 0;
}

/* Serving tables through the C interface: lookups, merging, misuse, forked children. The files are
   those in tests/golden. */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const char *const base_path = TESTS_DIR "/golden/tables/base.table";
static const char *const increment_path = TESTS_DIR "/golden/tables/increment.table";
static const int64_t keys[4] = {2, 99, -7, 1};

static void check_base(const damo_table *table) {
  float weights[8];
  uint8_t found[4];
  CHECK_OK(damo_table_lookup(table, 0, keys, 4, weights, 8, found));
  CHECK(found[0] == 1 && found[1] == 0 && found[2] == 1 && found[3] == 1);
  CHECK(weights[0] == 1.5f && weights[1] == 2.5f && weights[2] == 0 && weights[3] == 0);
  CHECK(weights[4] == 4 && weights[5] == 8 && weights[6] == 0.5f && weights[7] == -0.5f);
}

static void *look_up(void *table) {
  int i;
  for (i = 0; i < 20000; i++) check_base(table);
  return NULL;
}

static void refuses(damo_table *table, const char *scratch) {
  float weights[8] = {7, 7, 7, 7, 7, 7, 7, 7};
  uint8_t found[4] = {7, 7, 7, 7};
  uint64_t number = 7;
  size_t dim = 7;
  char path[4096];
  int i;
  CHECK_NULL(damo_table_open(NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_table_open",
             "path is NULL");
  CHECK_NULL(damo_table_open(""), DAMO_STATUS_INVALID_ARGUMENT, "path is empty");
  CHECK_NULL(damo_table_open(scratch), DAMO_STATUS_INVALID_ARGUMENT, scratch, "is a directory");
  CHECK_NULL(damo_table_open("/nowhere/t"), DAMO_STATUS_NOT_FOUND, "'/nowhere/t'", "No such file");
  CHECK_NULL(damo_table_open(__FILE__), DAMO_STATUS_INVALID_ARGUMENT, __FILE__,
             "does not begin as a table does");
  CHECK_NULL(damo_table_open(increment_path), DAMO_STATUS_INVALID_ARGUMENT, "is an increment",
             "since number 1", "damo_table_merge");

  CHECK_FAILS(damo_table_lookup(NULL, 0, keys, 4, weights, 8, found), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_table_lookup", "table is NULL");
  CHECK_FAILS(damo_table_lookup(table, 0, NULL, 4, weights, 8, found), DAMO_STATUS_INVALID_ARGUMENT,
              "keys is NULL", "4");
  CHECK_FAILS(damo_table_lookup(table, 0, keys, 4, NULL, 8, found), DAMO_STATUS_INVALID_ARGUMENT,
              "weights is NULL");
  CHECK_FAILS(damo_table_lookup(table, 0, keys, 4, weights, 7, found), DAMO_STATUS_INVALID_ARGUMENT,
              "weights_len is 7", "keys_len is 4", "dim 2 of group 0 = 8 floats");
  CHECK_FAILS(damo_table_lookup(table, 0, keys, SIZE_MAX, weights, 8, found),
              DAMO_STATUS_INVALID_ARGUMENT, "18446744073709551615");
  CHECK_FAILS(damo_table_lookup(table, 0, keys, 4, weights, 8, (uint8_t *)weights),
              DAMO_STATUS_INVALID_ARGUMENT, "overlap");
  CHECK_FAILS(
      damo_table_lookup(table, 0, (const int64_t *)(const void *)weights, 4, weights, 8, NULL),
      DAMO_STATUS_INVALID_ARGUMENT, "overlap");
  CHECK_FAILS(damo_table_lookup(table, 1, keys, 4, weights, 8, found), DAMO_STATUS_NOT_FOUND,
              "group is 1", "groups 0, 7");
  CHECK_FAILS(damo_table_lookup(table, 65536, keys, 4, weights, 8, found), DAMO_STATUS_NOT_FOUND,
              "group is 65536");
  CHECK_FAILS(damo_table_dim(NULL, 0, &dim), DAMO_STATUS_INVALID_ARGUMENT, "damo_table_dim",
              "table is NULL");
  CHECK_FAILS(damo_table_dim(table, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "dim is NULL");
  CHECK_FAILS(damo_table_dim(table, 3, &dim), DAMO_STATUS_NOT_FOUND, "group is 3");
  CHECK_FAILS(damo_table_rows(table, 3, &number), DAMO_STATUS_NOT_FOUND, "damo_table_rows",
              "group is 3");
  CHECK_FAILS(damo_table_rows(table, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "rows is NULL");
  CHECK_FAILS(damo_table_number(NULL, &number), DAMO_STATUS_INVALID_ARGUMENT, "damo_table_number",
              "table is NULL");
  CHECK_FAILS(damo_table_number(table, NULL), DAMO_STATUS_INVALID_ARGUMENT, "number is NULL");
  CHECK(dim == 7 && number == 7);
  for (i = 0; i < 8; i++) CHECK(weights[i] == 7 && found[i / 2] == 7);
  CHECK_OK(damo_table_lookup(table, 0, NULL, 0, NULL, 0, NULL));

  snprintf(path, sizeof path, "%s/merged", scratch);
  CHECK_FAILS(damo_table_merge(NULL, increment_path, path), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_table_merge", "base is NULL");
  CHECK_FAILS(damo_table_merge(base_path, NULL, path), DAMO_STATUS_INVALID_ARGUMENT,
              "increment is NULL");
  CHECK_FAILS(damo_table_merge(base_path, increment_path, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "path is NULL");
  CHECK_FAILS(damo_table_merge(base_path, increment_path, scratch), DAMO_STATUS_INVALID_ARGUMENT,
              "is a directory");
  CHECK_FAILS(damo_table_merge(base_path, base_path, path), DAMO_STATUS_INVALID_ARGUMENT,
              "is a whole table");
  CHECK_FAILS(damo_table_merge(increment_path, increment_path, path), DAMO_STATUS_INVALID_ARGUMENT,
              "is an increment");
  CHECK_FAILS(damo_table_merge(base_path, increment_path, "/nowhere/t"), DAMO_STATUS_IO,
              "'/nowhere/t' cannot be created");
  damo_table_free(NULL);
}

/* Merges an increment; a second time, which is a gap; and onto a full disk. */
static void merges(const char *scratch) {
  char path[4096], other[4096];
  float weights[8];
  uint8_t found[4];
  uint64_t value;
  struct stat status;
  struct rlimit limit, unlimited;
  damo_table *table;
  snprintf(path, sizeof path, "%s/merged", scratch);
  snprintf(other, sizeof other, "%s/other", scratch);
  CHECK_OK(damo_table_merge(base_path, increment_path, path));
  CHECK_FAILS(damo_table_merge(path, increment_path, path), DAMO_STATUS_INVALID_ARGUMENT,
              "has number 2", "since number 1");
  table = damo_table_open(path);
  CHECK(table != NULL);
  CHECK_OK(damo_table_number(table, &value));
  CHECK(value == 2);
  CHECK_OK(damo_table_lookup(table, 0, keys, 4, weights, 8, found));
  CHECK(found[0] == 1 && found[1] == 0 && found[2] == 0 && found[3] == 1);
  CHECK(weights[0] == 3 && weights[1] == 3 && weights[4] == 0 && weights[5] == 0 &&
        weights[6] == 0.5f);
  CHECK_OK(damo_table_rows(table, 7, &value));
  CHECK(value == 1);

  signal(SIGXFSZ, SIG_IGN);
  CHECK(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  limit = unlimited;
  limit.rlim_cur = 200;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_FAILS(damo_table_merge(base_path, increment_path, other), DAMO_STATUS_IO,
              "damo_table_merge", other, "File too large");
  CHECK_FAILS(damo_table_merge(base_path, increment_path, path), DAMO_STATUS_IO, path,
              "cannot be written");
  CHECK(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  CHECK(stat(other, &status) != 0);
  snprintf(other, sizeof other, "%s/.other.partial", scratch);
  CHECK(stat(other, &status) != 0);
  damo_table_free(table);
  table = damo_table_open(path); /* as it was */
  CHECK(table != NULL);
  damo_table_free(table);
}

int main(int argc, char **argv) {
  pthread_t threads[4];
  uint64_t value;
  size_t dim;
  int i, status = 0;
  pid_t child;
  damo_table *table = damo_table_open(base_path), *again = damo_table_open(base_path);
  CHECK(argc == 2);
  CHECK(table != NULL && again != NULL);
  check_base(table);
  CHECK_OK(damo_table_dim(table, 7, &dim));
  CHECK_OK(damo_table_rows(table, 0, &value));
  CHECK(dim == 3 && value == 3);
  CHECK_OK(damo_table_number(table, &value));
  CHECK(value == 1);
  damo_table_free(table);
  check_base(again);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, look_up, again) == 0);
  refuses(again, argv[1]);
  for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  merges(argv[1]);

  /* Servers fork: a child uses what its parent has opened, and opens tables itself. */
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    check_base(again);
    table = damo_table_open(base_path);
    CHECK(table != NULL);
    check_base(table);
    damo_table_free(table);
    damo_table_free(again);
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  check_base(again);
  damo_table_free(again);
  return 0;
}

/* Every misuse of dumps, checkpoints, iterators, counts and verification gets its status and a
 * message that names function, argument and value. It leaves everything as it was. */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "support/scratch.h"

enum { DIM = 2, KEYS = 20000 };
static const damo_status INVALID = DAMO_STATUS_INVALID_ARGUMENT;
static int64_t keys[KEYS];
static float gradients[KEYS * DIM];
static damo_storage *storage;
static damo_embedding *embedding;

static bool exists(const char *path) {
  struct stat found;
  return lstat(path, &found) == 0;
}

/* Counts the entries of the scratch folder, hidden ones too. */
static int entries(void) {
  int count = 0;
  DIR *dir = opendir(scratch);
  CHECK(dir != NULL);
  while (readdir(dir) != NULL) count++;
  closedir(dir);
  return count;
}

static damo_params *str(const char *name, const char *value) {
  damo_params *params = damo_params_new();
  CHECK_OK(damo_params_set_str(params, name, value));
  return params;
}

static void dump_refuses(const char *word, const char *second_word, damo_status status,
                         damo_params *condition) {
  uint64_t number = 7, rows = 7, removed = 7;
  const int before = entries();
  CHECK_FAILS(damo_storage_dump(storage, in_scratch("dump"), condition), status,
              "damo_storage_dump:", word, second_word);
  CHECK_FAILS(damo_storage_dump_with_progress(storage, in_scratch("dump"), condition, NULL, NULL,
                                              &number, &rows, &removed),
              status, "damo_storage_dump_with_progress:", word, second_word);
  CHECK(number == 7 && rows == 7 && removed == 7);
  CHECK(entries() == before);
  damo_params_free(condition);
}

static void conditions_refuse(void) {
  damo_params *both;
  dump_refuses("'formt'", "'format'", INVALID, str("formt", "table"));
  dump_refuses("'format'", "'classic', 'table'", INVALID, str("format", "csv"));
  both = str("format", "table");
  CHECK_OK(damo_params_set_int(both, "header_groups", 5));
  dump_refuses("header_groups", "'classic'", INVALID, both);
  dump_refuses("value_type", "'table'", INVALID, str("value_type", "int8"));
  both = str("format", "table");
  CHECK_OK(damo_params_set_str(both, "value_type", "float64"));
  dump_refuses("'value_type'", "'float32', 'float16', 'int8'", INVALID, both);
  both = str("format", "table");
  CHECK_OK(damo_params_set_int(both, "since", 1));
  dump_refuses("since is 1", "make a full dump", DAMO_STATUS_NOT_FOUND, both);
  both = damo_params_new();
  CHECK_OK(damo_params_set_int(both, "since", 1));
  dump_refuses("since", "'table'", INVALID, both);
  both = damo_params_new();
  CHECK_OK(damo_params_set_int(both, "group", 4));
  dump_refuses("group 4", "registered are: 300", DAMO_STATUS_NOT_FOUND, both);
  both = damo_params_new();
  CHECK_OK(damo_params_set_int(both, "group", 65536));
  dump_refuses("'group'", "65536", INVALID, both);
  both = damo_params_new();
  CHECK_OK(damo_params_set_float(both, "expire_days", -1));
  dump_refuses("'expire_days'", "-1", INVALID, both);
  both = damo_params_new();
  CHECK_OK(damo_params_set_int(both, "min_count", -1));
  dump_refuses("'min_count'", "-1", INVALID, both);
  /* group 300 has no place in the default header */
  dump_refuses("300", "header_groups", INVALID, damo_params_new());
}

static void dumps_refuse(void) {
  damo_params *table = str("format", "table");
  uint64_t rows = 7, odd[2] = {7, 7};
  CHECK_FAILS(damo_storage_dump(NULL, in_scratch("dump"), NULL), INVALID, "damo_storage_dump",
              "storage is NULL");
  CHECK_FAILS(damo_storage_dump(storage, NULL, NULL), INVALID, "path is NULL");
  CHECK_FAILS(damo_storage_dump(storage, "", table), INVALID, "path is empty");
  CHECK_FAILS(
      damo_storage_dump_with_progress(NULL, in_scratch("dump"), NULL, NULL, NULL, NULL, NULL, NULL),
      INVALID, "damo_storage_dump_with_progress", "storage is NULL");
  CHECK_FAILS(damo_storage_dump_with_progress(storage, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
              INVALID, "path is NULL");
  CHECK_FAILS(damo_storage_dump_with_progress(storage, in_scratch("dump"), table, NULL, NULL,
                                              (uint64_t *)(void *)((char *)odd + 4), NULL, NULL),
              INVALID, "number is 0x", "aligned to 8");
  CHECK_FAILS(damo_storage_dump(storage, scratch, table), INVALID, scratch, "is a directory");
  CHECK_FAILS(damo_storage_dump(storage, "/dev/null", table), INVALID, "/dev/null", "device");
  CHECK_FAILS(damo_storage_dump(storage, in_scratch("no/such/folder"), table), DAMO_STATUS_IO,
              in_scratch("no/such/folder"), "No such file");
  CHECK(!exists(in_scratch("dump")));
  /* An existing file is replaced, and any pointer may be NULL. */
  CHECK_OK(damo_storage_dump_with_progress(storage, in_scratch("dump"), table, NULL, NULL, NULL,
                                           &rows, NULL));
  CHECK(rows == KEYS);
  CHECK_OK(damo_storage_dump(storage, in_scratch("dump"), table));
  damo_params_free(table);
}

struct told {
  int calls, allowed;
  uint64_t rows;
};

static bool tell(void *user, uint64_t rows, uint64_t rows_estimate) {
  struct told *told = (struct told *)user;
  CHECK(rows > told->rows && rows_estimate >= rows);
  told->rows = rows;
  /* The storage can be used during the dump, from here too. */
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, 1, gradients, DIM));
  return ++told->calls < told->allowed;
}

static void progress_cancels(void) {
  struct told told = {0, 2, 0};
  uint64_t number = 7, rows = 7, removed = 7;
  damo_params *table = str("format", "table");
  struct stat before, after;
  const int count = entries();
  CHECK(stat(in_scratch("dump"), &before) == 0);
  CHECK_FAILS(damo_storage_dump_with_progress(storage, in_scratch("dump"), table, tell, &told,
                                              &number, &rows, &removed),
              DAMO_STATUS_CANCELLED, "damo_storage_dump_with_progress", "progress returned false");
  CHECK(told.calls == 2 && told.rows > 0 && told.rows < KEYS);
  CHECK(number == 7 && rows == 7 && removed == 7);
  CHECK(stat(in_scratch("dump"), &after) == 0);
  CHECK(before.st_ino == after.st_ino && before.st_size == after.st_size && entries() == count);
  CHECK(strcmp(damo_status_name(DAMO_STATUS_CANCELLED), "CANCELLED") == 0);
  told.calls = 0;
  told.rows = 0;
  told.allowed = 1000000;
  CHECK_OK(damo_storage_dump_with_progress(storage, in_scratch("dump"), table, tell, &told, &number,
                                           &rows, &removed));
  CHECK(told.rows == KEYS && rows == KEYS && removed == 0 && number != 7);
  /* An increment follows the number: key 0 has changed during that dump. */
  CHECK_OK(damo_params_set_int(table, "since", (int64_t)number));
  CHECK_OK(damo_storage_dump_with_progress(storage, in_scratch("increment"), table, NULL, NULL,
                                           NULL, &rows, &removed));
  CHECK(rows == 1 && removed == 0);
  damo_params_free(table);
}

static void checkpoints_refuse(void) {
  damo_storage *other;
  int count;
  FILE *file = fopen(in_scratch("file"), "w");
  CHECK(file != NULL);
  fclose(file);
  CHECK_FAILS(damo_storage_checkpoint(NULL, in_scratch("checkpoint")), INVALID,
              "damo_storage_checkpoint", "storage is NULL");
  CHECK_FAILS(damo_storage_checkpoint(storage, NULL), INVALID, "path is NULL");
  CHECK_FAILS(damo_storage_checkpoint(storage, ""), INVALID, "path ''",
              "a path that does not exist yet");
  CHECK_FAILS(damo_storage_checkpoint(storage, "/"), INVALID, "path '/'");
  CHECK_FAILS(damo_storage_checkpoint(storage, in_scratch("..")), INVALID, "/..'");
  CHECK_FAILS(damo_storage_checkpoint(storage, in_scratch("file")), DAMO_STATUS_ALREADY_EXISTS,
              in_scratch("file"), "exists");
  CHECK_FAILS(damo_storage_checkpoint(storage, scratch), DAMO_STATUS_ALREADY_EXISTS, scratch);
  CHECK_FAILS(damo_storage_checkpoint(storage, in_scratch("no/such/folder")), DAMO_STATUS_IO,
              in_scratch("no/such/folder"));
  CHECK(mkdir(in_scratch("empty"), 0777) == 0);
  count = entries();
  CHECK_FAILS(damo_storage_checkpoint(storage, in_scratch("empty")), DAMO_STATUS_ALREADY_EXISTS,
              in_scratch("empty"));
  CHECK(entries() == count);
  CHECK_OK(damo_storage_checkpoint(storage, in_scratch("checkpoint")));
  CHECK_FAILS(damo_storage_checkpoint(storage, in_scratch("checkpoint/")),
              DAMO_STATUS_ALREADY_EXISTS, in_scratch("checkpoint"));
  CHECK(entries() == count + 1);

  CHECK_FAILS(damo_storage_load_from_checkpoint(NULL, in_scratch("checkpoint")), INVALID,
              "damo_storage_load_from_checkpoint", "storage is NULL");
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, NULL), INVALID, "path is NULL");
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, ""), DAMO_STATUS_NOT_FOUND, "path ''");
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, in_scratch("missing")),
              DAMO_STATUS_NOT_FOUND, in_scratch("missing"));
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, in_scratch("file")), INVALID,
              in_scratch("file"), "is a file");
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, in_scratch("empty")),
              DAMO_STATUS_CORRUPTION, in_scratch("empty"));
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, in_scratch("storage")), DAMO_STATUS_BUSY,
              in_scratch("storage"));
  CHECK(!exists(in_scratch("missing")));
  other = damo_storage_new(in_scratch("checkpoint"), 0, NULL);
  CHECK(other != NULL);
  CHECK_FAILS(damo_storage_load_from_checkpoint(storage, in_scratch("checkpoint")),
              DAMO_STATUS_BUSY, in_scratch("checkpoint"));
  damo_storage_free(other);
  CHECK_OK(damo_storage_load_from_checkpoint(storage, in_scratch("checkpoint")));
}

static void readers_refuse(void) {
  const char *next = "damo_iterator_next";
  damo_iterator *iterator;
  uint64_t rows = 7, odd[2];
  int64_t key = 7;
  bool found = true;
  CHECK_NULL(damo_iterator_new(NULL, 300), INVALID, "damo_iterator_new", "storage is NULL");
  CHECK_NULL(damo_iterator_new(storage, 3), DAMO_STATUS_NOT_FOUND, "group 3 is not registered",
             "registered are: 300");
  CHECK_NULL(damo_iterator_new(storage, 65536), INVALID, "group is 65536", "DAMO_ALL_GROUPS");
  CHECK_FAILS(damo_storage_row_count(NULL, 300, &rows), INVALID, "damo_storage_row_count",
              "storage is NULL");
  CHECK_FAILS(damo_storage_row_count(storage, 300, NULL), INVALID, "rows is NULL");
  CHECK_FAILS(damo_storage_row_count(storage, 301, &rows), DAMO_STATUS_NOT_FOUND, "group 301");
  CHECK_FAILS(damo_storage_row_count(storage, DAMO_ALL_GROUPS - 1, &rows), INVALID,
              "group is 4294967294");
  CHECK_FAILS(damo_storage_verify(NULL, &rows), INVALID, "damo_storage_verify", "storage is NULL");
  CHECK_FAILS(damo_storage_verify(storage, (uint64_t *)(void *)((char *)odd + 1)), INVALID,
              "rows is 0x");
  CHECK_FAILS(damo_test_set_clock(NULL, 5), INVALID, "damo_test_set_clock", "storage is NULL");
  CHECK_FAILS(damo_test_set_clock(storage, -5), INVALID, "time_ms is -5");
  CHECK(rows == 7);
  CHECK_OK(damo_storage_verify(storage, NULL));
  CHECK_OK(damo_storage_verify(storage, &rows));
  CHECK(rows == KEYS);
  CHECK_OK(damo_storage_row_count(storage, 300, &rows));
  CHECK(rows == KEYS);

  CHECK_FAILS(damo_iterator_next(NULL, &found, NULL, &key, NULL, NULL, NULL, NULL, NULL), INVALID,
              next, "iterator is NULL");
  iterator = damo_iterator_new(storage, 300);
  CHECK(iterator != NULL);
  CHECK_FAILS(damo_iterator_next(iterator, NULL, NULL, &key, NULL, NULL, NULL, NULL, NULL), INVALID,
              next, "found is NULL");
  CHECK_FAILS(damo_iterator_next(iterator, &found, NULL, (int64_t *)(void *)((char *)odd + 4), NULL,
                                 NULL, NULL, NULL, NULL),
              INVALID, next, "key is 0x");
  CHECK(key == 7 && found);
  /* no misuse took a row */
  CHECK_OK(damo_iterator_next(iterator, &found, NULL, &key, NULL, NULL, NULL, NULL, NULL));
  CHECK(found && key == 0);
  damo_iterator_free(iterator);
  damo_iterator_free(NULL);
}

int main(int argc, char **argv) {
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  uint64_t rows = 0;
  int i;
  CHECK(argc == 2);
  snprintf(scratch, sizeof scratch, "%s", argv[1]);
  for (i = 0; i < KEYS; i++) keys[i] = i;
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  CHECK(storage != NULL);
  /* a storage without any group */
  CHECK_NULL(damo_iterator_new(storage, 0), DAMO_STATUS_NOT_FOUND, "registered are: none");
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows));
  CHECK_OK(damo_storage_verify(storage, NULL));
  CHECK(rows == 0);
  embedding = damo_embedding_new(storage, sgd, zeros, DIM, 300, NULL);
  CHECK(embedding != NULL);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  conditions_refuse();
  dumps_refuse();
  progress_cancels();
  checkpoints_refuse();
  readers_refuse();
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows));
  CHECK(rows == KEYS);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  return 0;
}

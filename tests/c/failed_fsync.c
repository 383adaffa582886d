/* Syncing a folder fails after a file or a directory got its name in it. The call is an error, and
   the folder is as it was. */
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "support/scratch.h"

enum { KEYS = 1000, DIM = 2 };
static int64_t keys[KEYS];
static float gradients[KEYS * DIM];
static ino_t failing; /* the folder whose fsync fails */
static int failures;

/* Replaces the C library's fsync, for libdamo.so too. */
int fsync(int fd) {
  struct stat found;
  if (failing != 0 && fstat(fd, &found) == 0 && S_ISDIR(found.st_mode) && found.st_ino == failing) {
    failures++;
    errno = EIO;
    return -1;
  }
  return (int)syscall(SYS_fsync, fd);
}

static int entries(const char *folder) {
  DIR *opened = opendir(folder);
  int count = 0;
  CHECK(opened != NULL);
  while (readdir(opened) != NULL) count++;
  closedir(opened);
  return count;
}

/* A hash of the file's bytes, which tells the files here apart. */
static uint64_t content(const char *path) {
  FILE *file = fopen(path, "rb");
  uint64_t sum = 0;
  int byte;
  if (file == NULL) return 0;
  while ((byte = fgetc(file)) != EOF) sum = sum * 31 + (uint64_t)byte + 1;
  fclose(file);
  return sum;
}

static ino_t inode(const char *path) {
  struct stat found;
  CHECK(stat(path, &found) == 0);
  return found.st_ino;
}

/* The call fails with IO, names the path, and leaves the folder as it was. */
#define CHECK_TAKEN_BACK(call, name)                                  \
  do {                                                                \
    const int before_ = entries(in_scratch("out"));                   \
    const uint64_t content_ = content(in_scratch("out/" name));        \
    failing = inode(in_scratch("out"));                               \
    failures = 0;                                                     \
    CHECK_FAILS(call, DAMO_STATUS_IO, name, "Input/output error");    \
    CHECK(failures > 0);                                              \
    failing = 0;                                                      \
    CHECK(entries(in_scratch("out")) == before_);                     \
    CHECK(content(in_scratch("out/" name)) == content_);              \
  } while (0)

int main(int argc, char **argv) {
  damo_storage *storage;
  damo_optimizer *sgd;
  damo_initializer *ones;
  damo_embedding *rows;
  damo_params *as_table = damo_params_new();
  damo_table *table;
  char base[4096], increment[4096], out[4096];
  uint64_t number = 0;
  int i;
  CHECK(argc == 2);
  snprintf(scratch, sizeof scratch, "%s", argv[1]);
  CHECK(mkdir(in_scratch("out"), 0700) == 0);
  storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  CHECK(storage != NULL);
  sgd = damo_optimizer_new("sgd", NULL, NULL);
  ones = damo_initializer_new("ones", NULL);
  rows = damo_embedding_new(storage, sgd, ones, DIM, 0, NULL);
  CHECK(rows != NULL);
  for (i = 0; i < KEYS; i++) keys[i] = i;
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  CHECK_OK(damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM));
  CHECK_OK(damo_params_set_str(as_table, "format", "table"));

  /* New names. */
  CHECK_TAKEN_BACK(damo_storage_checkpoint(storage, in_scratch("out/checkpoint")), "checkpoint");
  CHECK(access(in_scratch("out/checkpoint"), F_OK) != 0);
  CHECK_TAKEN_BACK(damo_storage_dump(storage, in_scratch("out/table"), as_table), "table");
  CHECK(access(in_scratch("out/table"), F_OK) != 0);
  CHECK_TAKEN_BACK(damo_storage_dump(storage, in_scratch("out/classic"), NULL), "classic");
  CHECK(access(in_scratch("out/classic"), F_OK) != 0);

  /* The same calls succeed once the disk is well again. */
  CHECK_OK(damo_storage_checkpoint(storage, in_scratch("out/checkpoint")));
  CHECK_OK(damo_storage_dump_with_progress(storage, in_scratch("out/table"), as_table, NULL, NULL,
                                           &number, NULL, NULL));
  CHECK_OK(damo_storage_dump(storage, in_scratch("out/classic"), NULL));

  /* Names of older files: those files are back, also for a reader that has one mapped. */
  table = damo_table_open(in_scratch("out/table"));
  CHECK(table != NULL);
  CHECK_OK(damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM));
  CHECK_TAKEN_BACK(damo_storage_dump(storage, in_scratch("out/table"), as_table), "table");
  CHECK_TAKEN_BACK(damo_storage_dump(storage, in_scratch("out/classic"), NULL), "classic");
  snprintf(base, sizeof base, "%s", in_scratch("out/table"));
  snprintf(increment, sizeof increment, "%s", in_scratch("increment"));
  snprintf(out, sizeof out, "%s", in_scratch("out/merged"));
  CHECK_OK(damo_params_set_int(as_table, "since", (int64_t)number));
  CHECK_OK(damo_storage_dump(storage, increment, as_table));
  CHECK_TAKEN_BACK(damo_table_merge(base, increment, out), "merged");
  CHECK_OK(damo_table_merge(base, increment, out));
  CHECK_OK(damo_table_merge(base, increment, base)); /* over the file that is mapped */
  {
    float weights[DIM];
    uint8_t found = 0;
    CHECK_OK(damo_table_lookup(table, 0, keys, 1, weights, DIM, &found));
    CHECK(found == 1);
  }
  damo_table_free(table);
  damo_params_free(as_table);
  damo_embedding_free(rows);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(ones);
  return 0;
}

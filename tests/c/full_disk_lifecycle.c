/* Dumps, checkpoints and loading one on a disk that fills up. The call fails with IO and names the
 * path; nothing is under the final name; no temporary files are left. Once there is room, the
 * storage trains on and does all of it.
 *
 * The disk is a small file system in memory where this process may mount one. Elsewhere a file size
 * limit stands in for it; that is tried beside the disk, too. */
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "support/scratch.h"

enum { DIM = 32, KEYS = 20000, DISK = 128 << 20 };

static int64_t keys[KEYS];
static float gradients[KEYS * DIM], weights[KEYS * DIM];
static bool is_mounted;
static int64_t steps;

/* Leaves this many bytes on the disk, or lets no file grow beyond them; 0 gives all of it back. */
static void leave_room(size_t bytes) {
  if (is_mounted) {
    static char block[4096];
    unlink(in_scratch("filler"));
    if (bytes > 0) {
      int file = open(in_scratch("filler"), O_CREAT | O_WRONLY, 0666);
      off_t size = 0;
      ssize_t written;
      CHECK(file >= 0);
      while ((written = write(file, block, sizeof block)) > 0) size += written;
      CHECK(errno == ENOSPC && size > (off_t)bytes);
      CHECK(ftruncate(file, size - (off_t)bytes) == 0);
      close(file);
    }
  } else {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes > 0 ? bytes : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
}

/* Counts the entries of a folder, hidden ones too, without the filler. */
static int entries(const char *path) {
  int count = 0;
  struct dirent *entry;
  DIR *dir = opendir(path);
  CHECK(dir != NULL);
  while ((entry = readdir(dir)) != NULL) count += strcmp(entry->d_name, "filler") != 0;
  closedir(dir);
  return count;
}

static void train(damo_embedding *embedding) {
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, 64, gradients, 64 * DIM));
  steps++;
}

static void check_rows(damo_embedding *embedding) {
  int i;
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, weights, KEYS * DIM, NULL));
  for (i = 0; i < KEYS * DIM; i++) {
    CHECK(weights[i] == (i < 64 * DIM ? -0.5f * (float)(steps + 1) : -0.5f));
  }
}

/* The call fails with IO and names the path; the folder has no new entry. */
#define REFUSED(call, function, name)                                       \
  do {                                                                      \
    const int before_ = entries(scratch);                                   \
    CHECK_FAILS(call, DAMO_STATUS_IO, function, in_scratch(name),           \
                is_mounted ? "No space left on device" : "File too large"); \
    CHECK(entries(scratch) == before_);                                     \
    CHECK(access(in_scratch(name), F_OK) != 0);                             \
  } while (0)

/* Every 5 seconds RocksDB looks whether a full disk has room again; until then it refuses to
 * write. */
#define ONCE_THERE_IS_ROOM(call)                         \
  do {                                                   \
    int second_ = 0;                                     \
    while ((call) != DAMO_STATUS_OK && second_++ < 30) { \
      CHECK(damo_last_error_code() == DAMO_STATUS_IO);   \
      sleep(1);                                          \
    }                                                    \
    CHECK(second_ < 30);                                 \
  } while (0)

static damo_storage *open_storage(const char *name, damo_optimizer *sgd, damo_initializer *zeros,
                                  damo_embedding **embedding) {
  damo_storage *storage = damo_storage_new(in_scratch(name), 0, NULL);
  CHECK(storage != NULL);
  *embedding = damo_embedding_new(storage, sgd, zeros, DIM, 0, NULL);
  CHECK(*embedding != NULL);
  return storage;
}

static void run(const char *folder) {
  damo_params *gamma = damo_params_new(), *table = damo_params_new();
  damo_storage *storage, *other;
  damo_optimizer *sgd;
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_embedding *embedding, *other_embedding;
  uint64_t rows = 0;
  float weight[DIM];
  int round, before;
  snprintf(scratch, sizeof scratch, "%s", folder);
  steps = 0;
  CHECK_OK(damo_params_set_float(gamma, "gamma", 0.5));
  CHECK_OK(damo_params_set_str(table, "format", "table"));
  sgd = damo_optimizer_new("sgd", gamma, NULL);
  storage = open_storage("storage", sgd, zeros, &embedding);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  train(embedding);
  CHECK_OK(damo_storage_flush(storage));

  /* dumps: the rows are 2.5 MB */
  for (round = 0; round < 2; round++) {
    leave_room(round == 0 ? 1 << 20 : 512 << 10);
    REFUSED(damo_storage_dump(storage, in_scratch("classic"), NULL), "damo_storage_dump",
            "classic");
    REFUSED(damo_storage_dump(storage, in_scratch("table"), table), "damo_storage_dump", "table");
    train(embedding);
    check_rows(embedding);
  }
  leave_room(0);
  ONCE_THERE_IS_ROOM(damo_storage_dump(storage, in_scratch("classic"), NULL));
  CHECK_OK(damo_storage_dump(storage, in_scratch("table"), table));
  train(embedding);

  /* A checkpoint of rows that are not on the disk yet: the rows do not fit. */
  CHECK_OK(damo_embedding_insert(embedding, keys, KEYS, weights, KEYS * DIM));
  leave_room(200 << 10);
  REFUSED(damo_storage_checkpoint(storage, in_scratch("checkpoint")), "damo_storage_checkpoint",
          "checkpoint");
  REFUSED(damo_storage_checkpoint(storage, in_scratch("checkpoint")), "damo_storage_checkpoint",
          "checkpoint");
  leave_room(0);
  steps = 0;
  memset(weights, 0, sizeof weights);
  CHECK_OK(damo_embedding_insert(embedding, keys, KEYS, weights, KEYS * DIM));
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  train(embedding);
  ONCE_THERE_IS_ROOM(damo_storage_flush(storage));
  /* A checkpoint of rows that are on the disk: its own small files do not fit. */
  for (round = 0; round < (is_mounted ? 2 : 1); round++) {
    leave_room(round == 0 ? 100 << 10 : 1);
    REFUSED(damo_storage_checkpoint(storage, in_scratch("checkpoint")), "damo_storage_checkpoint",
            "checkpoint");
    check_rows(embedding);
  }
  leave_room(0);
  ONCE_THERE_IS_ROOM(damo_storage_checkpoint(storage, in_scratch("checkpoint")));
  train(embedding);
  check_rows(embedding);

  /* Loading into a storage, which keeps what it had. */
  other = open_storage("other", sgd, zeros, &other_embedding);
  CHECK_OK(damo_embedding_apply_gradients(other_embedding, keys, 1, gradients, DIM));
  CHECK_OK(damo_storage_flush(other));
  before = entries(in_scratch("other"));
  leave_room(is_mounted ? 1 : 1000);
  CHECK_FAILS(damo_storage_load_from_checkpoint(other, in_scratch("checkpoint")), DAMO_STATUS_IO,
              "damo_storage_load_from_checkpoint", in_scratch("checkpoint"), in_scratch("other"),
              is_mounted ? "No space left on device" : "File too large");
  CHECK(entries(in_scratch("other")) == before);
  CHECK_OK(damo_embedding_peek(other_embedding, keys, 1, weight, DIM, NULL));
  CHECK(weight[0] == -0.5f);
  CHECK_OK(damo_storage_row_count(other, 0, &rows));
  CHECK(rows == 1);
  leave_room(0);
  CHECK_OK(damo_embedding_apply_gradients(other_embedding, keys, 1, gradients, DIM));
  CHECK_OK(damo_storage_load_from_checkpoint(other, in_scratch("checkpoint")));
  steps--;
  check_rows(other_embedding);
  steps++;

  damo_embedding_free(other_embedding);
  damo_storage_free(other);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  storage = open_storage("storage", sgd, zeros, &embedding);
  check_rows(embedding);
  CHECK_OK(damo_storage_verify(storage, &rows));
  CHECK(rows == KEYS);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(gamma);
  damo_params_free(table);
}

/* A file system of DISK bytes that only this process and its children see. */
static bool mount_disk(const char *path) {
  char size[32];
  snprintf(size, sizeof size, "size=%d", DISK);
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
  return mount("damo-test", path, "tmpfs", 0, size) == 0;
}

int main(int argc, char **argv) {
  char path[4096];
  int i, status = 0;
  pid_t child;
  CHECK(argc == 2);
  for (i = 0; i < KEYS; i++) keys[i] = i;
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  signal(SIGXFSZ, SIG_IGN); /* or the limit would kill instead of failing the write */
  /* before this process has opened a storage */
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    snprintf(path, sizeof path, "%s/disk", argv[1]);
    CHECK(mkdir(path, 0777) == 0);
    is_mounted = mount_disk(path);
    if (is_mounted)
      run(path);
    else
      printf("no file system can be mounted here; the file size limit alone stands in for a full "
             "disk\n");
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  snprintf(path, sizeof path, "%s/limit", argv[1]);
  CHECK(mkdir(path, 0777) == 0);
  run(path);
  return 0;
}

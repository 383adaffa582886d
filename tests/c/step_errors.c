/* Steps over two groups, and pins, on a full disk and with an fsync that fails: the error is an
   answer, and nothing is applied in either group. Once the disk is well the storage goes on, with
   every call that was acknowledged. A process that is killed before that leaves whole steps. */
#define _GNU_SOURCE

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { KEYS = 100, DIM_ONE = 3, DIM_TWO = 5, MAX_CALLS = 40000 };

static int64_t keys[KEYS];
static float ones[KEYS * DIM_ONE], twos[KEYS * DIM_TWO];
static float *rows[KEYS];

/* The fsync of regular files fails from the call on that makes this 0; below 0: none fails. */
static volatile int syncs_left = -1;

static int sync_fails(int fd) {
  struct stat found;
  if (syncs_left < 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
  if (syncs_left > 0) syncs_left--;
  if (syncs_left > 0) return 0;
  errno = EIO;
  return 1;
}

/* Replace the C library's, for libdamo.so too. */
int fdatasync(int fd) { return sync_fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return sync_fails(fd) ? -1 : (int)syscall(SYS_fsync, fd); }

typedef struct {
  damo_storage *storage;
  damo_embedding *one, *two;
  damo_step *step;
  damo_pin *pin;
} opened;

/* Rows begin as zeros, and step by minus the gradient. */
static damo_embedding *group_of(const damo_storage *storage, uint32_t group, size_t dim) {
  damo_params *gamma = damo_params_new();
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_optimizer *sgd;
  damo_embedding *embedding;
  CHECK_OK(damo_params_set_float(gamma, "gamma", 1));
  sgd = damo_optimizer_new("sgd", gamma, NULL);
  embedding = damo_embedding_new(storage, sgd, zeros, dim, group, NULL);
  CHECK(embedding != NULL);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(gamma);
  return embedding;
}

static opened open_at(const char *dir, const char *durability) {
  opened all = {NULL, NULL, NULL, NULL, NULL};
  damo_params *options = damo_params_new();
  CHECK_OK(damo_params_set_str(options, "durability", durability));
  all.storage = damo_storage_new(dir, 0, options);
  CHECK(all.storage != NULL);
  damo_params_free(options);
  all.one = group_of(all.storage, 1, DIM_ONE);
  all.two = group_of(all.storage, 2, DIM_TWO);
  all.step = damo_step_new(all.storage, NULL);
  CHECK(all.step != NULL);
  CHECK_OK(damo_step_add_keys(all.step, all.one, keys, KEYS));
  CHECK_OK(damo_step_add_keys(all.step, all.two, keys, KEYS));
  return all;
}

static void close_all(opened *all) {
  damo_pin_free(all->pin);
  damo_step_free(all->step);
  damo_embedding_free(all->one);
  damo_embedding_free(all->two);
  damo_storage_free(all->storage);
}

/* A step of -1 in each column of each row. */
static damo_status make_step(const opened *all) {
  damo_rows gradients[2];
  size_t i;
  for (i = 0; i < KEYS * DIM_ONE; i++) ones[i] = 1;
  for (i = 0; i < KEYS * DIM_TWO; i++) twos[i] = 1;
  gradients[0].floats = ones, gradients[0].floats_len = KEYS * DIM_ONE;
  gradients[0].stride = DIM_ONE;
  gradients[1].floats = twos, gradients[1].floats_len = KEYS * DIM_TWO;
  gradients[1].stride = DIM_TWO;
  return damo_step_apply_gradients(all->step, gradients, 2);
}

/* Pins the rows of group 1, and adds 1000 to their first column. */
static void pin_rows(opened *all) {
  size_t i;
  CHECK_OK(damo_rows_pin(all->one, keys, KEYS, rows, NULL, &all->pin));
  for (i = 0; i < KEYS; i++) rows[i][0] += 1000;
}

static int64_t step_of(const damo_embedding *embedding) {
  int64_t step = -1;
  CHECK_OK(damo_embedding_step(embedding, &step));
  return step;
}

/* Both groups have had exactly so many steps, and group 1 so many commits. */
static void check_rows(const opened *all, int64_t steps, int commits) {
  size_t i;
  CHECK(step_of(all->one) == steps && step_of(all->two) == steps);
  CHECK_OK(damo_embedding_peek(all->one, keys, KEYS, ones, KEYS * DIM_ONE, NULL));
  CHECK_OK(damo_embedding_peek(all->two, keys, KEYS, twos, KEYS * DIM_TWO, NULL));
  for (i = 0; i < KEYS * DIM_ONE; i++) {
    CHECK(ones[i] == (float)(1000 * commits * (i % DIM_ONE == 0)) - (float)steps);
  }
  for (i = 0; i < KEYS * DIM_TWO; i++) CHECK(twos[i] == -(float)steps);
}

/* A file size limit stands in for the disk. */
static void a_full_disk_is_an_answer(const char *dir) {
  struct rlimit limit, unlimited;
  int64_t steps;
  int commits = 1;
  opened all = open_at(dir, "process");
  signal(SIGXFSZ, SIG_IGN);
  CHECK(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  CHECK_OK(make_step(&all));
  pin_rows(&all);
  CHECK_OK(damo_pin_commit(all.pin, NULL));
  pin_rows(&all);
  limit = unlimited;
  limit.rlim_cur = 2 << 20;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  for (steps = 1; steps < MAX_CALLS && make_step(&all) == DAMO_STATUS_OK; steps++) {
  }
  CHECK(steps > 50 && steps < MAX_CALLS);
  CHECK(damo_last_error_code() == DAMO_STATUS_IO);
  CHECK_SAYS("damo_step_apply_gradients");
  CHECK_SAYS("File too large");
  check_rows(&all, steps, 1);
  /* The rows have changed since they were pinned. That is told first. */
  CHECK_FAILS(damo_pin_commit(all.pin, "refuse"), DAMO_STATUS_BUSY, "key 0");
  /* Commits are smaller, and some of them still find room. */
  for (pin_rows(&all); damo_pin_commit(all.pin, NULL) == DAMO_STATUS_OK; pin_rows(&all)) commits++;
  CHECK(damo_last_error_code() == DAMO_STATUS_IO && commits < 1000);
  CHECK_SAYS("damo_pin_commit");
  CHECK_SAYS("File too large");
  CHECK_FAILS(make_step(&all), DAMO_STATUS_IO, "damo_step_apply_gradients");
  CHECK_FAILS(damo_pin_commit(all.pin, "refuse"), DAMO_STATUS_IO, "damo_pin_commit");
  check_rows(&all, steps, commits);
  /* Reading and pinning go on. The pin that was refused is committed once there is room. */
  CHECK(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  CHECK_OK(damo_pin_commit(all.pin, NULL));
  check_rows(&all, steps, commits + 1);
  CHECK_OK(make_step(&all));
  check_rows(&all, steps + 1, commits + 1);
  close_all(&all);
  all = open_at(dir, "process");
  check_rows(&all, steps + 1, commits + 1);
  close_all(&all);
}

/* The journal cannot be synced. Nothing is applied, and calls are refused until all rows are on
   disk, which happens by itself once syncing works. */
static void a_failed_fsync_is_an_answer(const char *dir) {
  int commits = 0, tries;
  opened all = open_at(dir, "power");
  CHECK_OK(make_step(&all));
  for (tries = 0; tries < 2; tries++) {
    pin_rows(&all);
    syncs_left = 0;
    if (tries == 0) {
      CHECK_FAILS(make_step(&all), DAMO_STATUS_IO, "damo_step_apply_gradients",
                  "Input/output error");
    } else {
      CHECK_FAILS(damo_pin_commit(all.pin, NULL), DAMO_STATUS_IO, "damo_pin_commit",
                  "Input/output error");
    }
    check_rows(&all, 1 + tries, commits);
    CHECK_FAILS(make_step(&all), DAMO_STATUS_IO, "damo_step_apply_gradients");
    CHECK_FAILS(damo_pin_commit(all.pin, NULL), DAMO_STATUS_IO, "damo_pin_commit");
    check_rows(&all, 1 + tries, commits);
    syncs_left = -1;
    CHECK_OK(damo_storage_flush(all.storage));
    /* the pin was refused and is still pinned */
    CHECK_OK(damo_pin_commit(all.pin, "refuse"));
    commits++;
    CHECK_OK(make_step(&all));
    check_rows(&all, 2 + tries, commits);
  }
  close_all(&all);
  all = open_at(dir, "power");
  check_rows(&all, 3, 2);
  close_all(&all);
}

/* A process ends while nobody knows whether the disk has its step. */
static void kill_after_a_failed_fsync(const char *dir, int failing) {
  int status;
  opened all;
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    all = open_at(dir, "power");
    CHECK_OK(make_step(&all));
    CHECK_OK(make_step(&all));
    syncs_left = failing;
    while (make_step(&all) == DAMO_STATUS_OK) {
    }
    CHECK(damo_last_error_code() == DAMO_STATUS_IO);
    kill(getpid(), SIGKILL);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
}

/* Both groups have that step, or neither has. Each fsync that succeeded before is one step. */
static void the_step_is_whole_or_not_there(const char *dir, int failing) {
  opened all = open_at(dir, "power");
  const int64_t least = 2 + (failing > 0 ? failing - 1 : 0), found = step_of(all.one);
  CHECK(found == least || found == least + 1);
  check_rows(&all, found, 0);
  CHECK_OK(make_step(&all));
  check_rows(&all, found + 1, 0);
  close_all(&all);
}

int main(int argc, char **argv) {
  char dir[4096];
  int64_t i;
  int looks;
  CHECK(argc == 2);
  for (i = 0; i < KEYS; i++) keys[i] = 3 * i;
  /* Children open storages before this process does. */
  for (looks = 0; looks < 2; looks++) {
    for (i = 0; i < 4; i++) {
      snprintf(dir, sizeof dir, "%s/killed-%d", argv[1], (int)i);
      if (looks) {
        the_step_is_whole_or_not_there(dir, (int)i);
      } else {
        kill_after_a_failed_fsync(dir, (int)i);
      }
    }
  }
  snprintf(dir, sizeof dir, "%s/full", argv[1]);
  a_full_disk_is_an_answer(dir);
  snprintf(dir, sizeof dir, "%s/unsynced", argv[1]);
  a_failed_fsync_is_an_answer(dir);
  return 0;
}

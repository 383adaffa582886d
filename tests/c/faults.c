/* A system call fails, or the process is killed there. Afterwards every call that had returned is
   in the storage. Once the fault is over, work goes on without reopening. Each part runs in
   processes of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "support/inject.h"

enum { KEYS = 400, DIM = 4 };

static const char *dir, *checkpoint;
static int64_t keys[KEYS];
static float gradients[KEYS * DIM], weights[KEYS * DIM];
static const int ERRORS[] = {EIO, ENOSPC, EDQUOT, ENOMEM, EMFILE, EACCES, EROFS};
enum { ERROR_COUNT = sizeof ERRORS / sizeof *ERRORS };

/* What a part is told; the process that runs it inherits these. */
static int nth, error, durability_is_checkpoint, durability_is_power;

static damo_storage *storage;
static damo_embedding *rows;

static void open_storage(void) {
  damo_params *options = damo_params_new(), *rate = damo_params_new();
  damo_optimizer *sgd;
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  CHECK_OK(damo_params_set_int(options, "threads", 1));
  CHECK_OK(damo_params_set_str(options, "durability",
                               durability_is_checkpoint ? "checkpoint"
                               : durability_is_power    ? "power"
                                                        : "process"));
  CHECK_OK(damo_params_set_float(rate, "gamma", 1));
  sgd = damo_optimizer_new("sgd", rate, NULL);
  CHECK((storage = damo_storage_new(dir, 0, options)) != NULL);
  CHECK((rows = damo_embedding_new(storage, sgd, zeros, DIM, 0, NULL)) != NULL);
  damo_params_free(options);
  damo_params_free(rate);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
}

static void close_storage(void) {
  damo_embedding_free(rows);
  damo_storage_free(storage);
}

/* Each of `calls` adds one to every weight. */
static void train(int calls) {
  while (calls-- > 0) {
    CHECK_OK(damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM));
  }
}

static void check_weights(float expected) {
  int64_t step = 0;
  CHECK_OK(damo_embedding_peek(rows, keys, KEYS, weights, KEYS * DIM, NULL));
  for (int i = 0; i < KEYS * DIM; i++) {
    if (weights[i] != expected) {
      fprintf(stderr, "weight %d is %g, not %g\n", i, weights[i], expected);
    }
    CHECK(weights[i] == expected);
  }
  CHECK_OK(damo_embedding_step(rows, &step));
  CHECK(step == (int64_t)expected);
}

/* A flush succeeds within seconds of the fault's end. */
static void check_flush_works(void) {
  for (int tries = 0; damo_storage_flush(storage) != DAMO_STATUS_OK; tries++) {
    CHECK(tries < 100);
    usleep(100000);
  }
}

/* Runs a part in a process of its own; returns what it exited with, or -1 when it was killed. */
static int run(int (*part)(void)) {
  int status = 0;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) exit(part());
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) CHECK(WTERMSIG(status) == SIGKILL);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void start_anew(void) {
  char command[4096];
  CHECK((size_t)snprintf(command, sizeof command, "rm -rf '%s' '%s'", dir, checkpoint) <
        sizeof command);
  CHECK(system(command) == 0);
}

static int make(void) {
  open_storage();
  train(3);
  CHECK_OK(damo_storage_flush(storage));
  train(2);
  close_storage();
  return 0;
}

static int check_six(void) {
  open_storage();
  check_weights(6);
  train(1);
  check_weights(7);
  close_storage();
  return 0;
}

static int manifest_cannot_be_synced(void) {
  open_storage();
  train(1);
  inject(AT_SYNC, "MANIFEST-", nth, 1, error);
  (void)damo_storage_flush(storage);
  if (stop_injecting() == 0) exit(1);
  check_flush_works();
  check_weights(6);
  close_storage();
  return 0;
}

static int manifest_cannot_be_synced_and_killed(void) {
  open_storage();
  train(1);
  inject(AT_SYNC, "MANIFEST-", nth, 1, error);
  (void)damo_storage_flush(storage);
  raise(SIGKILL);
  return 0;
}

static int links_cannot_be_removed(void) {
  open_storage();
  inject(AT_REMOVE, "/incoming/", 1, nth, error);
  CHECK_OK(damo_storage_flush(storage));
  train(1);
  CHECK_OK(damo_storage_flush(storage));
  CHECK(stop_injecting() > 0);
  CHECK_OK(damo_storage_verify(storage, NULL));
  close_storage();
  return 0;
}

static int descriptors_are_short(void) {
  open_storage();
  train(1);
  inject(AT_OPEN, dir, nth, 1 << 20, error);
  (void)damo_storage_checkpoint(storage, checkpoint);
  (void)damo_storage_compact(storage);
  if (stop_injecting() == 0) exit(1);
  check_flush_works();
  check_weights(6);
  close_storage();
  return 0;
}

static int looking_fails_while_loading(void) {
  int status;
  open_storage();
  CHECK_OK(damo_storage_checkpoint(storage, checkpoint));
  train(4);
  inject(AT_STAT, ".damo-restor", nth, 1, error);
  status = damo_storage_load_from_checkpoint(storage, checkpoint);
  if (stop_injecting() == 0) exit(1);
  if (status == DAMO_STATUS_OK) {
    check_weights(5);
    train(1);
  } else if (strstr(damo_last_error_message(), "open it again") == NULL) {
    check_weights(9);
    exit(2);
  }
  close_storage();
  /* The checkpoint has replaced everything, and the next opening finds it. */
  return status == DAMO_STATUS_OK ? 0 : 3;
}

/* An error of looking at CURRENT does not mean that there is none, for damo or for RocksDB. */
static int looking_fails_while_opening(void) {
  inject(AT_STAT, "CURRENT", nth, 1, error);
  storage = damo_storage_new(dir, 0, NULL);
  if (stop_injecting() == 0) exit(1);
  CHECK(storage != NULL || damo_last_error_code() != DAMO_STATUS_CORRUPTION);
  damo_storage_free(storage);
  return 0;
}

static int check_five(void) { return open_storage(), check_weights(5), close_storage(), 0; }
static int check_nine(void) { return open_storage(), check_weights(9), close_storage(), 0; }

static int record_is_torn(void) {
  open_storage();
  train(1);
  inject(AT_WRITE | AT_TRUNCATE, ".journal", 1, 2, error);
  CHECK(damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM) == DAMO_STATUS_IO);
  CHECK(stop_injecting() == 2);
  inject(AT_WRITE, "/incoming/", 1, 1, error);
  (void)damo_storage_flush(storage);
  stop_injecting();
  if (nth == 2) {
    check_flush_works();
    check_weights(6);
  }
  raise(SIGKILL);
  return 0;
}

/* A call that is too long to be copied into the mapped journal, and cannot be written into it. */
static int long_record_is_not_written(void) {
  enum { LONG = 20 * KEYS };
  static int64_t many[LONG];
  static float more[LONG * DIM];
  open_storage();
  train(1);
  for (int i = 0; i < LONG; i++) many[i] = KEYS + i;
  inject(AT_WRITE, ".journal", 1, 1, error);
  CHECK(damo_embedding_apply_gradients(rows, many, LONG, more, LONG * DIM) == DAMO_STATUS_IO);
  CHECK(strstr(damo_last_error_message(), ".journal") != NULL);
  CHECK(stop_injecting() == 1);
  check_weights(6);
  if (nth == 2) check_flush_works();
  raise(SIGKILL);
  return 0;
}

static int open_and_die(void) {
  inject(AT_OPEN | AT_SYNC | AT_REMOVE | AT_WRITE, dir, nth, 1, 0);
  open_storage();
  /* A first opening that returned has no rows to lose yet. */
  return stop_injecting() == 0 ? 1 : 0;
}

/* Runs a part for each error, at each call of its kind, until no call is left. */
static void for_each_call(int (*part)(void), int (*then)(void)) {
  for (int which = 0; which < ERROR_COUNT; which++) {
    error = ERRORS[which];
    for (nth = 1;; nth++) {
      int outcome;
      start_anew();
      CHECK(run(make) == 0);
      outcome = run(part);
      if (outcome == 1) break;
      CHECK(outcome <= 0);
      CHECK(run(then) == 0);
    }
    CHECK(nth > 1);
  }
}

int main(int argc, char **argv) {
  char other[4096];
  CHECK(argc == 2);
  dir = argv[1];
  CHECK((size_t)snprintf(other, sizeof other, "%s.checkpoint", dir) < sizeof other);
  checkpoint = other;
  for (int i = 0; i < KEYS; i++) keys[i] = i;
  for (int i = 0; i < KEYS * DIM; i++) gradients[i] = -1;

  for_each_call(manifest_cannot_be_synced, check_six);
  for_each_call(looking_fails_while_opening, check_five);
  for (nth = 1; nth <= 2; nth++) {
    error = EIO;
    start_anew();
    CHECK(run(make) == 0);
    CHECK(run(manifest_cannot_be_synced_and_killed) == -1);
    CHECK(run(check_six) == 0);
  }
  for (int which = 0; which < ERROR_COUNT; which++) {
    error = ERRORS[which];
    for (nth = 1; nth <= 1000; nth += 999) {
      start_anew();
      CHECK(run(make) == 0);
      CHECK(run(links_cannot_be_removed) == 0);
      CHECK(run(check_six) == 0);
    }
    for (nth = 1; nth <= 2; nth++) {
      start_anew();
      CHECK(run(make) == 0);
      durability_is_power = 1;
      CHECK(run(record_is_torn) == -1);
      durability_is_power = 0;
      CHECK(run(check_six) == 0);
      start_anew();
      CHECK(run(make) == 0);
      CHECK(run(long_record_is_not_written) == -1);
      CHECK(run(check_six) == 0);
    }
  }
  for (durability_is_checkpoint = 0; durability_is_checkpoint <= 1; durability_is_checkpoint++) {
    error = EMFILE;
    for (nth = 1;; nth++) {
      int outcome;
      start_anew();
      CHECK(run(make) == 0);
      outcome = run(descriptors_are_short);
      if (outcome == 1) break;
      CHECK(outcome == 0 && run(check_six) == 0);
    }
    CHECK(nth > 5);
  }
  durability_is_checkpoint = 0;
  for (error = EIO, nth = 1;; nth++) {
    int outcome;
    start_anew();
    CHECK(run(make) == 0);
    outcome = run(looking_fails_while_loading);
    if (outcome == 1) break;
    CHECK(outcome >= 0);
    CHECK(run(outcome == 0 ? check_six : outcome == 2 ? check_nine : check_five) == 0);
  }
  for (nth = 1;; nth++) {
    int outcome;
    start_anew();
    outcome = run(open_and_die);
    if (outcome == 1) break;
    CHECK(outcome == -1);
    CHECK(run(make) == 0);
  }
  CHECK(nth > 20);
  printf("every call that had returned was there\n");
  return 0;
}

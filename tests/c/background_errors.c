/* An error in a background merge or flush, whatever its number, does not end the storage. While
   the error lasts, calls fail or do without. Once it is over, everything works again without
   reopening. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "support/inject.h"

enum { KEYS = 2000, DIM = 8 };

static int64_t keys[KEYS];
static float gradients[KEYS * DIM], weights[KEYS * DIM];
static damo_storage *storage;
static damo_embedding *rows;
static int calls;

static void open_storage(const char *name) {
  damo_params *options = damo_params_new(), *rate = damo_params_new();
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_optimizer *sgd;
  CHECK_OK(damo_params_set_float(rate, "gamma", 1));
  CHECK_OK(damo_params_set_int(options, "threads", 1));
  CHECK_OK(damo_params_set_int(options, "cache_bytes", 4 << 20));
  sgd = damo_optimizer_new("sgd", rate, NULL);
  CHECK((storage = damo_storage_new(name, 0, options)) != NULL);
  CHECK((rows = damo_embedding_new(storage, sgd, zeros, DIM, 0, NULL)) != NULL);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(rate);
  damo_params_free(options);
}

/* Adds one to every weight, and counts the call if it succeeded. */
static damo_status train(void) {
  const damo_status status =
      damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM);
  if (status == DAMO_STATUS_OK) calls++;
  return status;
}

/* Makes files that overlap and wait to be merged. */
static void fill(void) {
  int round;
  for (round = 0; round < 3; round++) {
    CHECK_OK(train());
    CHECK_OK(damo_storage_flush(storage));
  }
}

static void check_weights(void) {
  int index;
  CHECK_OK(damo_embedding_peek(rows, keys, KEYS, weights, KEYS * DIM, NULL));
  for (index = 0; index < KEYS * DIM; index++) CHECK(weights[index] == (float)calls);
}

/* The error is over: every kind of call succeeds, a flush within seconds. */
static void everything_works(const char *checkpoint) {
  uint64_t count = 0;
  int tries;
  for (tries = 0; damo_storage_flush(storage) != DAMO_STATUS_OK; tries++) {
    CHECK(tries < 100);
    usleep(50000);
  }
  CHECK_OK(damo_storage_compact(storage));
  CHECK_OK(damo_storage_verify(storage, &count));
  CHECK(count == KEYS);
  CHECK_OK(damo_storage_checkpoint(storage, checkpoint));
  check_weights();
  CHECK_OK(train());
  check_weights();
}

static void closes_and_opens(const char *name) {
  damo_embedding_free(rows);
  damo_storage_free(storage);
  open_storage(name);
  check_weights();
  damo_embedding_free(rows);
  damo_storage_free(storage);
}

/* Takes every free descriptor, while a merge needs some. */
static void descriptors_are_used_up(void) {
  int taken[64], count = 0, fd;
  struct rlimit limit;
  open_storage("descriptors");
  fill();
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  fd = open("/dev/null", O_RDONLY);
  CHECK(fd >= 0 && fd < 400);
  limit.rlim_cur = (rlim_t)fd + 40;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  for (; fd >= 0; fd = open("/dev/null", O_RDONLY)) taken[count++] = fd;
  CHECK(errno == EMFILE);
  CHECK(damo_storage_compact(storage) != DAMO_STATUS_OK);
  CHECK(damo_storage_flush(storage) != DAMO_STATUS_CORRUPTION);
  (void)train();
  while (count > 0) CHECK(close(taken[--count]) == 0);
  everything_works("descriptors.checkpoint");
  closes_and_opens("descriptors");
}

static const struct {
  const char *name;
  int kinds;
  const char *path;
} places[] = {
    {"open", AT_OPEN, ".sst"},
    {"write", AT_WRITE, ".sst"},
    {"sync", AT_SYNC, ".sst"},
    {"manifest", AT_WRITE | AT_SYNC, "MANIFEST-"},
};
static const struct {
  const char *name;
  int number;
} errors[] = {
    {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
    {"EIO", EIO},       {"EACCES", EACCES}, {"EFBIG", EFBIG},   {"ENOMEM", ENOMEM},
};
enum { PLACES = sizeof places / sizeof *places, ERRORS = sizeof errors / sizeof *errors };

/* All calls of a kind fail, for as long as a merge and a write-back round take. */
static void fails_for_a_while(const char *place, int kinds, const char *path, const char *error,
                              int number) {
  char name[64], checkpoint[96];
  int failed;
  calls = 0;
  snprintf(name, sizeof name, "%s-%s", place, error);
  snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", name);
  open_storage(name);
  fill();
  inject(kinds, path, 1, 1 << 20, number);
  CHECK(damo_storage_compact(storage) != DAMO_STATUS_CORRUPTION);
  (void)train();
  (void)damo_storage_flush(storage);
  failed = stop_injecting();
  if (failed == 0) fprintf(stderr, "%s: nothing failed\n", name);
  CHECK(failed > 0);
  everything_works(checkpoint);
  closes_and_opens(name);
}

/* Starts a process that has no descriptors left, or that meets one error at two of the places. All
   processes run at once, since they mostly wait. */
static void begin(size_t error) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child > 0) return;
  if (error == ERRORS) {
    descriptors_are_used_up();
  } else {
    size_t place;
    for (place = error % 2; place < PLACES; place += 2)
      fails_for_a_while(places[place].name, places[place].kinds, places[place].path,
                        errors[error].name, errors[error].number);
  }
  exit(0);
}

int main(void) {
  size_t error;
  int index, status, failed = 0;
  for (index = 0; index < KEYS; index++) keys[index] = index;
  for (index = 0; index < KEYS * DIM; index++) gradients[index] = -1;
  for (error = 0; error <= ERRORS; error++) begin(error);
  while (wait(&status) > 0) failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  CHECK(failed == 0);
  return 0;
}

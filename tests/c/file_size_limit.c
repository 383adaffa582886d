/* A file that would grow beyond the process's limit is an error of the call, and no signal: neither
 * for the calling thread nor for threads that started before the limit was set. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>

#include "check.h"

enum { DIM = 64, KEYS = 1000 };

static int64_t keys[KEYS];
static float weights[KEYS * DIM];

static void limit(rlim_t bytes) {
  struct rlimit now;
  CHECK(getrlimit(RLIMIT_FSIZE, &now) == 0);
  now.rlim_cur = bytes;
  CHECK(setrlimit(RLIMIT_FSIZE, &now) == 0);
}

static void signal_is_as_it_was(void) {
  sigset_t set;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0 && !sigismember(&set, SIGXFSZ));
  CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGXFSZ));
}

/* Makes KEYS new rows a step, until a call fails or all steps are done; returns the number of
 * steps. */
static int fill(damo_embedding *embedding, int steps, damo_status *status) {
  int step, index;
  for (step = 0; step < steps && *status == DAMO_STATUS_OK; step++) {
    for (index = 0; index < KEYS; index++) keys[index] = (int64_t)step * KEYS + index;
    *status = damo_embedding_apply_gradients(embedding, keys, KEYS, weights, KEYS * DIM);
    signal_is_as_it_was();
  }
  return step;
}

/* The write-back thread and RocksDB's threads are older than the limit. They meet it, and the
 * process lives on. */
static void threads_from_before_the_limit(damo_optimizer *sgd, damo_initializer *normal) {
  damo_params *options = damo_params_new();
  damo_storage *storage;
  damo_embedding *embedding;
  damo_status status = DAMO_STATUS_OK;
  CHECK_OK(damo_params_set_str(options, "durability", "checkpoint"));
  CHECK_OK(damo_params_set_int(options, "cache_bytes", 1 << 20));
  storage = damo_storage_new("early", 0, options);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, sgd, normal, DIM, 0, NULL);
  CHECK(embedding != NULL);
  limit(1 << 20);
  damo_params_free(damo_params_new());
  fill(embedding, 60, &status);
  CHECK(status == DAMO_STATUS_OK);
  CHECK_OK(damo_storage_flush(storage));
  CHECK(damo_storage_compact(storage) == DAMO_STATUS_IO);
  signal_is_as_it_was();
  limit(RLIM_INFINITY);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_params_free(options);
}

/* Rows in memory only, more than fit below the limit. */
static damo_embedding *unwritten(damo_storage *storage, damo_optimizer *sgd,
                                 damo_initializer *normal) {
  damo_embedding *embedding = damo_embedding_new(storage, sgd, normal, DIM, 0, NULL);
  damo_status status = DAMO_STATUS_OK;
  CHECK(embedding != NULL);
  CHECK(fill(embedding, 20, &status) == 20);
  return embedding;
}

static damo_status with_iterator(damo_storage *storage) {
  damo_iterator *iterator = damo_iterator_new(storage, DAMO_ALL_GROUPS);
  if (iterator == NULL) return damo_last_error_code();
  damo_iterator_free(iterator);
  return DAMO_STATUS_OK;
}

static damo_status scan(damo_storage *storage, int call) {
  uint64_t rows = 0;
  switch (call) {
    case 0: return damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows);
    case 1: return damo_storage_verify(storage, &rows);
    case 2: return damo_storage_dump(storage, "dump", NULL);
    case 3: return with_iterator(storage);
    case 4: return damo_storage_flush(storage);
    case 5: return damo_storage_compact(storage);
    default: return damo_storage_checkpoint(storage, "checkpoint");
  }
}

/* Reading calls first write what has changed, on a thread of their own; freeing the last handle
 * writes on the caller's thread. No handle was made since the limit was set. */
static void calls_that_write_first(damo_optimizer *sgd, damo_initializer *normal) {
  damo_params *options = damo_params_new();
  int call;
  CHECK_OK(damo_params_set_str(options, "durability", "checkpoint"));
  for (call = 0; call < 8; call++) {
    char path[16];
    uint64_t rows = 0;
    damo_storage *storage;
    damo_embedding *embedding;
    snprintf(path, sizeof path, "scan%d", call);
    storage = damo_storage_new(path, 0, options);
    CHECK(storage != NULL);
    embedding = unwritten(storage, sgd, normal);
    limit(1 << 20);
    if (call < 7) {
      CHECK(scan(storage, call) == DAMO_STATUS_IO);
      signal_is_as_it_was();
      limit(RLIM_INFINITY);
      CHECK_OK(damo_storage_flush(storage));
      CHECK_OK(damo_storage_verify(storage, &rows));
      CHECK(rows == 20 * KEYS);
    }
    damo_embedding_free(embedding);
    damo_storage_free(storage);
    signal_is_as_it_was();
    limit(RLIM_INFINITY);
    /* Nothing half-written is in the way. */
    storage = damo_storage_new(path, 0, options);
    CHECK(storage != NULL);
    CHECK_OK(damo_storage_verify(storage, &rows));
    CHECK(rows == (call < 7 ? 20 * KEYS : 0));
    damo_storage_free(storage);
  }
  damo_params_free(options);
}

/* What the host has blocked stays blocked. */
static void a_blocked_signal_stays_blocked(void) {
  sigset_t set;
  CHECK(sigemptyset(&set) == 0 && sigaddset(&set, SIGXFSZ) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  limit(1 << 20);
  damo_params_free(damo_params_new());
  limit(RLIM_INFINITY);
  sigset_t before;
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, &before) == 0 && sigismember(&before, SIGXFSZ));
}

int main(void) {
  damo_params *options = damo_params_new(), *filter = damo_params_new();
  damo_initializer *normal = damo_initializer_new("random_normal", NULL);
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_storage *storage;
  damo_embedding *embedding;
  damo_status status = DAMO_STATUS_OK;
  int steps;
  uint64_t rows = 0;
  CHECK_OK(damo_params_set_int(options, "cache_bytes", 1 << 20));
  CHECK_OK(damo_params_set_str(filter, "path", "filter"));
  CHECK_OK(damo_params_set_int(filter, "capacity", 10000000));

  calls_that_write_first(sgd, normal);
  threads_from_before_the_limit(sgd, normal);
  a_blocked_signal_stays_blocked();

  limit(1 << 20);
  storage = damo_storage_new("storage", 0, options);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, sgd, normal, DIM, 0, NULL);
  CHECK(embedding != NULL);
  CHECK_NULL(damo_filter_new(filter), DAMO_STATUS_IO, "filter");
  signal_is_as_it_was();
  steps = fill(embedding, 100, &status);
  CHECK(status == DAMO_STATUS_IO);
  status = damo_storage_flush(storage);
  CHECK(status == DAMO_STATUS_OK || status == DAMO_STATUS_IO);
  signal_is_as_it_was();

  /* There is room again, and every call that returned is in the storage. */
  limit(RLIM_INFINITY);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, weights, KEYS * DIM));
  CHECK_OK(damo_storage_flush(storage));
  CHECK_OK(damo_storage_verify(storage, &rows));
  CHECK(rows == (uint64_t)steps * KEYS);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(normal);
  damo_params_free(options);
  damo_params_free(filter);
  return 0;
}

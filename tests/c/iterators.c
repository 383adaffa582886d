/* Iterators: freed in any order, used by many threads, outliving every other handle, and in a
   forked child. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { DIM = 2, KEYS = 60000, THREADS = 4 };
static int64_t keys[KEYS];
static float gradients[KEYS * DIM];

/* The next row is this key of group 3, after this many steps of 0.5. */
static void next_is(damo_iterator *iterator, int64_t expected, int64_t steps) {
  bool found = false;
  uint32_t group = 0;
  int64_t key = 0, time = 0, num = 0;
  size_t dim = 0, data_len = 0;
  const float *data = NULL;
  CHECK_OK(damo_iterator_next(iterator, &found, &group, &key, &time, &num, &dim, &data, &data_len));
  CHECK(found && group == 3 && key == expected && num == steps && time > 1700000000000);
  CHECK(dim == DIM && data_len == DIM && data[0] == -0.5f * (float)steps && data[1] == data[0]);
}

static void at_end(damo_iterator *iterator) {
  bool found = true;
  int64_t key = -77;
  CHECK_OK(damo_iterator_next(iterator, &found, NULL, &key, NULL, NULL, NULL, NULL, NULL));
  CHECK(!found && key == -77);
}

/* Threads share one iterator: each row comes to one of them. */
static damo_iterator *shared;
static unsigned char seen[KEYS];

static void *take(void *argument) {
  bool found = true;
  int64_t key = 0, last = -1;
  (void)argument;
  for (;;) {
    CHECK_OK(damo_iterator_next(shared, &found, NULL, &key, NULL, NULL, NULL, NULL, NULL));
    if (!found) return NULL;
    CHECK(key > last);
    last = key;
    seen[key]++;
  }
}

static void threads_share_one(damo_storage *storage) {
  pthread_t threads[THREADS];
  int i;
  shared = damo_iterator_new(storage, DAMO_ALL_GROUPS);
  CHECK(shared != NULL);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, take, NULL) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (i = 0; i < KEYS; i++) CHECK(seen[i] == 1);
  at_end(shared);
  damo_iterator_free(shared);
}

/* A child that was forked while a thread was inside next gets FORKED, and frees and ends without
   waiting. */
static void *busy(void *argument) {
  take(argument);
  return NULL;
}

static void forked_children_are_told(damo_storage *storage, const char *dir) {
  int round;
  for (round = 0; round < 6; round++) {
    pthread_t thread;
    pid_t child;
    struct timespec wait = {0, 0};
    bool found = false;
    int status = 0;
    uint64_t rows = 0;
    damo_iterator *idle = damo_iterator_new(storage, 3);
    shared = damo_iterator_new(storage, 3);
    CHECK(idle != NULL && shared != NULL);
    next_is(idle, 0, 2);
    CHECK(pthread_create(&thread, NULL, busy, NULL) == 0);
    wait.tv_nsec = 700000L * round;
    nanosleep(&wait, NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(60); /* instead of hanging for ever */
      CHECK_FAILS(damo_iterator_next(idle, &found, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  DAMO_STATUS_FORKED, "damo_iterator_next", dir, "forked child");
      CHECK_FAILS(damo_iterator_next(shared, &found, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  DAMO_STATUS_FORKED, dir);
      CHECK_NULL(damo_iterator_new(storage, 3), DAMO_STATUS_FORKED, "damo_iterator_new", dir);
      CHECK_NULL(damo_iterator_new(storage, 4), DAMO_STATUS_FORKED, dir);
      CHECK_FAILS(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &rows), DAMO_STATUS_FORKED, dir);
      CHECK_FAILS(damo_storage_verify(storage, &rows), DAMO_STATUS_FORKED, dir);
      CHECK_FAILS(damo_storage_dump(storage, "dump-of-a-child", NULL), DAMO_STATUS_FORKED, dir);
      CHECK_FAILS(damo_storage_checkpoint(storage, "checkpoint-of-a-child"), DAMO_STATUS_FORKED,
                  dir);
      CHECK_FAILS(damo_storage_load_from_checkpoint(storage, "."), DAMO_STATUS_FORKED, dir);
      CHECK_FAILS(damo_test_set_clock(storage, 5), DAMO_STATUS_FORKED, dir);
      damo_iterator_free(idle);
      if (round % 2 == 0) damo_storage_free(storage);
      damo_iterator_free(shared);
      exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* the parent's go on */
    next_is(idle, 1, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    damo_iterator_free(idle);
    damo_iterator_free(shared);
  }
}

int main(int argc, char **argv) {
  damo_params *gamma = damo_params_new();
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_storage *storage;
  damo_optimizer *sgd;
  damo_embedding *embedding;
  int order, i;
  CHECK(argc == 2);
  for (i = 0; i < KEYS; i++) keys[i] = i;
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  CHECK_OK(damo_params_set_float(gamma, "gamma", 0.5));
  sgd = damo_optimizer_new("sgd", gamma, NULL);

  /* Two iterators of two moments, read in turn while rows change and go. */
  storage = damo_storage_new(argv[1], 0, NULL);
  embedding = damo_embedding_new(storage, sgd, zeros, DIM, 3, NULL);
  CHECK(embedding != NULL);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  {
    damo_iterator *first = damo_iterator_new(storage, 3), *second;
    next_is(first, 0, 1);
    CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
    second = damo_iterator_new(storage, DAMO_ALL_GROUPS);
    CHECK_OK(damo_embedding_delete(embedding, keys, KEYS));
    for (i = 1; i < KEYS; i++) {
      next_is(first, i, 1);
      next_is(second, i - 1, 2);
    }
    at_end(first);
    at_end(first);
    next_is(second, KEYS - 1, 2);
    at_end(second);
    damo_iterator_free(second);
    damo_iterator_free(first);
    first = damo_iterator_new(storage, 3);
    at_end(first);
    damo_iterator_free(first);
  }
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  threads_share_one(storage);
  forked_children_are_told(storage, argv[1]);
  damo_embedding_free(embedding);
  damo_storage_free(storage);

  /* Two half-read iterators, the storage and the embedding, freed in every order. */
  for (order = 0; order < 24; order++) {
    int left[4] = {0, 1, 2, 3}, rest = order, count;
    bool used[2] = {true, true};
    damo_iterator *iterators[2];
    storage = damo_storage_new(argv[1], 0, NULL);
    CHECK(storage != NULL);
    embedding = damo_embedding_new(storage, sgd, zeros, DIM, 3, NULL);
    CHECK(embedding != NULL);
    for (i = 0; i < 2; i++) {
      iterators[i] = damo_iterator_new(storage, 3);
      CHECK(iterators[i] != NULL);
    }
    for (count = 4; count > 0; count--) {
      const int next = rest % count, which = left[next];
      rest /= count;
      left[next] = left[count - 1];
      for (i = 0; i < 2; i++)
        if (used[i]) next_is(iterators[i], 4 - count, 2);
      if (which < 2) {
        damo_iterator_free(iterators[which]);
        used[which] = false;
      } else if (which == 2) {
        damo_storage_free(storage);
      } else {
        damo_embedding_free(embedding);
      }
      /* as long as one is left, it is open */
      if (count > 1) CHECK_NULL(damo_storage_new(argv[1], 0, NULL), DAMO_STATUS_BUSY, argv[1]);
    }
  }
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(gamma);
  return 0;
}

/* Many threads on one embedding: every gradient is applied exactly once, and each row has one first
   value. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>

#include "check.h"

enum { THREADS = 4, CALLS = 50, KEYS = 64, DIM = 2 };

static damo_embedding *embedding;

static void *train(void *argument) {
  const int thread = *(const int *)argument;
  int64_t keys[KEYS];
  float gradients[KEYS * DIM], weights[KEYS * DIM];
  int call, i;
  for (i = 0; i < KEYS; i++) keys[i] = i % 48 - 8; /* the same keys in all threads, some twice */
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  for (call = 0; call < CALLS; call++) {
    CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, weights, KEYS * DIM));
    CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
    /* errors are per thread */
    CHECK_FAILS(damo_embedding_set_step(embedding, -1 - thread), DAMO_STATUS_INVALID_ARGUMENT,
                "step is -");
    CHECK(damo_last_error_message()[strlen("damo_embedding_set_step: step is -")] == '1' + thread);
  }
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  int numbers[THREADS], i;
  int64_t key, num, step;
  float row[DIM];
  damo_params *gamma = damo_params_new();
  damo_storage *storage;
  damo_optimizer *sgd;
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  CHECK(argc == 2);
  CHECK_OK(damo_params_set_float(gamma, "gamma", 0.5));
  storage = damo_storage_new(argv[1], 0, NULL);
  sgd = damo_optimizer_new("sgd", gamma, NULL);
  embedding = damo_embedding_new(storage, sgd, zeros, DIM, 0, NULL);
  CHECK(embedding != NULL);
  for (i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK(pthread_create(&threads[i], NULL, train, &numbers[i]) == 0);
  }
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

  CHECK_OK(damo_embedding_step(embedding, &step));
  CHECK(step == THREADS * CALLS);
  for (key = -8; key < 40; key++) {
    const int64_t expected = THREADS * CALLS * (key < 8 ? 2 : 1);
    CHECK_OK(damo_embedding_record(embedding, key, NULL, &num, row, DIM));
    CHECK(num == expected);
    CHECK(row[0] == -0.5f * (float)expected && row[1] == row[0]);
  }
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(gamma);
  return 0;
}

/* On a full disk a call fails with IO, none of it is written, and what was stored stays readable.
 * Once there is room, the storage goes on with every acknowledged call. A file size limit stands in
 * for the disk. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <sys/resource.h>

#include "check.h"

enum { DIM = 64, KEYS = 256, MAX_CALLS = 4000 };

static int64_t keys[KEYS];
static float gradients[KEYS * DIM], weights[KEYS * DIM];

static damo_embedding *open_embedding(damo_storage *storage, damo_optimizer *sgd,
                                      damo_initializer *zeros) {
  damo_embedding *embedding = damo_embedding_new(storage, sgd, zeros, DIM, 0, NULL);
  CHECK(embedding != NULL);
  return embedding;
}

/* Every row has had exactly this many steps of -0.5. */
static void check_rows(damo_embedding *embedding, int64_t steps) {
  int64_t step;
  int i;
  CHECK_OK(damo_embedding_step(embedding, &step));
  CHECK(step == steps);
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, weights, KEYS * DIM, NULL));
  for (i = 0; i < KEYS * DIM; i++) CHECK(weights[i] == -0.5f * (float)steps);
}

int main(int argc, char **argv) {
  struct rlimit limit, unlimited;
  int64_t done;
  int i;
  damo_params *gamma = damo_params_new();
  damo_storage *storage;
  damo_optimizer *sgd;
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_embedding *embedding;
  CHECK(argc == 2);
  for (i = 0; i < KEYS; i++) keys[i] = i;
  for (i = 0; i < KEYS * DIM; i++) gradients[i] = 1;
  CHECK_OK(damo_params_set_float(gamma, "gamma", 0.5));
  sgd = damo_optimizer_new("sgd", gamma, NULL);
  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  embedding = open_embedding(storage, sgd, zeros);

  signal(SIGXFSZ, SIG_IGN); /* or the limit would kill instead of failing the write */
  CHECK(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  limit = unlimited;
  limit.rlim_cur = 3 << 20;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  for (done = 0; done < MAX_CALLS; done++) {
    if (damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM) !=
        DAMO_STATUS_OK) {
      break;
    }
  }
  CHECK(done > 10 && done < MAX_CALLS);
  CHECK(damo_last_error_code() == DAMO_STATUS_IO);
  CHECK_SAYS("damo_embedding_apply_gradients");
  CHECK_SAYS("File too large");
  check_rows(embedding, done);
  /* still refused, still readable, whatever is called */
  CHECK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM) ==
        DAMO_STATUS_IO);
  CHECK(damo_embedding_insert(embedding, keys, KEYS, gradients, KEYS * DIM) == DAMO_STATUS_IO);
  check_rows(embedding, done);
  /* The rows themselves cannot be written either. The flush says so, and nothing is lost. */
  limit.rlim_cur = 20 << 10;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK(damo_storage_flush(storage) == DAMO_STATUS_IO);
  CHECK_SAYS("damo_storage_flush");
  check_rows(embedding, done);
  /* once there is room it goes on */
  CHECK(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  check_rows(embedding, done + 1);
  CHECK_OK(damo_storage_flush(storage));
  damo_embedding_free(embedding);
  damo_storage_free(storage);

  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  embedding = open_embedding(storage, sgd, zeros);
  check_rows(embedding, done + 1);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, KEYS * DIM));
  check_rows(embedding, done + 2);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(gamma);
  return 0;
}

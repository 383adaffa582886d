/* damo_embedding_sum_gradients: what it writes, what may be NULL, and what it refuses. */
#include <math.h>
#include <stdint.h>

#include "check.h"

enum { KEYS = 5, DIM = 2, FLOATS = KEYS * DIM };

static const int64_t keys[KEYS] = {7, -1, 7, 0, 7};
static const float gradients[FLOATS] = {1, 0, 0, 4, 1, 0, 9, 9, 1, 0};

static int64_t summed_keys[KEYS + 1];
static float sums[FLOATS + 1];
static size_t summed;
static double norm, largest;

static void reset(void) {
  size_t i;
  for (i = 0; i <= KEYS; i++) summed_keys[i] = -9;
  for (i = 0; i <= FLOATS; i++) sums[i] = 9.5f;
  summed = 99;
  norm = largest = -1;
}

/* A refused call has written nothing. */
static void check_untouched(void) {
  size_t i;
  for (i = 0; i <= KEYS; i++) CHECK(summed_keys[i] == -9);
  for (i = 0; i <= FLOATS; i++) CHECK(sums[i] == 9.5f);
  CHECK(summed == 99 && norm == -1 && largest == -1);
}

#define SUM(keys_, gradients_, keys_out, sums_out, summed_, norm_, largest_)               \
  damo_embedding_sum_gradients(embedding, keys_, KEYS, gradients_, FLOATS, keys_out, KEYS, \
                               sums_out, FLOATS, summed_, norm_, largest_)
#define REFUSED(call, ...)                                                                        \
  do {                                                                                            \
    CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_sum_gradients", __VA_ARGS__); \
    check_untouched();                                                                            \
  } while (0)

static void sums_are_written(const damo_embedding *embedding) {
  size_t seven, i;
  int64_t step = -1;
  float weights[FLOATS];
  uint8_t found[KEYS];

  CHECK_OK(SUM(keys, gradients, summed_keys, sums, &summed, &norm, &largest));
  CHECK(summed == 2 && norm == 5 && largest == 4);
  seven = summed_keys[0] == 7 ? 0 : 1;
  CHECK(summed_keys[seven] == 7 && summed_keys[1 - seven] == -1);
  CHECK(sums[DIM * seven] == 3 && sums[DIM * seven + 1] == 0);
  CHECK(sums[DIM * (1 - seven)] == 0 && sums[DIM * (1 - seven) + 1] == 4);
  for (i = 2; i <= KEYS; i++) CHECK(summed_keys[i] == -9);
  for (i = 2 * DIM; i <= FLOATS; i++) CHECK(sums[i] == 9.5f);

  /* more room than needed, and NULL for norm and largest */
  reset();
  CHECK_OK(damo_embedding_sum_gradients(embedding, keys, KEYS, gradients, FLOATS, summed_keys,
                                        KEYS + 1, sums, FLOATS + 1, &summed, NULL, NULL));
  CHECK(summed == 2 && norm == -1 && largest == -1);
  CHECK_OK(damo_embedding_sum_gradients(embedding, keys, 1, gradients, DIM, summed_keys, 1, sums,
                                        DIM, &summed, NULL, &largest));
  CHECK(summed == 1 && norm == -1 && largest == 1);
  CHECK_OK(damo_embedding_sum_gradients(embedding, NULL, 0, NULL, 0, NULL, 0, NULL, 0, &summed,
                                        &norm, &largest));
  CHECK(summed == 0 && norm == 0 && largest == 0);

  /* no row was made, and no step taken */
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, weights, FLOATS, found));
  for (i = 0; i < KEYS; i++) CHECK(found[i] == 0);
  CHECK_OK(damo_embedding_step(embedding, &step));
  CHECK(step == 0);
}

static void misuse_is_refused(const damo_embedding *embedding) {
  const void *odd = (const char *)keys + 1;
  float bad[FLOATS];
  double *inside_keys = (double *)(void *)(summed_keys + 2);
  void *inside_sums = sums + 2;

  CHECK_FAILS(damo_embedding_sum_gradients(NULL, keys, KEYS, gradients, FLOATS, summed_keys, KEYS,
                                           sums, FLOATS, &summed, NULL, NULL),
              DAMO_STATUS_INVALID_ARGUMENT, "embedding is NULL");
  check_untouched();
  REFUSED(SUM(NULL, gradients, summed_keys, sums, &summed, &norm, &largest), "keys is NULL");
  REFUSED(SUM(keys, NULL, summed_keys, sums, &summed, &norm, &largest), "gradients is NULL");
  REFUSED(SUM(keys, gradients, NULL, sums, &summed, &norm, &largest), "summed_keys is NULL");
  REFUSED(SUM(keys, gradients, summed_keys, NULL, &summed, &norm, &largest), "sums is NULL");
  REFUSED(SUM(keys, gradients, summed_keys, sums, NULL, &norm, &largest), "summed is NULL");
  REFUSED(SUM((const int64_t *)odd, gradients, summed_keys, sums, &summed, &norm, &largest),
          "keys is 0x", "aligned to 8");

  REFUSED(damo_embedding_sum_gradients(embedding, keys, KEYS, gradients, FLOATS - 1, summed_keys,
                                       KEYS, sums, FLOATS, &summed, &norm, &largest),
          "gradients_len is 9", "10 floats");
  REFUSED(damo_embedding_sum_gradients(embedding, keys, KEYS, gradients, FLOATS, summed_keys,
                                       KEYS - 1, sums, FLOATS, &summed, &norm, &largest),
          "summed_keys_len is 4", "keys_len is 5");
  REFUSED(damo_embedding_sum_gradients(embedding, keys, KEYS, gradients, FLOATS, summed_keys, KEYS,
                                       sums, FLOATS - 1, &summed, &norm, &largest),
          "sums_len is 9", "5 keys x dim 2 = 10 floats");
  REFUSED(damo_embedding_sum_gradients(embedding, keys, SIZE_MAX, gradients, FLOATS, summed_keys,
                                       KEYS, sums, FLOATS, &summed, &norm, &largest),
          "18446744073709551615");

  /* every pair of buffers of which one is written */
  REFUSED(SUM(summed_keys + 1, gradients, summed_keys, sums, &summed, &norm, &largest), "keys (",
          "summed_keys (", "overlap");
  REFUSED(SUM(keys, sums + 1, summed_keys, sums, &summed, &norm, &largest), "gradients (", "sums (",
          "overlap");
  REFUSED(SUM(keys, gradients, (int64_t *)inside_sums, sums, &summed, &norm, &largest),
          "summed_keys (", "sums (", "overlap");
  REFUSED(SUM(keys, gradients, summed_keys, sums, (size_t *)inside_sums, &norm, &largest),
          "summed (", "overlap");
  REFUSED(SUM(keys, gradients, summed_keys, sums, &summed, inside_keys, &largest), "norm (",
          "overlap");
  REFUSED(SUM(keys, gradients, summed_keys, sums, &summed, &norm, inside_keys), "largest (",
          "overlap");
  REFUSED(SUM(keys, gradients, summed_keys, sums, &summed, &norm, &norm), "norm (", "largest (",
          "overlap");
  REFUSED(SUM(keys, gradients, summed_keys, sums, &summed, (double *)(void *)&summed, NULL),
          "summed (", "norm (", "overlap");

  memcpy(bad, gradients, sizeof bad);
  bad[3] = NAN;
  REFUSED(SUM(keys, bad, summed_keys, sums, &summed, &norm, &largest),
          "key -1 (position 1, column 1)", "NaN");
  bad[3] = -INFINITY;
  REFUSED(SUM(keys, bad, summed_keys, sums, &summed, &norm, &largest), "key -1", "-inf");
  bad[3] = 4;
  bad[0] = bad[4] = bad[8] = 5e17f;
  REFUSED(SUM(keys, bad, summed_keys, sums, &summed, &norm, &largest), "gradients of key 7 add up");
  bad[0] = bad[4] = bad[8] = 1;
  bad[6] = NAN; /* a gradient of the padding key */
  CHECK_OK(SUM(keys, bad, summed_keys, sums, &summed, &norm, &largest));
  CHECK(summed == 2 && norm == 5);
}

int main(int argc, char **argv) {
  char path[4096];
  damo_storage *storage;
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_params *options = damo_params_new();
  damo_embedding *embedding;

  CHECK(argc == 2);
  snprintf(path, sizeof path, "%s/table", argv[1]);
  storage = damo_storage_new(path, 0, NULL);
  CHECK_OK(damo_params_set_int(options, "padding_key", 0));
  embedding = damo_embedding_new(storage, sgd, ones, DIM, 0, options);
  CHECK(embedding != NULL);
  reset();
  sums_are_written(embedding);
  reset();
  misuse_is_refused(embedding);
  damo_embedding_free(embedding);
  damo_params_free(options);
  damo_initializer_free(ones);
  damo_optimizer_free(sgd);
  damo_storage_free(storage);
  return 0;
}

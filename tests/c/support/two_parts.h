/* Two groups in a step: three keys of dim 1, and two bags of dim 2. */
#ifndef TWO_PARTS_H
#define TWO_PARTS_H

#include <stdint.h>

#include "../check.h"

enum { ONE = 1, TWO = 2, KEYS = 3 };

static const int64_t keys[KEYS] = {5, 6, 7}, offsets[2] = {0, 2};
static damo_storage *storage;
static damo_embedding *one, *two;
static damo_step *step;
static float ones[KEYS], twos[2 * TWO];

static damo_embedding *open_group(const damo_storage *of, uint32_t group, size_t dim) {
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *initializer = damo_initializer_new("ones", NULL);
  damo_embedding *embedding = damo_embedding_new(of, sgd, initializer, dim, group, NULL);
  CHECK(embedding != NULL);
  damo_optimizer_free(sgd);
  damo_initializer_free(initializer);
  return embedding;
}

static void open_all(void) {
  storage = damo_storage_new("storage", 0, NULL);
  CHECK(storage != NULL);
  one = open_group(storage, 0, ONE);
  two = open_group(storage, 1, TWO);
  step = damo_step_new(storage, NULL);
  CHECK(step != NULL);
}

static void free_all(void) {
  damo_embedding_free(one);
  damo_embedding_free(two);
  damo_storage_free(storage);
  damo_step_free(step);
}

static void add_parts(const char *pooling) {
  CHECK_OK(damo_step_clear(step));
  CHECK_OK(damo_step_add_keys(step, one, keys, KEYS));
  CHECK_OK(damo_step_add_bags(step, two, keys, KEYS, offsets, 2, false, pooling, NULL));
}

static void fill(float value) {
  size_t i;
  for (i = 0; i < KEYS; i++) ones[i] = value;
  for (i = 0; i < 2 * TWO; i++) twos[i] = value;
}

static damo_rows rows_of(float *floats, size_t len, size_t stride) {
  damo_rows rows;
  rows.floats = floats, rows.floats_len = len, rows.stride = stride;
  return rows;
}

/* Both parts, as they should be but for what the caller changes. */
static damo_rows *parts(void) {
  static damo_rows rows[2];
  rows[0] = rows_of(ones, KEYS, ONE);
  rows[1] = rows_of(twos, 2 * TWO, TWO);
  return rows;
}

#define REFUSED(call, ...) CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, __VA_ARGS__)

#endif

/* damo_embedding_begin_lookup and damo_embedding_finish_lookup: what they write, what they refuse,
   and what may be freed when. */
#include <stdint.h>

#include "check.h"

enum { KEYS = 300, DIM = 2, FLOATS = KEYS * DIM };

static int64_t keys[KEYS], positions[KEYS];
/* One call gives a length of FLOATS + 1. The extra float keeps it out of the buffer behind. */
static float weights[FLOATS + 1], now[FLOATS];
static size_t changed;

static damo_lookup *begin(const damo_embedding *embedding) {
  damo_lookup *lookup = damo_embedding_begin_lookup(embedding, keys, KEYS, weights, FLOATS);
  CHECK(lookup != NULL);
  return lookup;
}

static damo_status finish(const damo_embedding *embedding, const damo_lookup *lookup) {
  return damo_embedding_finish_lookup(embedding, lookup, weights, FLOATS, positions, KEYS,
                                      &changed);
}

static void changes_are_told(const damo_embedding *embedding) {
  const float gradient[DIM] = {1, 1};
  damo_lookup *lookup = begin(embedding);
  CHECK(weights[0] == 0 && weights[FLOATS - 1] == 0);
  CHECK_OK(finish(embedding, lookup));
  CHECK(changed == KEYS && positions[0] == 0 && positions[KEYS - 1] == KEYS - 1);
  CHECK(weights[0] == 1 && weights[FLOATS - 1] == 1);
  damo_lookup_free(lookup);

  /* a row without a step that was made in this millisecond is read again: steps avoid it */
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, now, FLOATS));
  lookup = begin(embedding);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys + 7, 1, gradient, DIM));
  CHECK_OK(finish(embedding, lookup));
  CHECK(changed == 1 && positions[0] == 7);
  CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, now, FLOATS));
  CHECK(memcmp(weights, now, sizeof now) == 0);
  damo_lookup_free(lookup);

  /* few keys, and none */
  lookup = damo_embedding_begin_lookup(embedding, keys, 9, weights, 9 * DIM);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys + 8, 1, gradient, DIM));
  CHECK_OK(damo_embedding_finish_lookup(embedding, lookup, weights, 9 * DIM, positions, 9,
                                        &changed));
  CHECK(changed == 1 && positions[0] == 8);
  damo_lookup_free(lookup);
  lookup = damo_embedding_begin_lookup(embedding, NULL, 0, NULL, 0);
  CHECK_OK(damo_embedding_finish_lookup(embedding, lookup, NULL, 0, NULL, 0, &changed));
  CHECK(changed == 0);
  damo_lookup_free(lookup);
}

#define REFUSED(call, ...)                                                                        \
  CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_finish_lookup", __VA_ARGS__)
#define FINISH(weights_, weights_len, positions_, positions_len, changed_)                     \
  damo_embedding_finish_lookup(embedding, lookup, weights_, weights_len, positions_,           \
                               positions_len, changed_)

static void misuse_is_refused(const damo_embedding *embedding, const damo_embedding *other) {
  damo_lookup *lookup;
  void *inside_weights = weights + 4;

  CHECK_NULL(damo_embedding_begin_lookup(NULL, keys, KEYS, weights, FLOATS),
             DAMO_STATUS_INVALID_ARGUMENT, "embedding is NULL");
  CHECK_NULL(damo_embedding_begin_lookup(embedding, NULL, KEYS, weights, FLOATS),
             DAMO_STATUS_INVALID_ARGUMENT, "keys is NULL");
  CHECK_NULL(damo_embedding_begin_lookup(embedding, keys, KEYS, weights, FLOATS - 1),
             DAMO_STATUS_INVALID_ARGUMENT, "weights_len is 599");
  CHECK_NULL(damo_embedding_begin_lookup(embedding, inside_weights, KEYS, weights, FLOATS),
             DAMO_STATUS_INVALID_ARGUMENT, "overlap");

  lookup = begin(embedding);
  REFUSED(damo_embedding_finish_lookup(NULL, lookup, weights, FLOATS, positions, KEYS, &changed),
          "embedding is NULL");
  REFUSED(finish(embedding, NULL), "lookup is NULL");
  REFUSED(finish(embedding, (const void *)embedding), "lookup is a damo_embedding");
  REFUSED(finish(other, lookup), "begun with another embedding");
  REFUSED(FINISH(NULL, FLOATS, positions, KEYS, &changed), "weights is NULL");
  REFUSED(FINISH(weights, FLOATS + 1, positions, KEYS, &changed), "weights_len is 601");
  REFUSED(FINISH(weights, FLOATS, NULL, KEYS, &changed), "positions is NULL");
  REFUSED(FINISH(weights, FLOATS, positions, KEYS - 1, &changed), "positions_len is 299");
  REFUSED(FINISH(weights, FLOATS, positions, KEYS, NULL), "changed is NULL");
  REFUSED(FINISH(weights, FLOATS, inside_weights, KEYS, &changed), "overlap");
  REFUSED(FINISH(weights, FLOATS, positions, KEYS, inside_weights), "overlap");
  CHECK_OK(finish(embedding, lookup));
  REFUSED(finish(embedding, lookup), "is finished");
  damo_lookup_free(lookup);
  damo_lookup_free(NULL);
}

int main(void) {
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_storage *storage = damo_storage_new("storage", 0, NULL);
  damo_embedding *embedding = damo_embedding_new(storage, sgd, ones, DIM, 0, NULL);
  damo_embedding *other = damo_embedding_new(storage, sgd, ones, DIM, 0, NULL);
  damo_lookup *finished, *begun;
  int i;
  CHECK(embedding != NULL && other != NULL);
  for (i = 0; i < KEYS; i++) keys[i] = i;

  changes_are_told(embedding);
  misuse_is_refused(embedding, other);

  /* lookups outlive what they were begun with, and keep nothing open */
  finished = begin(embedding);
  CHECK_OK(finish(embedding, finished));
  begun = begin(embedding);
  damo_embedding_free(embedding);
  damo_embedding_free(other);
  damo_storage_free(storage);
  storage = damo_storage_new("storage", 0, NULL);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, sgd, ones, DIM, 0, NULL);
  REFUSED(finish(embedding, begun), "begun with another embedding");
  damo_lookup_free(begun);
  damo_lookup_free(finished);

  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(ones);
  return 0;
}

/* damo_embedding_clear removes all rows of a group, for every handle, and no other rows. An
 * iterator that began before the call still has them. */
#include <stdint.h>

#include "check.h"

enum { DIM = 2, KEYS = 1000 };
static int64_t keys[KEYS];
static float floats[KEYS * DIM];
static uint8_t found[KEYS];

static uint64_t rows_of(damo_storage *storage, uint32_t group) {
  uint64_t rows = UINT64_MAX;
  CHECK_OK(damo_storage_row_count(storage, group, &rows));
  return rows;
}

static int64_t step_of(damo_embedding *embedding) {
  int64_t step = -1;
  CHECK_OK(damo_embedding_step(embedding, &step));
  return step;
}

static void train(damo_embedding *embedding) {
  int i;
  for (i = 0; i < KEYS; i++) keys[i] = i - KEYS / 2;
  for (i = 0; i < KEYS * DIM; i++) floats[i] = 1;
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, floats, KEYS * DIM));
}

static void is_empty(damo_storage *storage, damo_embedding *embedding, uint32_t group) {
  int i;
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, floats, KEYS * DIM, found));
  for (i = 0; i < KEYS; i++) CHECK(found[i] == 0 && floats[i * DIM] == 0);
  CHECK_FAILS(damo_embedding_record(embedding, keys[3], NULL, NULL, NULL, 0), DAMO_STATUS_NOT_FOUND,
              "has no row");
  CHECK(rows_of(storage, group) == 0 && step_of(embedding) == 0);
}

int main(void) {
  damo_storage *storage = damo_storage_new("storage", 0, NULL);
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_embedding *users = damo_embedding_new(storage, sgd, ones, DIM, 65535, NULL);
  damo_embedding *second = damo_embedding_new(storage, sgd, ones, DIM, 65535, NULL);
  damo_embedding *others = damo_embedding_new(storage, sgd, ones, DIM, 65534, NULL);
  damo_iterator *before;
  damo_params *options = damo_params_new();
  void *handle = storage;
  uint64_t count = 0;
  bool more = true;

  CHECK(users != NULL && second != NULL && others != NULL);
  train(users);
  train(others);
  before = damo_iterator_new(storage, 65535);
  CHECK(before != NULL);
  CHECK_OK(damo_embedding_clear(users));
  is_empty(storage, users, 65535);
  is_empty(storage, second, 65535);
  CHECK(rows_of(storage, 65534) == KEYS && step_of(others) == 1);
  CHECK_OK(damo_embedding_clear(second)); /* the group is empty already */
  while (more) {
    CHECK_OK(damo_iterator_next(before, &more, NULL, NULL, NULL, NULL, NULL, NULL, NULL));
    count += more;
  }
  CHECK(count == KEYS);
  damo_iterator_free(before);

  /* New rows have first weights, and steps count from 0. */
  train(second);
  CHECK_OK(damo_embedding_peek(users, keys, KEYS, floats, KEYS * DIM, found));
  CHECK(found[7] == 1 && floats[7] == 1 - 1e-3f && step_of(users) == 1);

  CHECK_FAILS(damo_embedding_clear(NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_clear",
              "embedding is NULL");
  CHECK_FAILS(damo_embedding_clear(handle), DAMO_STATUS_INVALID_ARGUMENT,
              "embedding is a damo_storage");
  CHECK(damo_test_panic(others) == DAMO_STATUS_PANIC);
  CHECK_FAILS(damo_embedding_clear(others), DAMO_STATUS_POISONED, "damo_embedding_clear",
              "group 65534");
  CHECK_OK(damo_embedding_clear(users));
  damo_embedding_free(others);
  damo_embedding_free(second);
  damo_embedding_free(users);
  damo_storage_free(storage);

  storage = damo_storage_new("storage", 0, NULL);
  users = damo_embedding_new(storage, sgd, ones, DIM, 65535, NULL);
  is_empty(storage, users, 65535);
  CHECK(rows_of(storage, 65534) == KEYS);
  damo_embedding_free(users);
  damo_storage_free(storage);

  CHECK_OK(damo_params_set_bool(options, "read_only", true));
  storage = damo_storage_new("storage", 0, options);
  others = damo_embedding_new(storage, sgd, ones, DIM, 65534, NULL);
  CHECK(others != NULL);
  CHECK_FAILS(damo_embedding_clear(others), DAMO_STATUS_NOT_SUPPORTED, "damo_embedding_clear",
              "read_only");
  CHECK(rows_of(storage, 65534) == KEYS);
  damo_embedding_free(others);
  damo_storage_free(storage);

  damo_params_free(options);
  damo_initializer_free(ones);
  damo_optimizer_free(sgd);
  return 0;
}

/* A panic inside damo becomes a status. Afterwards the group refuses writes, and nothing stored is
   lost. */
#include "check.h"

int main(int argc, char **argv) {
  const int64_t keys[2] = {10, 20}, fresh[1] = {30};
  const float gradients[2] = {1, 1};
  float before[2], after[2], weight[1];
  int64_t step = 0;
  damo_storage *storage;
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_embedding *hurt, *twin, *other;
  CHECK(argc == 2);

  CHECK_FAILS(damo_test_panic(NULL), DAMO_STATUS_PANIC, "damo_test_panic", "a bug in damo",
              "asked for", "error.rs");

  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  hurt = damo_embedding_new(storage, sgd, ones, 1, 1, NULL);
  twin = damo_embedding_new(storage, sgd, ones, 1, 1, NULL);
  other = damo_embedding_new(storage, sgd, ones, 1, 2, NULL);
  CHECK_OK(damo_embedding_apply_gradients(hurt, keys, 2, gradients, 2));
  CHECK_OK(damo_embedding_lookup(hurt, keys, 2, before, 2));

  CHECK_FAILS(damo_test_panic(hurt), DAMO_STATUS_PANIC, "damo_test_panic", "a bug in damo");

  /* writes are refused through every handle of the group, with the reason and the way out */
  CHECK_FAILS(damo_embedding_apply_gradients(hurt, keys, 2, gradients, 2), DAMO_STATUS_POISONED,
              "damo_embedding_apply_gradients", "group 1", "panicked", "open it again");
  CHECK_FAILS(damo_embedding_apply_gradients(twin, keys, 2, gradients, 2), DAMO_STATUS_POISONED,
              "group 1");
  CHECK_FAILS(damo_embedding_lookup(hurt, fresh, 1, weight, 1), DAMO_STATUS_POISONED, "group 1");
  CHECK_FAILS(damo_embedding_insert(hurt, fresh, 1, gradients, 1), DAMO_STATUS_POISONED, "group 1");
  CHECK_FAILS(damo_embedding_delete(hurt, keys, 1), DAMO_STATUS_POISONED, "group 1");
  CHECK_FAILS(damo_embedding_set_step(hurt, 9), DAMO_STATUS_POISONED, "group 1");
  CHECK_FAILS(damo_test_panic(hurt), DAMO_STATUS_POISONED, "group 1");

  /* Reading goes on, and so does the rest of the storage. */
  CHECK_OK(damo_embedding_peek(hurt, keys, 2, after, 2, NULL));
  CHECK(memcmp(before, after, sizeof before) == 0);
  CHECK_OK(damo_embedding_apply_gradients(other, keys, 2, gradients, 2));
  /* The other groups' rows are written all the same, and the flush reports the group. */
  CHECK_FAILS(damo_storage_flush(storage), DAMO_STATUS_POISONED, "damo_storage_flush", "group 1");

  damo_embedding_free(hurt);
  damo_embedding_free(twin);
  damo_embedding_free(other);
  damo_storage_free(storage);

  /* Opening again heals the group. */
  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  hurt = damo_embedding_new(storage, sgd, ones, 1, 1, NULL);
  CHECK_OK(damo_embedding_step(hurt, &step));
  CHECK(step == 1);
  CHECK_OK(damo_embedding_apply_gradients(hurt, keys, 2, gradients, 2));
  CHECK_OK(damo_embedding_lookup(hurt, keys, 2, after, 2));
  CHECK(after[0] == before[0] - 1e-3f);
  damo_storage_free(storage);
  damo_embedding_free(hurt);
  damo_optimizer_free(sgd);
  damo_initializer_free(ones);
  return 0;
}

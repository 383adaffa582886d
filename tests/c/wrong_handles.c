/* A handle of the wrong kind is refused, and freeing it does nothing. */
#include <stdint.h>

#include "check.h"

int main(void) {
  const int64_t key = 1;
  float row[2] = {0};
  void *params = damo_params_new();
  void *zeros = damo_initializer_new("zeros", NULL);
  void *sgd = damo_optimizer_new("sgd", NULL, NULL);
  void *storage = damo_storage_new("storage", 0, NULL);
  void *embedding = damo_embedding_new(storage, sgd, zeros, 2, 0, NULL);
  int64_t aligned[4] = {0};
  CHECK(embedding != NULL);

  CHECK_FAILS(damo_storage_flush(params), DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_flush",
              "storage is a damo_params", "a damo_storage is needed");
  CHECK_FAILS(damo_embedding_lookup(storage, &key, 1, row, 2), DAMO_STATUS_INVALID_ARGUMENT,
              "embedding is a damo_storage");
  CHECK_FAILS(damo_params_set_int(embedding, "a", 1), DAMO_STATUS_INVALID_ARGUMENT,
              "params is a damo_embedding");
  CHECK_FAILS(damo_embedding_set_filter(embedding, storage), DAMO_STATUS_INVALID_ARGUMENT,
              "filter is a damo_storage");
  CHECK_FAILS(damo_test_panic(sgd), DAMO_STATUS_INVALID_ARGUMENT, "embedding is a damo_optimizer");
  CHECK_NULL(damo_storage_new("other", 0, zeros), DAMO_STATUS_INVALID_ARGUMENT,
             "options is a damo_initializer");
  CHECK_NULL(damo_optimizer_new("sgd", NULL, params), DAMO_STATUS_INVALID_ARGUMENT,
             "scheduler is a damo_params");
  CHECK_NULL(damo_embedding_new(embedding, sgd, zeros, 2, 1, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "storage is a damo_embedding");
  CHECK_FAILS(damo_storage_flush((void *)aligned), DAMO_STATUS_INVALID_ARGUMENT, "no live handle");
  CHECK_FAILS(damo_storage_flush((void *)((char *)aligned + 1)), DAMO_STATUS_INVALID_ARGUMENT,
              "no handle");

  damo_embedding_free(storage);
  damo_storage_free(embedding);
  damo_params_free(sgd);
  damo_optimizer_free(params);
  damo_table_free((void *)aligned);
  damo_filter_free((void *)((char *)aligned + 1));
  CHECK_OK(damo_embedding_lookup(embedding, &key, 1, row, 2));
  CHECK_OK(damo_storage_flush(storage));

  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(params);
  return 0;
}

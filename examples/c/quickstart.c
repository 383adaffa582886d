/* damo from C: handles, error handling, one training step. Run it twice: the step count goes on. */
#include <stdio.h>

#include "damo.h"

static int failed(const char *what) {
  fprintf(stderr, "%s: %s (%s)\n", what, damo_last_error_message(),
          damo_status_name(damo_last_error_code()));
  return 1;
}

static int train(const damo_embedding *users) {
  enum { DIM = 4, KEYS = 3 };
  const int64_t keys[KEYS] = {42, -7, 42}; /* any 64-bit id; a repeated key is the same row */
  const float gradients[KEYS * DIM] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f,
                                       0.7f, 0.8f, 0.1f, 0.2f, 0.3f, 0.4f};
  float weights[KEYS * DIM];
  int64_t step = 0;
  if (damo_embedding_apply_gradients(users, keys, KEYS, gradients, KEYS * DIM) != DAMO_STATUS_OK) {
    return failed("step");
  }
  if (damo_embedding_lookup(users, keys, KEYS, weights, KEYS * DIM) != DAMO_STATUS_OK) {
    return failed("lookup");
  }
  if (damo_embedding_step(users, &step) != DAMO_STATUS_OK) return failed("counting");
  printf("step %lld: row 42 is %f %f %f %f\n", (long long)step, weights[0], weights[1], weights[2],
         weights[3]);
  return 0;
}

int main(int argc, char **argv) {
  /* _new returns NULL on failure; NULL parameters mean defaults. Read the message at once: the
     thread's next failure replaces it. */
  damo_storage *storage = damo_storage_new(argc > 1 ? argv[1] : "quickstart.damo", 0, NULL);
  if (storage == NULL) return failed("opening the storage");
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *normal = damo_initializer_new("random_normal", NULL);
  damo_params *options = damo_params_new();
  damo_params_set_str(options, "duplicates", "sum");
  damo_embedding *users = damo_embedding_new(storage, adam, normal, 4, 0, options);
  int exit_code = users == NULL ? failed("opening the group") : train(users);

  /* Everything is freed before the program ends. _free accepts NULL and any order. */
  damo_params_free(options);
  damo_storage_free(storage);
  damo_embedding_free(users);
  damo_optimizer_free(adam);
  damo_initializer_free(normal);
  return exit_code;
}

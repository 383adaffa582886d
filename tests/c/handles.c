/* Handles freed in every order, many times over, without leaks. What one needs of another stays
   alive. */
#include "check.h"

static void train(damo_embedding *embedding, float expected) {
  const int64_t key = 5;
  const float gradient = 1;
  float weight = 0;
  CHECK_OK(damo_embedding_apply_gradients(embedding, &key, 1, &gradient, 1));
  CHECK_OK(damo_embedding_lookup(embedding, &key, 1, &weight, 1));
  CHECK(weight == expected);
}

int main(int argc, char **argv) {
  int order;
  float expected = 1;
  CHECK(argc == 2);
  for (order = 0; order < 24; order++) {
    /* the order-th permutation of four handles */
    int left[4] = {0, 1, 2, 3}, rest = order, count;
    damo_params *gamma = damo_params_new(), *decay = damo_params_new();
    damo_scheduler *scheduler;
    damo_optimizer *sgd;
    damo_initializer *ones = damo_initializer_new("ones", NULL);
    damo_storage *storage = damo_storage_new(argv[1], 0, NULL);
    damo_embedding *embedding;
    CHECK(storage != NULL);
    CHECK_OK(damo_params_set_float(gamma, "learning_rate", 0.25));
    CHECK_OK(damo_params_set_int(decay, "decay_steps", 1000));
    CHECK_OK(damo_params_set_int(decay, "decay_rate", 1));
    scheduler = damo_scheduler_new("exponential_decay", decay);
    sgd = damo_optimizer_new("sgd", gamma, scheduler);
    embedding = damo_embedding_new(storage, sgd, ones, 1, 0, NULL);
    CHECK(embedding != NULL);
    damo_params_free(gamma);
    damo_params_free(decay);
    for (count = 4; count > 0; count--) {
      int next = rest % count, which = left[next];
      rest /= count;
      left[next] = left[count - 1];
      switch (which) {
        case 0: damo_storage_free(storage); break;
        case 1: damo_optimizer_free(sgd); break;
        case 2: damo_initializer_free(ones); break;
        case 3:
          expected -= 0.25f;
          train(embedding, expected);
          damo_embedding_free(embedding);
          break;
      }
    }
    damo_scheduler_free(scheduler);
  }
  return 0;
}

/* A freed handle is refused and may be freed once more, as long as nothing else has its memory. */
#include <stdint.h>

#include "check.h"

static void *make_params(void) { return damo_params_new(); }
static void *make_initializer(void) { return damo_initializer_new("zeros", NULL); }
static void *make_optimizer(void) { return damo_optimizer_new("sgd", NULL, NULL); }
static void *make_scheduler(void) {
  damo_params *params = damo_params_new();
  void *scheduler;
  CHECK_OK(damo_params_set_int(params, "decay_steps", 10));
  scheduler = damo_scheduler_new("cosine_decay", params);
  damo_params_free(params);
  return scheduler;
}
static void *make_filter(void) {
  damo_params *params = damo_params_new();
  void *filter;
  CHECK_OK(damo_params_set_str(params, "path", "filter"));
  CHECK_OK(damo_params_set_int(params, "capacity", 100));
  filter = damo_filter_new(params);
  damo_params_free(params);
  return filter;
}
static void *make_storage(void) { return damo_storage_new("other", 0, NULL); }

static const int64_t key = 1;
static damo_storage *storage;
static damo_optimizer *sgd;
static damo_initializer *zeros;
static void *make_embedding(void) { return damo_embedding_new(storage, sgd, zeros, 2, 0, NULL); }
static void *make_lookup(void) {
  float weights[2];
  damo_embedding *begins = make_embedding();
  void *lookup = damo_embedding_begin_lookup(begins, &key, 1, weights, 2);
  damo_embedding_free(begins);
  return lookup;
}
static void *make_step(void) { return damo_step_new(storage, NULL); }
static void *make_pin(void) {
  float *row;
  damo_pin *pin = NULL;
  damo_embedding *pins = make_embedding();
  CHECK_OK(damo_rows_pin(pins, &key, 1, &row, NULL, &pin));
  damo_embedding_free(pins);
  return pin;
}
static void *make_iterator(void) { return damo_iterator_new(storage, DAMO_ALL_GROUPS); }
static void *make_table(void) { return damo_table_open("table"); }

static void free_params(void *handle) { damo_params_free(handle); }
static void free_initializer(void *handle) { damo_initializer_free(handle); }
static void free_optimizer(void *handle) { damo_optimizer_free(handle); }
static void free_scheduler(void *handle) { damo_scheduler_free(handle); }
static void free_filter(void *handle) { damo_filter_free(handle); }
static void free_storage(void *handle) { damo_storage_free(handle); }
static void free_embedding(void *handle) { damo_embedding_free(handle); }
static void free_iterator(void *handle) { damo_iterator_free(handle); }
static void free_lookup(void *handle) { damo_lookup_free(handle); }
static void free_step(void *handle) { damo_step_free(handle); }
static void free_pin(void *handle) { damo_pin_free(handle); }
static void free_table(void *handle) { damo_table_free(handle); }

static damo_status use_params(void *handle) { return damo_params_set_int(handle, "a", 1); }
static damo_status use_optimizer(void *handle) {
  return damo_optimizer_set_learning_rate(handle, 0.5);
}
static damo_status use_filter(void *handle) { return damo_filter_sync(handle); }
static damo_status use_storage(void *handle) { return damo_storage_flush(handle); }
static damo_status use_embedding(void *handle) { return damo_embedding_set_step(handle, 1); }
static damo_status use_table(void *handle) {
  uint64_t rows;
  return damo_table_rows(handle, 0, &rows);
}
static damo_status use_initializer(void *handle) {
  return damo_embedding_new(storage, sgd, handle, 2, 1, NULL) == NULL ? damo_last_error_code()
                                                                      : DAMO_STATUS_OK;
}
static damo_status use_scheduler(void *handle) {
  return damo_optimizer_new("sgd", NULL, handle) == NULL ? damo_last_error_code() : DAMO_STATUS_OK;
}
static damo_status use_iterator(void *handle) {
  bool found;
  uint32_t group;
  int64_t row_key, update_time, update_num;
  size_t dim;
  const float *data;
  size_t length;
  return damo_iterator_next(handle, &found, &group, &row_key, &update_time, &update_num, &dim,
                            &data, &length);
}
static damo_status use_step(void *handle) { return damo_step_clear(handle); }
static damo_status use_lookup(void *handle) {
  float weights[2];
  int64_t position;
  size_t changed;
  damo_embedding *embedding = make_embedding();
  damo_status status =
      damo_embedding_finish_lookup(embedding, handle, weights, 2, &position, 1, &changed);
  damo_embedding_free(embedding);
  return status;
}

static damo_status use_pin(void *handle) { return damo_pin_commit(handle, NULL); }

static const struct {
  const char *name;
  void *(*make)(void);
  void (*release)(void *);
  damo_status (*use)(void *);
} kinds[] = {
    {"params", make_params, free_params, use_params},
    {"initializer", make_initializer, free_initializer, use_initializer},
    {"optimizer", make_optimizer, free_optimizer, use_optimizer},
    {"scheduler", make_scheduler, free_scheduler, use_scheduler},
    {"filter", make_filter, free_filter, use_filter},
    {"storage", make_storage, free_storage, use_storage},
    {"embedding", make_embedding, free_embedding, use_embedding},
    {"iterator", make_iterator, free_iterator, use_iterator},
    {"table", make_table, free_table, use_table},
    {"lookup", make_lookup, free_lookup, use_lookup},
    {"step", make_step, free_step, use_step},
    {"pin", make_pin, free_pin, use_pin},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

int main(void) {
  float row[2] = {1, 2};
  void *handles[KINDS], *embedding;
  damo_params *as_table = damo_params_new();
  int kind, other;
  storage = damo_storage_new("storage", 0, NULL);
  sgd = damo_optimizer_new("sgd", NULL, NULL);
  zeros = damo_initializer_new("zeros", NULL);
  embedding = make_embedding();
  CHECK(embedding != NULL);
  CHECK_OK(damo_embedding_insert(embedding, &key, 1, row, 2));
  CHECK_OK(damo_params_set_str(as_table, "format", "table"));
  CHECK_OK(damo_storage_dump(storage, "table", as_table));
  damo_embedding_free(embedding);

  for (kind = 0; kind < KINDS; kind++) {
    void *handle = kinds[kind].make();
    CHECK(handle != NULL);
    /* Freed with the function of another kind: nothing happens. */
    kinds[(kind + 1) % KINDS].release(handle);
    kinds[kind].release(handle);
    CHECK(kinds[kind].use(handle) == DAMO_STATUS_INVALID_ARGUMENT);
    kinds[kind].release(handle);
    kinds[kind].release(handle);
  }
  /* All kinds at once: freed in another order than they were made, used, and freed once more. */
  for (kind = 0; kind < KINDS; kind++) CHECK((handles[kind] = kinds[kind].make()) != NULL);
  for (other = 0; other < KINDS; other++) {
    kind = (other + KINDS / 2) % KINDS;
    kinds[kind].release(handles[kind]);
  }
  for (kind = 0; kind < KINDS; kind++) {
    CHECK(kinds[kind].use(handles[kind]) == DAMO_STATUS_INVALID_ARGUMENT);
  }
  for (kind = KINDS; kind-- > 0;) kinds[kind].release(handles[kind]);

  /* The storage and its rows are as they were. */
  embedding = make_embedding();
  CHECK_OK(damo_embedding_lookup(embedding, &key, 1, row, 2));
  CHECK(row[0] == 1 && row[1] == 2);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  damo_params_free(as_table);
  return 0;
}

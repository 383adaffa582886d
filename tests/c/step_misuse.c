/* What the step handle refuses, with a message that names argument and value: handles, embeddings,
   keys, bags and rows. Afterwards the parts, the buffers and the rows are as before. */
#include <stdint.h>

#include "check.h"
#include "support/two_parts.h"

static void wrong_handles_are_refused(void) {
  void *no_step = storage, *no_embedding = storage, *no_storage = one;
  damo_params *typo = damo_params_new();
  CHECK_OK(damo_params_set_int(typo, "thread", 2));
  CHECK_NULL(damo_step_new(NULL, NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_step_new",
             "storage is NULL");
  CHECK_NULL(damo_step_new(no_storage, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "storage is a damo_embedding", "a damo_storage is needed");
  CHECK_NULL(damo_step_new(storage, typo), DAMO_STATUS_INVALID_ARGUMENT, "'thread'", "2");
  CHECK_NULL(damo_step_new(storage, (void *)one), DAMO_STATUS_INVALID_ARGUMENT,
             "options is a damo_embedding");
  damo_params_free(typo);
  REFUSED(damo_step_clear(NULL), "damo_step_clear", "step is NULL");
  REFUSED(damo_step_clear(no_step), "step is a damo_storage", "a damo_step is needed");
  REFUSED(damo_step_add_keys(NULL, one, keys, KEYS), "damo_step_add_keys", "step is NULL");
  REFUSED(damo_step_add_keys(no_step, one, keys, KEYS), "step is a damo_storage");
  REFUSED(damo_step_add_keys(step, NULL, keys, KEYS), "embedding is NULL");
  REFUSED(damo_step_add_keys(step, no_embedding, keys, KEYS), "embedding is a damo_storage");
  REFUSED(damo_step_add_bags(NULL, two, keys, KEYS, offsets, 2, false, "sum", NULL),
          "damo_step_add_bags", "step is NULL");
  REFUSED(damo_step_add_bags(no_step, two, keys, KEYS, offsets, 2, false, "sum", NULL),
          "step is a damo_storage");
  REFUSED(damo_step_add_bags(step, NULL, keys, KEYS, offsets, 2, false, "sum", NULL),
          "embedding is NULL");
  REFUSED(damo_step_add_bags(step, (void *)step, keys, KEYS, offsets, 2, false, "sum", NULL),
          "embedding is a damo_step");
  REFUSED(damo_step_lookup(NULL, parts(), 2), "damo_step_lookup", "step is NULL");
  REFUSED(damo_step_lookup(no_step, parts(), 2), "step is a damo_storage");
  REFUSED(damo_step_peek(NULL, parts(), 2), "damo_step_peek", "step is NULL");
  REFUSED(damo_step_apply_gradients(NULL, parts(), 2), "damo_step_apply_gradients",
          "step is NULL");
  REFUSED(damo_step_apply_gradients(no_step, parts(), 2), "step is a damo_storage");
  REFUSED(damo_embedding_lookup((void *)step, keys, 1, ones, ONE), "embedding is a damo_step");
  damo_storage_free((void *)step);
  damo_step_free(no_step);
  damo_step_free(NULL);
}

/* An embedding of another storage, a second handle of a group, and one that was freed. */
static void wrong_embeddings_are_refused(void) {
  damo_storage *elsewhere = damo_storage_new("elsewhere", 0, NULL);
  damo_embedding *of_other = open_group(elsewhere, 0, ONE), *second = open_group(storage, 0, ONE);
  CHECK_OK(damo_step_clear(step));
  REFUSED(damo_step_add_keys(step, of_other, keys, KEYS), "damo_step_add_keys", "embedding",
          "storage");
  REFUSED(damo_step_add_bags(step, of_other, keys, KEYS, offsets, 2, false, "sum", NULL),
          "damo_step_add_bags", "embedding", "storage");
  CHECK_OK(damo_step_add_keys(step, one, keys, KEYS));
  REFUSED(damo_step_add_keys(step, second, keys, KEYS), "damo_step_add_keys", "embedding",
          "group 0");
  REFUSED(damo_step_add_bags(step, second, keys, KEYS, offsets, 2, false, "max", NULL), "embedding",
          "group 0");
  /* the one part that was added is there, and no other */
  fill(9);
  CHECK_OK(damo_step_lookup(step, parts(), 1));
  CHECK(ones[0] == 1 && ones[KEYS - 1] == 1 && twos[0] == 9);
  CHECK_OK(damo_step_clear(step));
  CHECK_OK(damo_step_add_keys(step, second, keys, KEYS));
  CHECK_OK(damo_step_clear(step));
  damo_embedding_free(second);
  damo_embedding_free(of_other);
  damo_storage_free(elsewhere);
}

#define ADD_BAGS(keys_, keys_len, offsets_, offsets_len, has_last, pooling, weights)           \
  damo_step_add_bags(step, two, keys_, keys_len, offsets_, offsets_len, has_last, pooling, weights)

static void wrong_keys_and_bags_are_refused(void) {
  static const int64_t falls[3] = {0, 2, 1}, late[1] = {1}, beyond[2] = {0, 4}, below[1] = {-1};
  const int64_t *odd = (const int64_t *)(const void *)((const char *)keys + 1);
  const float *odd_weights = (const float *)(const void *)((const char *)ones + 1);
  CHECK_OK(damo_step_clear(step));
  REFUSED(damo_step_add_keys(step, one, NULL, KEYS), "keys is NULL", "3");
  REFUSED(damo_step_add_keys(step, one, keys, SIZE_MAX), "18446744073709551615");
  REFUSED(damo_step_add_keys(step, one, odd, 1), "keys is 0x", "aligned to 8");
  REFUSED(ADD_BAGS(NULL, KEYS, offsets, 2, false, "sum", NULL), "keys is NULL");
  REFUSED(ADD_BAGS(keys, SIZE_MAX, offsets, 2, false, "sum", NULL), "18446744073709551615");
  REFUSED(ADD_BAGS(keys, KEYS, NULL, 2, false, "sum", NULL), "offsets is NULL");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, SIZE_MAX, false, "sum", NULL), "18446744073709551615");
  REFUSED(ADD_BAGS(keys, KEYS, odd, 1, false, "sum", NULL), "offsets is 0x", "aligned to 8");
  REFUSED(ADD_BAGS(keys, KEYS, falls, 3, false, "sum", NULL), "offsets[2] is 1", "2 to 3");
  REFUSED(ADD_BAGS(keys, KEYS, late, 1, false, "sum", NULL), "offsets[0] is 1", "0");
  REFUSED(ADD_BAGS(keys, KEYS, below, 1, false, "sum", NULL), "offsets[0] is -1");
  REFUSED(ADD_BAGS(keys, KEYS, beyond, 2, false, "sum", NULL), "offsets[1] is 4", "0 to 3");
  REFUSED(ADD_BAGS(keys, KEYS, NULL, 0, false, "sum", NULL), "offsets_len is 0", "keys_len is 3");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, true, "sum", NULL), "offsets is 2", "keys_len is 3");
  REFUSED(ADD_BAGS(keys, KEYS, NULL, 0, true, "sum", NULL), "offsets_len is 0");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, false, NULL, NULL), "pooling is NULL");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, false, "median", NULL), "'median'", "'sum'", "'mean'",
          "'max'");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, false, "mean", ones), "weights", "'mean'", "'sum'");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, false, "max", ones), "weights", "'max'");
  REFUSED(ADD_BAGS(keys, KEYS, offsets, 2, false, "sum", odd_weights), "weights is 0x", "aligned");
  /* nothing of all that was added */
  REFUSED(damo_step_lookup(step, parts(), 1), "parts_len is 1", "0");
  CHECK_OK(damo_step_lookup(step, NULL, 0));
  CHECK_OK(damo_step_apply_gradients(step, NULL, 0));
}

/* One of the parts' rows is wrong: nothing is written and no row is made. */
#define ROWS_REFUSED(change, ...)                                                \
  do {                                                                           \
    damo_rows *rows = parts();                                                   \
    uint64_t count = 0;                                                          \
    fill(9);                                                                     \
    change;                                                                      \
    REFUSED(damo_step_lookup(step, rows, 2), "damo_step_lookup", __VA_ARGS__);   \
    REFUSED(damo_step_peek(step, rows, 2), "damo_step_peek", __VA_ARGS__);       \
    CHECK(ones[0] == 9 && ones[KEYS - 1] == 9 && twos[0] == 9 && twos[3] == 9);  \
    CHECK_OK(damo_storage_row_count(storage, 1, &count));                        \
    CHECK(count == 0);                                                           \
  } while (0)

static void wrong_rows_are_refused(void) {
  float shared[7] = {9, 9, 9, 9, 9, 9, 9};
  float *odd = (float *)(void *)((char *)ones + 1);
  add_parts("sum");
  fill(9);
  REFUSED(damo_step_lookup(step, NULL, 2), "outputs is NULL");
  REFUSED(damo_step_peek(step, parts(), 1), "parts_len is 1", "2");
  REFUSED(damo_step_lookup(step, parts(), 3), "parts_len is 3", "2");
  REFUSED(damo_step_lookup(step, parts(), SIZE_MAX), "18446744073709551615");
  REFUSED(damo_step_apply_gradients(step, NULL, 2), "gradients is NULL");
  REFUSED(damo_step_apply_gradients(step, parts(), 0), "parts_len is 0");
  ROWS_REFUSED(rows[0].floats = NULL, "outputs[0]", "NULL");
  ROWS_REFUSED(rows[0].floats = odd, "outputs[0]", "aligned");
  ROWS_REFUSED(rows[0].floats_len = KEYS - 1, "outputs[0]", "2");
  ROWS_REFUSED(rows[1].floats_len = 2 * TWO + 1, "outputs[1]", "5");
  ROWS_REFUSED(rows[1].floats_len = 2 * TWO - 1, "outputs[1]", "3");
  ROWS_REFUSED(rows[1].floats_len = SIZE_MAX, "outputs[1]", "18446744073709551615");
  ROWS_REFUSED(rows[1].stride = TWO - 1, "outputs[1]", "stride is 1", "2");
  ROWS_REFUSED(rows[0].stride = 0, "outputs[0]", "stride is 0");
  ROWS_REFUSED(rows[1].stride = SIZE_MAX, "outputs[1]");
  ROWS_REFUSED(rows[0].floats = twos, "outputs[0]", "outputs[1]", "overlap");
  ROWS_REFUSED((rows[0] = rows_of(shared, 7, 3), rows[1] = rows_of(shared, 6, 3)), "overlap");
  /* columns of one matrix do not overlap */
  {
    damo_rows columns[2];
    columns[0] = rows_of(shared, 7, 3), columns[1] = rows_of(shared + 1, 6, 3);
    CHECK_OK(damo_step_lookup(step, columns, 2));
    CHECK(shared[0] == 1 && shared[1] == 2 && shared[3] == 1 && shared[4] == 1 && shared[6] == 1);
  }
}

int main(void) {
  open_all();
  wrong_handles_are_refused();
  wrong_embeddings_are_refused();
  wrong_keys_and_bags_are_refused();
  wrong_rows_are_refused();
  free_all();
  return 0;
}

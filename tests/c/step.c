/* The step handle: sums worked out by hand, parts that give what single calls give, and a step that
   is used again. tests/c/step_misuse.c and step_states.c have what it refuses. */
#include <stdint.h>

#include "check.h"

enum { DIM = 2, BAGS = 5, KEYS = 7, STRIDE = 3, ROOM = BAGS * STRIDE };
enum { GROUPS = 8, STEPS = 12, MOST = 40, WIDEST = 32 };

static damo_embedding *open_group(const damo_storage *storage, uint32_t group, size_t dim,
                                  const char *optimizer_name, const char *duplicates) {
  damo_params *rate = damo_params_new(), *decay = damo_params_new(), *options = damo_params_new();
  damo_initializer *uniform = damo_initializer_new("random_uniform", NULL);
  damo_scheduler *scheduler;
  damo_optimizer *optimizer;
  damo_embedding *embedding;
  CHECK_OK(damo_params_set_float(rate, "learning_rate", 1));
  CHECK_OK(damo_params_set_int(decay, "decay_steps", 5));
  scheduler = damo_scheduler_new("cosine_decay", decay);
  optimizer = damo_optimizer_new(optimizer_name, rate, group % 3 == 2 ? scheduler : NULL);
  CHECK_OK(damo_params_set_int(options, "padding_key", 0));
  if (duplicates != NULL) CHECK_OK(damo_params_set_str(options, "duplicates", duplicates));
  embedding = damo_embedding_new(storage, optimizer, uniform, dim, group, options);
  CHECK(embedding != NULL);
  damo_optimizer_free(optimizer);
  damo_scheduler_free(scheduler);
  damo_initializer_free(uniform);
  damo_params_free(rate);
  damo_params_free(decay);
  damo_params_free(options);
  return embedding;
}

static int64_t step_of(const damo_embedding *embedding) {
  int64_t step = -1;
  CHECK_OK(damo_embedding_step(embedding, &step));
  return step;
}

static int64_t updates_of(const damo_embedding *embedding, int64_t key) {
  int64_t time = -1, updates = -1;
  CHECK_OK(damo_embedding_record(embedding, key, &time, &updates, NULL, 0));
  return updates;
}

/* A bag of three keys with padding among them, one without keys, one of one key, one of padding
   alone, and one that has its key twice. */
static const int64_t keys[KEYS] = {1, 2, 0, 3, 0, 2, 2}, offsets[BAGS + 1] = {0, 3, 3, 4, 5, KEYS};
static const float weights[KEYS] = {0.5f, 2, 100, -1, 100, 0.25f, 4};
static const int64_t row_keys[3] = {1, 2, 3};
static const float rows[3 * DIM] = {1, 10, 2, -20, -3, 30};

/* Between the rows are floats that are nobody's. */
static float gradients[ROOM] = {1, 2, 99, 100, 100, 99, 4, 8, 99, 100, 100, 99, 16, 32, 99};

static const struct {
  const char *pooling;
  int has_weights;
  float pooled[BAGS * DIM];
  float stepped[3 * DIM];
} by_hand[] = {
    {"sum", 0, {3, -10, 0, 0, -3, 30, 0, 0, 4, -40}, {0, 8, -31, -86, -7, 22}},
    {"mean", 0, {1.5f, -5, 0, 0, -3, 30, 0, 0, 2, -20}, {0.5f, 9, -14.5f, -53, -7, 22}},
    /* the first of two equal entries is the largest */
    {"max", 0, {2, 10, 0, 0, -3, 30, 0, 0, 2, -20}, {1, 8, -15, -52, -7, 22}},
    {"sum", 1, {4.5f, -35, 0, 0, 3, -30, 0, 0, 8.5f, -85}, {0.5f, 9, -68, -160, 1, 38}},
};

static void bags_are_as_by_hand(const damo_storage *storage) {
  damo_embedding *embedding = open_group(storage, 0, DIM, "sgd", NULL);
  damo_step *step = damo_step_new(storage, NULL);
  float pooled[ROOM], stepped[3 * DIM];
  const damo_rows outputs = {pooled, ROOM - 1, STRIDE}, given = {gradients, ROOM - 1, STRIDE};
  size_t i, bag, has_last;
  CHECK(step != NULL);
  for (i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
    for (has_last = 0; has_last < 2; has_last++) {
      CHECK_OK(damo_embedding_insert(embedding, row_keys, 3, rows, 3 * DIM));
      CHECK_OK(damo_step_add_bags(step, embedding, keys, KEYS, offsets, BAGS + has_last,
                                  has_last == 1, by_hand[i].pooling,
                                  by_hand[i].has_weights ? weights : NULL));
      for (bag = 0; bag < ROOM; bag++) pooled[bag] = 9.5f;
      CHECK_OK(damo_step_lookup(step, &outputs, 1));
      for (bag = 0; bag < BAGS; bag++) {
        CHECK(memcmp(pooled + STRIDE * bag, by_hand[i].pooled + DIM * bag, DIM * 4) == 0);
        CHECK(pooled[STRIDE * bag + DIM] == 9.5f);
      }
      CHECK_OK(damo_step_apply_gradients(step, &given, 1));
      CHECK_OK(damo_embedding_lookup(embedding, row_keys, 3, stepped, 3 * DIM));
      CHECK(memcmp(stepped, by_hand[i].stepped, sizeof stepped) == 0);
      /* three occurrences are one step of the row, whatever duplicates is */
      CHECK(updates_of(embedding, 2) == 1 && step_of(embedding) == (int64_t)(2 * i + has_last + 1));
      CHECK_OK(damo_step_clear(step));
    }
  }
  damo_step_free(step);
  damo_embedding_free(embedding);
}

/* Peek makes no rows: key 9 has none, and reads as zeros in a bag. */
static void peek_makes_no_rows(const damo_storage *storage) {
  static const int64_t some[3] = {9, 3, 0}, begins[2] = {0, 0};
  damo_embedding *embedding = open_group(storage, 0, DIM, "sgd", NULL);
  damo_step *step = damo_step_new(storage, NULL);
  float single[3 * DIM], largest[2 * DIM];
  damo_rows outputs[2];
  uint64_t before, after;
  outputs[0].floats = single, outputs[0].floats_len = 3 * DIM, outputs[0].stride = DIM;
  outputs[1].floats = largest, outputs[1].floats_len = 2 * DIM, outputs[1].stride = DIM;
  CHECK_OK(damo_embedding_insert(embedding, row_keys, 3, rows, 3 * DIM));
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &before));
  CHECK_OK(damo_step_add_keys(step, embedding, some, 3));
  CHECK_OK(damo_step_add_bags(step, embedding, some, 3, begins, 2, false, "max", NULL));
  CHECK_OK(damo_step_peek(step, outputs, 2));
  CHECK(single[0] == 0 && single[1] == 0 && single[2] == -3 && single[3] == 30);
  CHECK(single[4] == 0 && single[5] == 0);
  CHECK(largest[0] == 0 && largest[1] == 0 && largest[2] == 0 && largest[3] == 30);
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &after));
  CHECK(before == after);
  CHECK_OK(damo_step_lookup(step, outputs, 2));
  CHECK(single[0] != 0 && single[4] == 0);
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &after));
  CHECK(after == before + 1);
  damo_step_free(step);
  damo_embedding_free(embedding);
}

/* The floats and update counts of every row. Times differ. */
static void check_same_rows(const damo_storage *one, const damo_storage *other) {
  damo_iterator *rows_of_one = damo_iterator_new(one, DAMO_ALL_GROUPS);
  damo_iterator *rows_of_other = damo_iterator_new(other, DAMO_ALL_GROUPS);
  int all;
  for (all = 0;; all++) {
    bool found[2];
    uint32_t group[2];
    int64_t key[2], updates[2];
    const float *data[2];
    size_t len[2];
    CHECK_OK(damo_iterator_next(rows_of_one, found, group, key, NULL, updates, NULL, data, len));
    CHECK_OK(damo_iterator_next(rows_of_other, found + 1, group + 1, key + 1, NULL, updates + 1,
                                NULL, data + 1, len + 1));
    CHECK(found[0] == found[1]);
    if (!found[0]) break;
    CHECK(group[0] == group[1] && key[0] == key[1] && updates[0] == updates[1]);
    CHECK(len[0] == len[1] && memcmp(data[0], data[1], len[0] * sizeof **data) == 0);
  }
  CHECK(all > 100);
  damo_iterator_free(rows_of_one);
  damo_iterator_free(rows_of_other);
}

static const char *optimizers[GROUPS] = {"sgd",  "ftrl",    "adagrad", "rowwise_adagrad",
                                         "adam", "amsgrad", "adamw",   "lion"};
static const size_t dims[GROUPS] = {1, 2, 3, 4, 8, 15, 16, 32};

static uint32_t drawn = 1;
static uint32_t draw(uint32_t below) {
  drawn = drawn * 1664525u + 1013904223u;
  return (drawn >> 8) % below;
}

/* Eight groups of different dims and optimizers. One storage gets steps, the other single calls. In
   each step some groups have no keys. */
static void groups_are_as_with_single_calls(void) {
  static int64_t batch[GROUPS][MOST];
  static float looked_up[GROUPS][MOST * WIDEST], expected[MOST * WIDEST];
  damo_storage *one = damo_storage_new("steps", 0, NULL);
  damo_storage *other = damo_storage_new("calls", 0, NULL);
  damo_embedding *with_steps[GROUPS], *with_calls[GROUPS];
  damo_step *step = damo_step_new(one, NULL);
  damo_rows parts[GROUPS];
  size_t counts[GROUPS], group, turn, i;
  CHECK(step != NULL && other != NULL);
  for (group = 0; group < GROUPS; group++) {
    with_steps[group] = open_group(one, (uint32_t)group, dims[group], optimizers[group], "sum");
    with_calls[group] = open_group(other, (uint32_t)group, dims[group], optimizers[group], "sum");
  }
  for (turn = 0; turn < STEPS; turn++) {
    for (group = 0; group < GROUPS; group++) {
      counts[group] = draw(5) == 0 ? 0 : draw(MOST);
      for (i = 0; i < counts[group]; i++) batch[group][i] = (int64_t)draw(60) - 20;
      CHECK_OK(damo_step_add_keys(step, with_steps[group], batch[group], counts[group]));
      parts[group].floats = counts[group] == 0 ? NULL : looked_up[group];
      parts[group].floats_len = counts[group] * dims[group];
      parts[group].stride = dims[group];
    }
    CHECK_OK(damo_step_lookup(step, parts, GROUPS));
    for (group = 0; group < GROUPS; group++) {
      const size_t floats = counts[group] * dims[group];
      CHECK_OK(damo_embedding_lookup(with_calls[group], batch[group], counts[group], expected,
                                     floats));
      CHECK(memcmp(looked_up[group], expected, floats * sizeof *expected) == 0);
      for (i = 0; i < floats; i++) looked_up[group][i] = (float)draw(200) / 512 - 0.2f;
      CHECK_OK(damo_embedding_apply_gradients(with_calls[group], batch[group], counts[group],
                                              looked_up[group], floats));
    }
    CHECK_OK(damo_step_apply_gradients(step, parts, GROUPS));
    CHECK_OK(damo_step_clear(step));
    for (group = 0; group < GROUPS; group++) {
      CHECK(step_of(with_steps[group]) == (int64_t)turn + 1);
      CHECK(step_of(with_calls[group]) == (int64_t)turn + 1);
    }
  }
  check_same_rows(one, other);
  for (group = 0; group < GROUPS; group++) {
    damo_embedding_free(with_steps[group]);
    damo_embedding_free(with_calls[group]);
  }
  damo_storage_free(one);
  damo_storage_free(other);
  /* the step has the storage open */
  CHECK_NULL(damo_storage_new("steps", 0, NULL), DAMO_STATUS_BUSY, "open in another");
  damo_step_free(step);
  one = damo_storage_new("steps", 0, NULL);
  CHECK(one != NULL);
  damo_storage_free(one);
}

/* Group 1 is in three parts, with group 0 between them. The rows, the number of updates and the
   step are those of one call with all keys. */
static void a_group_may_have_several_parts(const damo_storage *storage) {
  static const int64_t first[2] = {11, 12}, bag[2] = {12, 13}, second[1] = {11}, begin[1] = {0};
  static const int64_t all[5] = {11, 12, 12, 13, 11};
  float outputs[5 * DIM], expected[3 * DIM], got[3 * DIM], between[DIM] = {1, 1};
  const float of_keys[5 * DIM] = {1, 2, 4, 8, 16, 32, 16, 32, 64, 128};
  float of_parts[4 * DIM] = {1, 2, 4, 8, 16, 32, 64, 128};
  damo_embedding *embedding = open_group(storage, 1, DIM, "adam", "sum");
  damo_embedding *twin = open_group(storage, 4, DIM, "adam", "sum");
  damo_embedding *other = open_group(storage, 0, DIM, "sgd", NULL);
  damo_step *step = damo_step_new(storage, NULL);
  damo_rows parts[4];
  const int64_t before = step_of(other);
  size_t i;
  for (i = 0; i < 3; i++) {
    const int64_t key = 11 + (int64_t)i;
    CHECK_OK(damo_embedding_lookup(embedding, &key, 1, got, DIM));
    CHECK_OK(damo_embedding_insert(embedding, &key, 1, got, DIM));
    CHECK_OK(damo_embedding_insert(twin, &key, 1, got, DIM));
  }
  CHECK_OK(damo_step_add_keys(step, embedding, first, 2));
  CHECK_OK(damo_step_add_bags(step, embedding, bag, 2, begin, 1, false, "sum", NULL));
  CHECK_OK(damo_step_add_keys(step, other, first, 1));
  CHECK_OK(damo_step_add_keys(step, embedding, second, 1));
  for (i = 0; i < 4; i++) parts[i].floats_len = i == 0 ? 2 * DIM : DIM, parts[i].stride = DIM;
  parts[0].floats = outputs, parts[1].floats = outputs + 4, parts[2].floats = between;
  parts[3].floats = outputs + 6;
  CHECK_OK(damo_step_lookup(step, parts, 4));
  CHECK(outputs[0] == outputs[6] && outputs[1] == outputs[7]);
  parts[0].floats = of_parts, parts[1].floats = of_parts + 4, parts[3].floats = of_parts + 6;
  CHECK_OK(damo_step_apply_gradients(step, parts, 4));
  CHECK_OK(damo_embedding_apply_gradients(twin, all, 5, of_keys, 5 * DIM));
  for (i = 0; i < 3; i++) {
    const int64_t key = 11 + (int64_t)i;
    CHECK_OK(damo_embedding_lookup(embedding, &key, 1, got + DIM * i, DIM));
    CHECK_OK(damo_embedding_lookup(twin, &key, 1, expected + DIM * i, DIM));
    CHECK(updates_of(embedding, key) == 1);
  }
  CHECK(memcmp(got, expected, sizeof got) == 0);
  CHECK(step_of(embedding) == 1 && step_of(other) == before + 1);
  damo_step_free(step);
  damo_embedding_free(embedding);
  damo_embedding_free(twin);
  damo_embedding_free(other);
}

int main(void) {
  damo_storage *storage = damo_storage_new("storage", 0, NULL);
  CHECK(storage != NULL);
  bags_are_as_by_hand(storage);
  peek_makes_no_rows(storage);
  groups_are_as_with_single_calls();
  a_group_may_have_several_parts(storage);
  damo_storage_free(storage);
  return 0;
}

/* damo_key_shard, damo_keys_partition, damo_rows_gather, damo_gradients_sum: a batch that is
   divided over two storages gives the rows that one storage gives. What they refuse. Lookups of
   distinct keys with their occurrences. */
#include <stdint.h>

#include "check.h"

enum { KEYS = 7, DIM = 2, SHARDS = 2, FLOATS = KEYS * DIM, COLUMNS = 5 };

static const int64_t keys[KEYS] = {5, -1, 5, 8, INT64_MIN, -1, 5};

static int64_t distinct_keys[KEYS + 1];
static uint64_t starts[SHARDS + 1];
static uint32_t positions[KEYS], occurrences[KEYS + 1], owners[KEYS];
static float matrix[KEYS * COLUMNS], sums[FLOATS + 1];

static void reset(void) {
  size_t i;
  for (i = 0; i <= KEYS; i++) distinct_keys[i] = -9, occurrences[i] = 99;
  for (i = 0; i <= SHARDS; i++) starts[i] = 99;
  for (i = 0; i < KEYS; i++) positions[i] = owners[i] = 99;
  for (i = 0; i < KEYS * COLUMNS; i++) matrix[i] = 9.5f;
  for (i = 0; i <= FLOATS; i++) sums[i] = 9.5f;
}

/* A refused call has written nothing. */
static void check_untouched(void) {
  size_t i;
  for (i = 0; i <= KEYS; i++) CHECK(distinct_keys[i] == -9 && occurrences[i] == 99);
  for (i = 0; i <= SHARDS; i++) CHECK(starts[i] == 99);
  for (i = 0; i < KEYS; i++) CHECK(positions[i] == 99 && owners[i] == 99);
  for (i = 0; i < KEYS * COLUMNS; i++) CHECK(matrix[i] == 9.5f);
  for (i = 0; i <= FLOATS; i++) CHECK(sums[i] == 9.5f);
}

#define REFUSED(call, ...)                                         \
  do {                                                             \
    CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, __VA_ARGS__);  \
    check_untouched();                                             \
  } while (0)

static void shards_are_fixed(void) {
  /* tests/golden/key_shards.txt has these */
  static const int64_t known[4] = {0, 1, -1, INT64_MAX};
  static const uint32_t shard_of_1000[4] = {715, 620, 209, 824};
  uint32_t shard, all[4], i;
  CHECK_OK(damo_key_shard_batch(known, 4, 1000, all, 4));
  for (i = 0; i < 4; i++) {
    CHECK_OK(damo_key_shard(known[i], 1000, &shard));
    CHECK(shard == shard_of_1000[i] && all[i] == shard);
  }
  CHECK_OK(damo_key_shard(7, 1, &shard));
  CHECK(shard == 0);
  CHECK_OK(damo_key_shard_batch(NULL, 0, 65536, NULL, 0));
}

static void a_batch_is_divided(void) {
  size_t i;
  uint32_t shard, counted = 0;
  reset();
  CHECK_OK(damo_keys_partition(keys, KEYS, SHARDS, distinct_keys, KEYS + 1, starts, SHARDS + 1,
                               positions, KEYS, occurrences, KEYS + 1));
  CHECK(starts[0] == 0 && starts[SHARDS] == 4);
  for (i = 0; i < KEYS; i++) CHECK(distinct_keys[positions[i]] == keys[i]);
  for (shard = 0; shard < SHARDS; shard++) {
    for (i = starts[shard]; i < starts[shard + 1]; i++) {
      uint32_t owner = 99;
      CHECK_OK(damo_key_shard(distinct_keys[i], SHARDS, &owner));
      CHECK(owner == shard);
      counted += occurrences[i];
    }
  }
  CHECK(counted == KEYS && occurrences[positions[0]] == 3 && occurrences[positions[1]] == 2);
  for (i = 4; i <= KEYS; i++) CHECK(distinct_keys[i] == -9 && occurrences[i] == 99);
  /* no keys, and one shard: in order of first occurrence */
  CHECK_OK(damo_keys_partition(NULL, 0, 1, NULL, 0, starts, 2, NULL, 0, NULL, 0));
  CHECK(starts[0] == 0 && starts[1] == 0);
  CHECK_OK(damo_keys_partition(keys, KEYS, 1, distinct_keys, KEYS, starts, 2, positions, KEYS,
                               occurrences, KEYS));
  CHECK(distinct_keys[0] == 5 && distinct_keys[1] == -1 && distinct_keys[2] == 8 &&
        distinct_keys[3] == INT64_MIN && starts[1] == 4);
}

/* Rows and gradients are columns 1 and 2 of matrices with five columns. */
static void rows_and_sums_follow_positions(void) {
  static const float rows[4 * DIM] = {10, 11, 20, 21, 30, 31, 40, 41};
  static const uint32_t where[KEYS] = {0, 1, 0, 2, 3, 1, 0};
  size_t i;
  reset();
  CHECK_OK(damo_rows_gather(rows, 4 * DIM, DIM, DIM, where, KEYS, matrix + 1,
                            KEYS * COLUMNS - 1, COLUMNS));
  for (i = 0; i < KEYS; i++) {
    CHECK(matrix[COLUMNS * i + 1] == rows[DIM * where[i]]);
    CHECK(matrix[COLUMNS * i + 2] == rows[DIM * where[i] + 1]);
    CHECK(matrix[COLUMNS * i] == 9.5f && matrix[COLUMNS * i + 3] == 9.5f);
  }
  CHECK_OK(damo_gradients_sum(matrix + 1, KEYS * COLUMNS - 3, COLUMNS, DIM, where, KEYS, sums,
                              5 * DIM, DIM));
  CHECK(sums[0] == 30 && sums[1] == 33 && sums[2] == 40 && sums[4] == 30 && sums[6] == 40);
  CHECK(sums[8] == 0 && sums[9] == 0 && sums[10] == 9.5f);
  CHECK_OK(damo_rows_gather(NULL, 0, DIM, DIM, NULL, 0, NULL, 0, DIM));
  CHECK_OK(damo_gradients_sum(NULL, 0, DIM, DIM, NULL, 0, sums, DIM, DIM));
  CHECK(sums[0] == 0 && sums[1] == 0 && sums[2] == 40);
}

#define PARTITION(keys_, shards_, distinct_, starts_, positions_, occurrences_)             \
  damo_keys_partition(keys_, KEYS, shards_, distinct_, KEYS, starts_, SHARDS + 1,           \
                      positions_, KEYS, occurrences_, KEYS)

static void misuse_of_keys_is_refused(void) {
  void *inside_distinct = distinct_keys + 2;
  reset();
  REFUSED(damo_key_shard(5, 0, owners), "damo_key_shard: ", "shards is 0", "1 to 65536");
  REFUSED(damo_key_shard(5, 65537, owners), "shards is 65537");
  REFUSED(damo_key_shard(5, 2, NULL), "shard is NULL");
  REFUSED(damo_key_shard_batch(keys, KEYS, 0, owners, KEYS), "damo_key_shard_batch", "shards is 0");
  REFUSED(damo_key_shard_batch(keys, KEYS, 2, owners, KEYS - 1), "owners_len is 6",
          "keys_len is 7");
  REFUSED(damo_key_shard_batch(NULL, KEYS, 2, owners, KEYS), "keys is NULL");
  REFUSED(damo_key_shard_batch(keys, KEYS, 2, NULL, KEYS), "owners is NULL");
  REFUSED(damo_key_shard_batch(NULL, KEYS, 2, NULL, KEYS), "keys is NULL");
  REFUSED(damo_key_shard_batch(distinct_keys, 3, 2, (uint32_t *)inside_distinct, 3), "overlap");

  REFUSED(PARTITION(NULL, SHARDS, distinct_keys, starts, positions, occurrences), "keys is NULL");
  REFUSED(PARTITION(keys, SHARDS, NULL, starts, positions, occurrences), "distinct_keys is NULL");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, NULL, positions, occurrences), "starts is NULL");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, starts, NULL, occurrences), "positions is NULL");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, starts, positions, NULL), "occurrences is NULL");
  REFUSED(PARTITION(keys, 0, distinct_keys, starts, positions, occurrences), "damo_keys_partition",
          "shards is 0");
  REFUSED(PARTITION(keys, 3, distinct_keys, starts, positions, occurrences), "starts_len is 3",
          "4 starts");
  REFUSED(damo_keys_partition(keys, KEYS, SHARDS, distinct_keys, KEYS - 1, starts, SHARDS + 1,
                              positions, KEYS, occurrences, KEYS),
          "distinct_keys_len is 6");
  REFUSED(damo_keys_partition(keys, KEYS, SHARDS, distinct_keys, KEYS, starts, SHARDS + 1,
                              positions, KEYS - 1, occurrences, KEYS),
          "positions_len is 6");
  REFUSED(damo_keys_partition(keys, KEYS, SHARDS, distinct_keys, KEYS, starts, SHARDS + 1,
                              positions, KEYS, occurrences, KEYS - 1),
          "occurrences_len is 6");
  REFUSED(damo_keys_partition(keys, SIZE_MAX, SHARDS, distinct_keys, KEYS, starts, SHARDS + 1,
                              positions, KEYS, occurrences, KEYS),
          "18446744073709551615");
  /* pairs of buffers of which one is written */
  REFUSED(PARTITION(distinct_keys, SHARDS, distinct_keys, starts, positions, occurrences),
          "keys (", "distinct_keys (", "overlap");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, (uint64_t *)inside_distinct, positions,
                    occurrences),
          "starts (", "overlap");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, starts, (uint32_t *)inside_distinct, occurrences),
          "positions (", "overlap");
  REFUSED(PARTITION(keys, SHARDS, distinct_keys, starts, positions, positions), "positions (",
          "occurrences (", "overlap");
}

static void misuse_of_rows_is_refused(void) {
  static const float rows[6] = {1, 2, 3, 4, 5, 6};
  static const uint32_t where[3] = {0, 2, 1}, wrong[3] = {0, 1, 3};
  const float *odd = (const float *)(const void *)((const char *)rows + 1);
  reset();
  REFUSED(damo_rows_gather(rows, 6, DIM, DIM, wrong, 3, matrix, 6, DIM), "damo_rows_gather",
          "positions[2] is 3", "rows has 3 rows", "0 to 2");
  REFUSED(damo_rows_gather(NULL, 6, DIM, DIM, where, 3, matrix, 6, DIM), "rows is NULL");
  REFUSED(damo_rows_gather(rows, 6, DIM, DIM, NULL, 3, matrix, 6, DIM), "positions is NULL");
  REFUSED(damo_rows_gather(rows, 6, DIM, DIM, where, 3, NULL, 6, DIM), "outputs is NULL");
  REFUSED(damo_rows_gather(odd, 4, DIM, DIM, where, 1, matrix, 2, DIM), "rows is 0x", "aligned");
  REFUSED(damo_rows_gather(rows, 6, DIM, 0, where, 3, matrix, 6, DIM), "dim is 0");
  REFUSED(damo_rows_gather(rows, 6, 1, DIM, where, 3, matrix, 6, DIM), "rows_stride is 1");
  REFUSED(damo_rows_gather(rows, 6, DIM, DIM, where, 3, matrix, 6, 0), "outputs_stride is 0");
  REFUSED(damo_rows_gather(rows, 5, DIM, DIM, where, 3, matrix, 6, DIM), "rows_len is 5",
          "row 2 would have 1 floats");
  REFUSED(damo_rows_gather(rows, 6, DIM, DIM, where, 3, matrix, 8, DIM), "outputs has 4 rows",
          "positions_len is 3");
  REFUSED(damo_rows_gather(rows, SIZE_MAX, DIM, DIM, where, 3, matrix, 6, DIM),
          "18446744073709551615");
  REFUSED(damo_rows_gather(rows, 6, SIZE_MAX, DIM, where, 3, matrix, 6, DIM), "positions[1] is 2",
          "rows has 1 rows");
  REFUSED(damo_rows_gather(matrix, 6, DIM, DIM, where, 3, matrix + 5, 6, DIM), "rows (",
          "outputs (", "overlap");

  REFUSED(damo_gradients_sum(rows, 6, DIM, DIM, wrong, 3, sums, 6, DIM), "damo_gradients_sum",
          "positions[2] is 3", "sums has 3 rows");
  REFUSED(damo_gradients_sum(rows, 6, DIM, DIM, where, 2, sums, 6, DIM), "gradients has 3 rows",
          "positions_len is 2");
  REFUSED(damo_gradients_sum(NULL, 6, DIM, DIM, where, 3, sums, 6, DIM), "gradients is NULL");
  REFUSED(damo_gradients_sum(rows, 6, DIM, DIM, where, 3, NULL, 6, DIM), "sums is NULL");
  REFUSED(damo_gradients_sum(rows, 6, DIM, DIM, where, 3, sums, 5, DIM), "sums_len is 5");
  REFUSED(damo_gradients_sum(rows, 6, 1, DIM, where, 3, sums, 6, DIM), "gradients_stride is 1");
  REFUSED(damo_gradients_sum(sums, 6, DIM, DIM, where, 3, sums + 2, 6, DIM), "gradients (",
          "sums (", "overlap");
  REFUSED(damo_gradients_sum(rows, 6, DIM, DIM, (const uint32_t *)(const void *)sums, 3, sums, 6,
                             DIM),
          "positions (", "sums (", "overlap");
}

static damo_embedding *open_group(const damo_storage *storage) {
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *uniform = damo_initializer_new("random_uniform", NULL);
  damo_params *options = damo_params_new();
  damo_embedding *embedding;
  CHECK_OK(damo_params_set_str(options, "duplicates", "sum"));
  embedding = damo_embedding_new(storage, adam, uniform, DIM, 0, options);
  CHECK(embedding != NULL);
  damo_params_free(options);
  damo_initializer_free(uniform);
  damo_optimizer_free(adam);
  return embedding;
}

/* One storage gets the batch as it is. Of two others, each gets the distinct keys that it owns. */
static void two_storages_are_as_one(const char *folder) {
  static const char *names[SHARDS + 1] = {"0", "1", "whole"};
  damo_storage *storages[SHARDS + 1];
  damo_embedding *groups[SHARDS + 1];
  float gradients[FLOATS], rows[FLOATS], expected[FLOATS], gathered[FLOATS];
  size_t i, step, shard;
  char path[4096];
  for (i = 0; i <= SHARDS; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    storages[i] = damo_storage_new(path, 0, NULL);
    CHECK(storages[i] != NULL);
    groups[i] = open_group(storages[i]);
  }
  for (step = 0; step < 3; step++) {
    CHECK_OK(damo_keys_partition(keys, KEYS, SHARDS, distinct_keys, KEYS, starts, SHARDS + 1,
                                 positions, KEYS, occurrences, KEYS));
    for (shard = 0; shard < SHARDS; shard++) {
      const size_t first = (size_t)starts[shard], count = (size_t)starts[shard + 1] - first;
      CHECK_OK(damo_embedding_lookup(groups[shard], distinct_keys + first, count,
                                     rows + DIM * first, DIM * count));
    }
    CHECK_OK(damo_rows_gather(rows, DIM * (size_t)starts[SHARDS], DIM, DIM, positions, KEYS,
                              gathered, FLOATS, DIM));
    CHECK_OK(damo_embedding_lookup(groups[SHARDS], keys, KEYS, expected, FLOATS));
    CHECK(memcmp(gathered, expected, sizeof expected) == 0);
    for (i = 0; i < FLOATS; i++) gradients[i] = gathered[i] / 3 + (float)i * 1e-3f;
    CHECK_OK(damo_gradients_sum(gradients, FLOATS, DIM, DIM, positions, KEYS, sums,
                                DIM * (size_t)starts[SHARDS], DIM));
    for (shard = 0; shard < SHARDS; shard++) {
      const size_t first = (size_t)starts[shard], count = (size_t)starts[shard + 1] - first;
      CHECK_OK(damo_embedding_apply_gradients(groups[shard], distinct_keys + first, count,
                                              sums + DIM * first, DIM * count));
    }
    CHECK_OK(damo_embedding_apply_gradients(groups[SHARDS], keys, KEYS, gradients, FLOATS));
  }
  for (i = 0; i <= SHARDS; i++) {
    damo_embedding_free(groups[i]);
    damo_storage_free(storages[i]);
  }
}

/* A filter counts what is sent once as often as it occurs, and so do the statistics. */
static void occurrences_count(const char *dir) {
  static const int64_t two[2] = {5, 6};
  static const uint32_t often[2] = {2, 1}, none[2] = {2, 0};
  char path[4096];
  damo_params *counting = damo_params_new();
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_storage *storage;
  damo_embedding *embedding;
  damo_filter *filter;
  damo_step *step;
  damo_rows part;
  float weights[2] = {9, 9};
  uint64_t read = 0, rows = 9;
  snprintf(path, sizeof path, "%s/filter", dir);
  CHECK_OK(damo_params_set_str(counting, "path", path));
  CHECK_OK(damo_params_set_int(counting, "capacity", 1000));
  CHECK_OK(damo_params_set_int(counting, "count", 4));
  filter = damo_filter_new(counting);
  snprintf(path, sizeof path, "%s/counted", dir);
  storage = damo_storage_new(path, 0, NULL);
  embedding = damo_embedding_new(storage, sgd, ones, 1, 0, NULL);
  CHECK_OK(damo_embedding_set_filter(embedding, filter));

#define COUNTED(occurrences, occurrences_len, weights, weights_len)                               \
  damo_embedding_lookup_counted(embedding, two, 2, occurrences, occurrences_len, weights,        \
                                weights_len)
#define REFUSED_COUNTED(call, ...)                                                                \
  CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, __VA_ARGS__)
  REFUSED_COUNTED(COUNTED(none, 2, weights, 2), "damo_embedding_lookup_counted",
                  "occurrences[1] of key 6 is 0", "1 or more");
  REFUSED_COUNTED(COUNTED(often, 1, weights, 2), "occurrences_len is 1 and keys_len is 2");
  REFUSED_COUNTED(COUNTED(NULL, 2, weights, 2), "occurrences is NULL and its length is 2");
  REFUSED_COUNTED(COUNTED(often, 2, weights, 1), "weights_len is 1");
  REFUSED_COUNTED(COUNTED((const uint32_t *)(const void *)weights, 2, weights, 2), "overlap");
  REFUSED_COUNTED(damo_embedding_lookup_counted(NULL, two, 2, often, 2, weights, 2),
                  "embedding is NULL");
  CHECK_OK(damo_storage_stat(storage, "rows_read", &read));
  CHECK(read == 0 && weights[0] == 9 && weights[1] == 9);

  CHECK_OK(COUNTED(often, 2, weights, 2));
  CHECK(weights[0] == 1 && weights[1] == 1);
  CHECK_OK(damo_storage_row_count(storage, 0, &rows));
  CHECK(rows == 0);
  step = damo_step_new(storage, NULL);
  REFUSED_COUNTED(damo_step_add_keys_counted(step, embedding, two, 2, none, 2),
                  "damo_step_add_keys_counted", "occurrences[1] of key 6 is 0");
  REFUSED_COUNTED(damo_step_add_keys_counted(step, embedding, two, 2, often, 1),
                  "occurrences_len is 1 and keys_len is 2");
  REFUSED_COUNTED(damo_step_add_keys_counted(step, embedding, two, 2, NULL, 2),
                  "occurrences is NULL");
  REFUSED_COUNTED(damo_step_add_keys_counted(NULL, embedding, two, 2, often, 2), "step is NULL");
  CHECK_OK(damo_step_add_keys_counted(step, embedding, two, 2, often, 2));
  part.floats = weights, part.floats_len = 2, part.stride = 1;
  CHECK_OK(damo_step_lookup(step, &part, 1));
  /* key 5 was seen four times by now, key 6 twice */
  CHECK_OK(damo_storage_row_count(storage, 0, &rows));
  CHECK(rows == 1);
  CHECK_OK(damo_storage_stat(storage, "rows_read", &read));
  CHECK(read == 6);
  CHECK_OK(damo_embedding_lookup_counted(embedding, NULL, 0, NULL, 0, NULL, 0));

  damo_step_free(step);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_filter_free(filter);
  damo_initializer_free(ones);
  damo_optimizer_free(sgd);
  damo_params_free(counting);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  shards_are_fixed();
  a_batch_is_divided();
  rows_and_sums_follow_positions();
  misuse_of_keys_is_refused();
  misuse_of_rows_is_refused();
  two_storages_are_as_one(argv[1]);
  occurrences_count(argv[1]);
  return 0;
}

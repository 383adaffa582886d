/* Times a training step over 26 groups in three ways: with damo_step, with a lookup and an
   apply_gradients for each group, and with one of each for a group that has all keys. The optimizer
   is adam. Keys are log-uniform over ROWS ids a group (100,000 if not given). All rows are in
   memory.

       cc -O3 -march=native -Iinclude benches/step.c -o step -Ltarget/release -ldamo -lm
       ./step FOLDER checkpoint|process|power KEYS|mixed [THREADS [ROUNDS [SECONDS [ROWS [apart]]]]]

   FOLDER must not exist yet. KEYS is the number of keys of each group in a step; all groups have
   dim 16. With "mixed" a step has 4,096 samples with 143,360 ids. In 20 features a sample has one
   id. In six it has a bag of 2 or 3 ids on average; two are pooled by sum, two by mean and two by
   max. Dims are 4, 8, 16 and 32, so no group could have all keys, and the third way is left out.
   For single calls this program pools the rows itself. THREADS is the storage's option threads (0:
   its default). The ways take turns, for SECONDS each. The figures are medians over ROUNDS. The
   outputs of all features lie side by side in one matrix; with "apart" damo_step's do not. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "damo.h"

enum { FEATURES = 26, BATCHES = 20, SAMPLES = 4096, MAX_DIM = 32, MAX_ROUNDS = 99, WAYS = 3 };

typedef struct {
  damo_embedding *embedding;
  const char *pooling; /* NULL: a row for each key */
  size_t dim, keys_len, rows, column;
  int64_t *keys[BATCHES], *offsets[BATCHES];
  /* For single calls: a row for each key, and which key has a bag's maximum. */
  float *floats, *gradients;
  uint32_t *largest;
} feature;

static const char *const ways[WAYS] = {"damo_step", "26 + 26 calls", "one group"};
static feature features[FEATURES];
static damo_embedding *all;
static int64_t *all_keys[BATCHES];
static size_t keys_len, width, outputs_len;
static float *outputs, *output_gradients;
static damo_step *step;
static damo_rows filled[FEATURES], given[FEATURES];
static uint64_t random_state = UINT64_C(88172645463325252);

static void ok(damo_status status) {
  if (status == DAMO_STATUS_OK) return;
  fprintf(stderr, "%s\n", damo_last_error_message());
  exit(1);
}

static void *made(void *made) {
  if (made == NULL) ok(damo_last_error_code());
  return made;
}

static void *room(size_t len, size_t size) {
  void *room = calloc(len, size);
  if (room == NULL) exit(1);
  return room;
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double core_seconds(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static uint64_t next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

static double unit(void) { return (double)(next() >> 11) / 9007199254740992.0; }

/* Draws the keys of all batches. A bag has 0 to 2 * mean ids, and the last one all those left. */
static void draw(feature *of, size_t number, size_t mean, double rows) {
  size_t batch, key, bag;
  of->rows = mean == 0 ? of->keys_len : SAMPLES;
  for (batch = 0; batch < BATCHES; batch++) {
    of->keys[batch] = room(of->keys_len, sizeof(int64_t));
    for (key = 0; key < of->keys_len; key++) {
      of->keys[batch][key] = (int64_t)pow(rows, unit());
      all_keys[batch][number * of->keys_len + key] = of->keys[batch][key] * 64 + (int64_t)number;
    }
    if (mean == 0) continue;
    of->offsets[batch] = room(SAMPLES + 1, sizeof(int64_t));
    for (bag = 0, key = 0; bag < SAMPLES; bag++) {
      size_t size = next() % (2 * mean + 1), left = of->keys_len - key;
      of->offsets[batch][bag] = (int64_t)key;
      key += bag + 1 == SAMPLES || size > left ? left : size;
    }
    of->offsets[batch][SAMPLES] = (int64_t)of->keys_len;
  }
}

static void open_features(const damo_storage *storage, size_t keys, double rows) {
  static const size_t dims[] = {4, 8, 16, 32}, means[] = {2, 2, 2, 3, 3, 3};
  static const char *const poolings[] = {"sum", "mean", "max"};
  damo_optimizer *adam = made(damo_optimizer_new("adam", NULL, NULL));
  damo_initializer *uniform = made(damo_initializer_new("random_uniform", NULL));
  damo_params *options = made(damo_params_new());
  size_t number;
  ok(damo_params_set_str(options, "duplicates", "sum"));
  for (number = 0; number < BATCHES; number++) {
    all_keys[number] = room(FEATURES * (keys == 0 ? SAMPLES * 3 : keys), sizeof(int64_t));
  }
  for (number = 0; number < FEATURES; number++) {
    feature *of = &features[number];
    size_t mean = keys == 0 && number >= 20 ? means[number - 20] : 0;
    of->dim = keys == 0 ? dims[number % 4] : 16;
    of->keys_len = keys == 0 ? SAMPLES * (mean == 0 ? 1 : mean) : keys;
    of->pooling = mean == 0 ? NULL : poolings[number % 3];
    of->embedding =
        made(damo_embedding_new(storage, adam, uniform, of->dim, (uint32_t)number, options));
    draw(of, number, mean, rows);
    of->floats = room(of->keys_len * of->dim, sizeof(float));
    of->gradients = room(of->keys_len * of->dim, sizeof(float));
    of->largest = room(SAMPLES * of->dim, sizeof(uint32_t));
    of->column = width;
    width += of->dim;
    keys_len += of->keys_len;
  }
  if (keys != 0) all = made(damo_embedding_new(storage, adam, uniform, 16, 1000, options));
  damo_params_free(options);
  damo_initializer_free(uniform);
  damo_optimizer_free(adam);
}

/* Makes one matrix for the outputs of all features, or a piece for each, and the same for their
   gradients. */
static void make_outputs(bool apart) {
  size_t number, at;
  outputs_len = features[0].rows * width;
  outputs = room(outputs_len, sizeof(float));
  output_gradients = room(outputs_len, sizeof(float));
  for (at = 0; at < outputs_len; at++) {
    output_gradients[at] = 0.01f * (float)((int)(next() % 7) - 3);
  }
  for (number = 0; number < FEATURES; number++) {
    const feature *of = &features[number];
    size_t begin = apart ? of->column * of->rows : of->column;
    size_t end = apart ? begin + of->rows * of->dim : outputs_len;
    filled[number].floats = outputs + begin;
    given[number].floats = output_gradients + begin;
    filled[number].floats_len = given[number].floats_len = end - begin;
    filled[number].stride = given[number].stride = apart ? of->dim : width;
  }
}

static void in_one_step(size_t batch) {
  size_t number;
  ok(damo_step_clear(step));
  for (number = 0; number < FEATURES; number++) {
    const feature *of = &features[number];
    if (of->pooling == NULL) {
      ok(damo_step_add_keys(step, of->embedding, of->keys[batch], of->keys_len));
    } else {
      ok(damo_step_add_bags(step, of->embedding, of->keys[batch], of->keys_len, of->offsets[batch],
                            SAMPLES + 1, true, of->pooling, NULL));
    }
  }
  ok(damo_step_lookup(step, filled, FEATURES));
  ok(damo_step_apply_gradients(step, given, FEATURES));
}

static void pool_bag(feature *of, const int64_t *ends, size_t bag, float *output) {
  size_t begin = (size_t)ends[bag], end = (size_t)ends[bag + 1], key, i;
  bool by_max = strcmp(of->pooling, "max") == 0;
  float factor = strcmp(of->pooling, "mean") == 0 && end > begin ? 1 / (float)(end - begin) : 1;
  memset(output, 0, of->dim * sizeof(float));
  for (key = begin; key < end; key++) {
    const float *row = of->floats + key * of->dim;
    if (!by_max) {
      for (i = 0; i < of->dim; i++) output[i] += row[i] * factor;
      continue;
    }
    for (i = 0; i < of->dim; i++) {
      if (key > begin && row[i] <= output[i]) continue;
      output[i] = row[i];
      of->largest[bag * of->dim + i] = (uint32_t)key;
    }
  }
}

static void spread_bag(feature *of, const int64_t *ends, size_t bag, const float *gradient) {
  size_t begin = (size_t)ends[bag], end = (size_t)ends[bag + 1], key, i;
  bool by_max = strcmp(of->pooling, "max") == 0;
  float factor = strcmp(of->pooling, "mean") == 0 ? 1 / (float)(end - begin) : 1;
  for (key = begin; key < end; key++) {
    float *of_key = of->gradients + key * of->dim;
    for (i = 0; i < of->dim; i++) {
      bool takes = !by_max || of->largest[bag * of->dim + i] == key;
      of_key[i] = takes ? gradient[i] * factor : 0;
    }
  }
}

static void in_calls(size_t batch) {
  size_t number, row;
  for (number = 0; number < FEATURES; number++) {
    feature *of = &features[number];
    ok(damo_embedding_lookup(of->embedding, of->keys[batch], of->keys_len, of->floats,
                             of->keys_len * of->dim));
    for (row = 0; row < of->rows; row++) {
      float *output = outputs + row * width + of->column;
      if (of->pooling != NULL) {
        pool_bag(of, of->offsets[batch], row, output);
      } else {
        memcpy(output, of->floats + row * of->dim, of->dim * sizeof(float));
      }
    }
  }
  for (number = 0; number < FEATURES; number++) {
    feature *of = &features[number];
    for (row = 0; row < of->rows; row++) {
      const float *gradient = output_gradients + row * width + of->column;
      if (of->pooling != NULL) {
        spread_bag(of, of->offsets[batch], row, gradient);
      } else {
        memcpy(of->gradients + row * of->dim, gradient, of->dim * sizeof(float));
      }
    }
    ok(damo_embedding_apply_gradients(of->embedding, of->keys[batch], of->keys_len, of->gradients,
                                      of->keys_len * of->dim));
  }
}

static void in_one_group(size_t batch) {
  ok(damo_embedding_lookup(all, all_keys[batch], keys_len, outputs, outputs_len));
  ok(damo_embedding_apply_gradients(all, all_keys[batch], keys_len, output_gradients, outputs_len));
}

static int by_size(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

static void measure(int rounds, double length) {
  static void (*const make[WAYS])(size_t) = {in_one_step, in_calls, in_one_group};
  double rates[WAYS][MAX_ROUNDS], cores[WAYS][MAX_ROUNDS];
  int count = all == NULL ? 2 : WAYS, round, way;
  for (round = -1; round < rounds; round++) { /* the first one creates the rows */
    for (way = 0; way < count; way++) {
      double begin = seconds(), begun = core_seconds(), took;
      size_t steps = 0;
      do make[way](steps++ % BATCHES);
      while (steps < BATCHES || seconds() < begin + (round < 0 ? 0 : length));
      took = seconds() - begin;
      if (round < 0) continue;
      rates[way][round] = (double)steps / took;
      cores[way][round] = (core_seconds() - begun) * 1e3 / (double)steps;
    }
  }
  for (way = 0; way < count; way++) {
    qsort(rates[way], (size_t)rounds, sizeof(double), by_size);
    qsort(cores[way], (size_t)rounds, sizeof(double), by_size);
  }
  for (way = 0; way < count; way++) {
    double rate = rates[way][rounds / 2], last = rates[count - 1][rounds / 2];
    printf("%-14s %8.1f steps/s (%.1f to %.1f), %8.3f core-ms a step, %.2f x %s\n", ways[way], rate,
           rates[way][0], rates[way][rounds - 1], cores[way][rounds / 2], rate / last,
           ways[count - 1]);
  }
}

int main(int argc, char **argv) {
  damo_params *options = made(damo_params_new());
  damo_storage *storage;
  bool mixed = argc > 3 && strcmp(argv[3], "mixed") == 0;
  int keys = argc > 3 && !mixed ? atoi(argv[3]) : 0, threads = argc > 4 ? atoi(argv[4]) : 0;
  int rounds = argc > 5 ? atoi(argv[5]) : 5, number;
  double length = argc > 6 ? atof(argv[6]) : 2, rows = argc > 7 ? atof(argv[7]) : 100000;
  if (argc < 4) return fprintf(stderr, "FOLDER, a durability, and KEYS or mixed are needed\n"), 2;
  if ((keys < 1 && !mixed) || threads < 0 || rounds < 1 || rounds > MAX_ROUNDS || rows < 2) {
    return fprintf(stderr, "a number is out of range\n"), 2;
  }
  ok(damo_params_set_str(options, "durability", argv[2]));
  ok(damo_params_set_int(options, "cache_bytes", INT64_C(4) << 30));
  if (threads > 0) ok(damo_params_set_int(options, "threads", threads));
  storage = made(damo_storage_new(argv[1], 0, options));
  open_features(storage, (size_t)keys, rows);
  make_outputs(argc > 8 && strcmp(argv[8], "apart") == 0);
  step = made(damo_step_new(storage, NULL));
  measure(rounds, length);
  damo_step_free(step);
  damo_embedding_free(all);
  for (number = 0; number < FEATURES; number++) damo_embedding_free(features[number].embedding);
  damo_storage_free(storage);
  damo_params_free(options);
  return 0;
}

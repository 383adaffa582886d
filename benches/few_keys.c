/* Measures lookups of few keys, where a part of the rows is in memory, and the rest in files that
   the page cache has. It prints microseconds a key: processor time of the whole process, and time
   on the clock.

       cc -O2 -Iinclude benches/few_keys.c -o few_keys -Ltarget/release -ldamo -lm
       ./few_keys FOLDER [ROWS [PART [THREADS [KEY=VALUE]...]]]

   FOLDER is made if it does not exist, and used again if it does. It has ROWS rows (1,500,000). One
   row in PART fits into memory (5). THREADS is the storage's option (1). KEY=VALUE are other
   options of the storage, numbers or words. Keys are Zipf(1.05), the dim is 16, and the optimizer
   is adam. Rows are only read. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "damo.h"

enum { DIM = 16, KEYS = 1 << 20, BATCH = 50000, RUNS = 5, SIZES = 4 };
/* Bytes of cache_bytes for a row of adam in memory: its floats, its header, its place in the
   cache's index, and a share of the files' indexes and filters. */
enum { ROW_BYTES = 4 * 3 * DIM + 32 + 8 + 12 };

static const size_t sizes[SIZES] = {8, 39, 96, 256};
static int64_t keys[KEYS];
static float weights[BATCH * DIM];

static void ok(damo_status status) {
  if (status == DAMO_STATUS_OK) return;
  fprintf(stderr, "%s\n", damo_last_error_message());
  exit(1);
}

static void *made(void *handle) {
  if (handle == NULL) ok(damo_last_error_code());
  return handle;
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static uint64_t stat_of(damo_storage *storage, const char *name) {
  uint64_t value;
  ok(damo_storage_stat(storage, name, &value));
  return value;
}

static int64_t key_of(uint64_t number) { return (int64_t)(number * UINT64_C(0x9e3779b97f4a7c15)); }

static double uniform(uint64_t *random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return (double)(*random >> 11) * 0x1p-53;
}

/* Ranks from 1 to rows with probabilities of about rank to the power of -1.05. */
static uint64_t zipf(uint64_t *random, double rows) {
  const double power = 1.05, top = pow(rows + 1, 1 - power);
  return (uint64_t)pow(1 + uniform(random) * (top - 1), 1 / (1 - power));
}

static void fill(damo_embedding *embedding, uint64_t rows) {
  for (uint64_t begin = 0; begin < rows; begin += BATCH) {
    size_t count = rows - begin < BATCH ? (size_t)(rows - begin) : BATCH;
    for (size_t i = 0; i < count; i++) keys[i] = key_of(begin + i + 1);
    ok(damo_embedding_lookup(embedding, keys, count, weights, count * DIM));
  }
}

/* Looks up all keys, with `size` keys in each call. */
static void run(damo_storage *storage, damo_embedding *embedding, size_t size) {
  const size_t calls = KEYS / size;
  uint64_t missed = stat_of(storage, "cache_misses");
  double clock = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (size_t call = 0; call < calls; call++) {
    ok(damo_embedding_lookup(embedding, keys + call * size, size, weights, size * DIM));
  }
  processor = seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
  clock = seconds(CLOCK_MONOTONIC) - clock;
  missed = stat_of(storage, "cache_misses") - missed;
  const double count = (double)(calls * size);
  printf("%3zu keys: %.2f us of processor a key, %.2f on the clock; %.1f %% missed, %.2f us a "
         "miss\n",
         size, processor / count * 1e6, clock / count * 1e6, 100 * (double)missed / count,
         processor / (double)missed * 1e6);
}

int main(int count, char **arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: few_keys FOLDER [ROWS [PART [THREADS [KEY=VALUE]...]]]\n");
    return 2;
  }
  const int64_t rows = count > 2 ? atoll(arguments[2]) : 1500000;
  const int64_t part = count > 3 ? atoll(arguments[3]) : 5;
  damo_params *options = made(damo_params_new());
  ok(damo_params_set_int(options, "cache_bytes", rows * ROW_BYTES / part));
  ok(damo_params_set_int(options, "threads", count > 4 ? atoll(arguments[4]) : 1));
  ok(damo_params_set_str(options, "durability", "checkpoint"));
  for (int i = 5; i < count; i++) {
    char *value = strchr(arguments[i], '='), *end;
    if (value == NULL) return 2;
    *value++ = '\0';
    const int64_t number = strtoll(value, &end, 10);
    ok(*end == '\0' ? damo_params_set_int(options, arguments[i], number)
                    : damo_params_set_str(options, arguments[i], value));
  }
  damo_storage *storage = made(damo_storage_new(arguments[1], 0, options));
  damo_params *adam = made(damo_params_new());
  damo_optimizer *optimizer = made(damo_optimizer_new("adam", adam, NULL));
  damo_initializer *zeros = made(damo_initializer_new("zeros", adam));
  damo_embedding *embedding =
      made(damo_embedding_new(storage, optimizer, zeros, DIM, 0, adam));
  if (stat_of(storage, "rows_estimate") == 0) {
    fill(embedding, (uint64_t)rows);
    ok(damo_storage_compact(storage));
  }
  uint64_t random = 88172645463325252;
  for (int run_of = 0; run_of < RUNS; run_of++) {
    for (size_t i = 0; i < KEYS; i++) keys[i] = key_of(zipf(&random, (double)rows));
    for (int i = 0; i < SIZES; i++) {
      if (run_of == 0) printf("warming ");
      run(storage, embedding, sizes[i]);
      for (size_t key = 0; key < KEYS; key++) keys[key] = key_of(zipf(&random, (double)rows));
    }
  }
  damo_embedding_free(embedding);
  damo_initializer_free(zeros);
  damo_optimizer_free(optimizer);
  damo_params_free(adam);
  damo_params_free(options);
  damo_storage_free(storage);
  return 0;
}

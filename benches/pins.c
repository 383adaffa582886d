/* Microseconds a sample of a trainer with an optimizer of its own: pin the rows, change every
   float, commit. Beside it a lookup and an apply_gradients with sgd, parts of both alone, and what
   the caller itself does: drawing keys, and changing floats. Processor time of one thread, and time
   on the clock divided by the samples of all threads.

       cc -O2 -Iinclude benches/pins.c -o pins -Ltarget/release -ldamo -lpthread
       ./pins FOLDER checkpoint|process|power [ROWS [KEYS [STATE [THREADS [SAMPLES]]]]]

   FOLDER must not exist yet. Keys are uniform, the dim is 16, all rows are in memory. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "damo.h"

enum { DIM = 16, MAX_KEYS = 1024, MAX_THREADS = 64, WORKS = 5 };

static const char *const works[WORKS] = {"pin, change, commit", "lookup, apply (sgd)", "pin",
                                         "lookup", "the caller's part"};
static int64_t rows = 100000, samples = 200000;
static int keys_len = 39, state = 0, threads = 1, work;
static damo_embedding *own, *stepped;

typedef struct {
  uint64_t random;
  double seconds;
} trainer;

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

static int64_t key_of(uint64_t number) { return (int64_t)(number * UINT64_C(0x9e3779b97f4a7c15)); }

static uint64_t next(uint64_t *random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  return *random ^= *random << 17;
}

static void *train(void *argument) {
  static float gradients[MAX_KEYS * DIM];
  trainer *self = argument;
  int64_t keys[MAX_KEYS], sample;
  float *at[MAX_KEYS], *weights = malloc(sizeof(float) * MAX_KEYS * DIM);
  float *plain = calloc((size_t)MAX_KEYS * (size_t)(DIM + state), sizeof(float));
  const size_t count = (size_t)keys_len, floats = count * DIM;
  damo_pin *pin = NULL;
  double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
  int i, j;
  for (sample = 0; sample < samples; sample++) {
    for (i = 0; i < keys_len; i++) keys[i] = key_of(next(&self->random) % (uint64_t)rows);
    if (work == 0 || work == 2) ok(damo_rows_pin(own, keys, count, at, NULL, &pin));
    if (work == 1 || work == 3) ok(damo_embedding_lookup(stepped, keys, count, weights, floats));
    if (work == 1) ok(damo_embedding_apply_gradients(stepped, keys, count, gradients, floats));
    if (work == 4) {
      for (i = 0; i < keys_len; i++) at[i] = plain + i * (DIM + state);
    }
    if (work == 0 || work == 4) {
      for (i = 0; i < keys_len; i++) {
        for (j = 0; j < DIM + state; j++) at[i][j] += 1e-3f;
      }
    }
    if (work == 0) ok(damo_pin_commit(pin, NULL));
  }
  self->seconds = seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
  damo_pin_free(pin);
  free(weights);
  free(plain);
  return NULL;
}

static void measure(void) {
  pthread_t ids[MAX_THREADS];
  trainer trainers[MAX_THREADS];
  double begin = seconds(CLOCK_MONOTONIC), all;
  int i;
  for (i = 0; i < threads; i++) {
    trainers[i].random = UINT64_C(88172645463325252) + (uint64_t)i * 7919;
    if (pthread_create(&ids[i], NULL, train, &trainers[i]) != 0) exit(1);
  }
  for (i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  all = seconds(CLOCK_MONOTONIC) - begin;
  printf("%-20s %6.2f us of a processor %6.2f us on the clock\n", works[work],
         trainers[0].seconds * 1e6 / (double)samples,
         all * 1e6 / (double)(samples * threads));
}

int main(int argc, char **argv) {
  damo_params *options = damo_params_new(), *floats = damo_params_new();
  damo_storage *storage;
  damo_optimizer *none, *sgd;
  damo_initializer *uniform;
  float *weights;
  int64_t *keys, row;
  if (argc < 3) return fprintf(stderr, "FOLDER and a durability are needed\n"), 2;
  if (argc > 3) rows = atol(argv[3]);
  if (argc > 4) keys_len = atoi(argv[4]);
  if (argc > 5) state = atoi(argv[5]);
  if (argc > 6) threads = atoi(argv[6]);
  if (argc > 7) samples = atol(argv[7]);
  if (rows < 1 || keys_len < 1 || keys_len > MAX_KEYS || threads < 1 || threads > MAX_THREADS) {
    return fprintf(stderr, "a number is out of range\n"), 2;
  }
  ok(damo_params_set_str(options, "durability", argv[2]));
  ok(damo_params_set_int(options, "threads", 1));
  ok(damo_params_set_int(floats, "state", state));
  storage = made(damo_storage_new(argv[1], 0, options));
  none = made(damo_optimizer_new("none", floats, NULL));
  sgd = made(damo_optimizer_new("sgd", NULL, NULL));
  uniform = made(damo_initializer_new("random_uniform", NULL));
  own = made(damo_embedding_new(storage, none, uniform, DIM, 0, NULL));
  stepped = made(damo_embedding_new(storage, sgd, uniform, DIM, 1, NULL));
  keys = malloc((size_t)rows * sizeof *keys);
  weights = malloc((size_t)rows * DIM * sizeof *weights);
  for (row = 0; row < rows; row++) keys[row] = key_of((uint64_t)row);
  ok(damo_embedding_lookup(own, keys, (size_t)rows, weights, (size_t)rows * DIM));
  ok(damo_embedding_lookup(stepped, keys, (size_t)rows, weights, (size_t)rows * DIM));
  ok(damo_storage_flush(storage));
  for (work = 0; work < WORKS; work++) measure();
  damo_embedding_free(own);
  damo_embedding_free(stepped);
  damo_initializer_free(uniform);
  damo_optimizer_free(sgd);
  damo_optimizer_free(none);
  damo_storage_free(storage);
  damo_params_free(floats);
  damo_params_free(options);
  free(keys);
  free(weights);
  return 0;
}

/* The host's floating-point state changes no result, and is the same after each call. */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <stdint.h>

#include "check.h"

enum { DIM = 8, KEYS = 500, FLOATS = KEYS * DIM };

static int64_t keys[KEYS];
static float gradients[FLOATS];

/* Trains a new storage and returns its weights. */
static void train(const char *dir, const char *optimizer_name, float *weights) {
  damo_params *options = damo_params_new();
  damo_initializer *normal = damo_initializer_new("random_normal", NULL);
  damo_optimizer *optimizer = damo_optimizer_new(optimizer_name, NULL, NULL);
  damo_storage *storage;
  damo_embedding *embedding;
  int step;
  CHECK_OK(damo_params_set_int(options, "threads", 4));
  storage = damo_storage_new(dir, 0, options);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, optimizer, normal, DIM, 0, NULL);
  CHECK(embedding != NULL);
  for (step = 0; step < 5; step++) {
    CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, weights, FLOATS));
    CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, FLOATS));
  }
  CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, weights, FLOATS));
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(optimizer);
  damo_initializer_free(normal);
  damo_params_free(options);
}

static const char *const optimizers[] = {"sgd", "adam", "adagrad", "ftrl", "lion"};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };
static float expected[OPTIMIZERS][FLOATS], found[FLOATS];

static void same_rows(const char *state) {
  char dir[64];
  int index;
  for (index = 0; index < OPTIMIZERS; index++) {
    snprintf(dir, sizeof dir, "%s-%s", state, optimizers[index]);
    train(dir, optimizers[index], found);
    CHECK(memcmp(found, expected[index], sizeof found) == 0);
  }
}

#ifdef __x86_64__
#define DENORMALS_ARE_ZERO 0x8040u

static unsigned get_mxcsr(void) {
  unsigned value;
  __asm__ volatile("stmxcsr %0" : "=m"(value));
  return value;
}

static void set_mxcsr(unsigned value) { __asm__ volatile("ldmxcsr %0" : : "m"(value)); }
#endif

int main(void) {
  static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  int index;
  for (index = 0; index < KEYS; index++)
    keys[index] = (int64_t)index * 1000003 - 7;
  for (index = 0; index < FLOATS; index++)
    gradients[index] = (float)((index * 37) % 101) / 97.0f - 0.5f;
  for (index = 0; index < 20; index++)
    gradients[index] = 1e-42f;
  for (index = 0; index < OPTIMIZERS; index++)
    train(optimizers[index], optimizers[index], expected[index]);

  for (index = 0; index < 3; index++) {
    char name[16];
    snprintf(name, sizeof name, "rounding-%d", index);
    CHECK(fesetround(modes[index]) == 0);
    same_rows(name);
    CHECK(fegetround() == modes[index]);
  }
  CHECK(fesetround(FE_TONEAREST) == 0);

#if defined(__GLIBC__) && defined(__x86_64__)
  {
    damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
    float row[2] = {1, 2}, bad[2] = {0, NAN};
    CHECK(feclearexcept(FE_ALL_EXCEPT) == 0);
    CHECK(feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT) !=
          -1);
    CHECK_FAILS(damo_optimizer_apply(sgd, row, 2, bad, 2, 0), DAMO_STATUS_INVALID_ARGUMENT,
                "gradients[1]");
    same_rows("traps");
    CHECK(fegetexcept() == (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT));
    CHECK(fetestexcept(FE_ALL_EXCEPT) == 0);
    fedisableexcept(FE_ALL_EXCEPT);
    damo_optimizer_free(sgd);
  }
#endif
#ifdef __x86_64__
  set_mxcsr(get_mxcsr() | DENORMALS_ARE_ZERO);
  same_rows("denormals");
  CHECK((get_mxcsr() & DENORMALS_ARE_ZERO) == DENORMALS_ARE_ZERO);
  set_mxcsr(get_mxcsr() & ~DENORMALS_ARE_ZERO);
#endif
  return 0;
}

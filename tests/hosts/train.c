/* train DIR MANNER [STEPS INDEX HOSTS]: trains a storage in a host with a manner: plain, closed,
   traps, rounding or timer. If several hosts share the storage, this one is number INDEX, and
   trains STEPS steps at each of its turns. */
#define _GNU_SOURCE
#include <errno.h>
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "../c/check.h"
#include "train.h"

static int64_t keys[KEYS];
static float weights[KEYS * DIM], gradients[KEYS * DIM];

static void nothing(int signal) { (void)signal; }

static void behave(const char *manner) {
  if (strcmp(manner, "closed") == 0) {
    close(0), close(1), close(2);
  } else if (strcmp(manner, "rounding") == 0) {
    CHECK(fesetround(FE_UPWARD) == 0);
  } else if (strcmp(manner, "timer") == 0) {
    /* Like Python's handlers, without SA_RESTART. */
    const struct sigaction action = {.sa_handler = nothing};
    const struct itimerval often = {{0, 200}, {0, 200}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  } else if (strcmp(manner, "traps") == 0) {
#if defined(__GLIBC__) && defined(__x86_64__)
    CHECK(feclearexcept(FE_ALL_EXCEPT) == 0);
    CHECK(feenableexcept(FE_ALL_EXCEPT) != -1);
#endif
  } else {
    CHECK(strcmp(manner, "plain") == 0);
  }
}

/* Waits while another host has the storage open, unless the process that started this one was
   killed. */
static damo_storage *open_storage(const char *dir, pid_t parent) {
  damo_storage *storage;
  while ((storage = damo_storage_new(dir, 0, NULL)) == NULL) {
    CHECK(damo_last_error_code() == DAMO_STATUS_BUSY);
    CHECK(getppid() == parent);
    usleep(2000);
  }
  return storage;
}

static void train(damo_storage *storage, damo_embedding *users, int64_t step, int64_t end) {
  int index;
  for (; step < end; step++) {
    for (index = 0; index < KEYS; index++) keys[index] = train_key(index, (int)step);
    for (index = 0; index < KEYS * DIM; index++) {
      gradients[index] = train_gradient(index, (int)step);
    }
    CHECK_OK(damo_embedding_lookup(users, keys, KEYS, weights, KEYS * DIM));
    CHECK_OK(damo_embedding_apply_gradients(users, keys, KEYS, gradients, KEYS * DIM));
    if (step % STEPS_A_FLUSH == 0) CHECK_OK(damo_storage_flush(storage));
  }
}

int main(int argc, char **argv) {
  struct turns turns = {STEPS, 0, 1};
  damo_params *adam_params = damo_params_new(), *normal_params = damo_params_new(),
              *options = damo_params_new();
  damo_initializer *normal;
  damo_optimizer *adam;
  damo_storage *storage;
  damo_embedding *users;
  int64_t step;
  const pid_t parent = getppid();
  CHECK(argc == 3 || argc == 6);
  if (argc == 6) turns = (struct turns){atoll(argv[3]), atoll(argv[4]), atoll(argv[5])};
  behave(argv[2]);
  CHECK_OK(damo_params_set_float(adam_params, "gamma", 0.01));
  CHECK_OK(damo_params_set_int(normal_params, "seed", 7));
  CHECK_OK(damo_params_set_str(options, "duplicates", "sum"));
  adam = damo_optimizer_new("adam", adam_params, NULL);
  normal = damo_initializer_new("random_normal", normal_params);
  for (;;) {
    CHECK(getppid() == parent);
    storage = open_storage(argv[1], parent);
    users = damo_embedding_new(storage, adam, normal, DIM, 0, options);
    CHECK(users != NULL);
    CHECK_OK(damo_embedding_step(users, &step));
    if (step == STEPS) break;
    train(storage, users, step, train_turn_end(turns, step));
    damo_embedding_free(users);
    damo_storage_free(storage);
    usleep(5000);
  }
  gradients[5] = NAN;
  CHECK_FAILS(damo_embedding_apply_gradients(users, keys, KEYS, gradients, KEYS * DIM),
              DAMO_STATUS_INVALID_ARGUMENT, "gradients");
  CHECK_NULL(damo_optimizer_new("no", NULL, NULL), DAMO_STATUS_INVALID_ARGUMENT, "no");
  damo_embedding_free(users);
  damo_storage_free(storage);
  damo_optimizer_free(adam);
  damo_initializer_free(normal);
  damo_params_free(adam_params), damo_params_free(normal_params), damo_params_free(options);
  return 0;
}

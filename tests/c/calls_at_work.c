/* Large calls that are at work at the same time divide the threads of their storage. A call of each
   kind is stopped whenever it asks for threads. Meanwhile another call asks for threads, too. */
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>

#include "check.h"

enum { DIM = 8, KEYS = 20000, FLOATS = KEYS * DIM, THREADS = 4 };

static int64_t keys[KEYS], summed_keys[KEYS];
static float floats[FLOATS], weights[FLOATS], sums[FLOATS], looked_up[FLOATS];
static damo_embedding *rows, *other_rows;

typedef void (*large_call)(void);

static void lookup(void) {
  CHECK_OK(damo_embedding_lookup(rows, keys, KEYS, weights, FLOATS));
}

static void peek(void) {
  CHECK_OK(damo_embedding_peek(rows, keys, KEYS, weights, FLOATS, NULL));
}

static void apply_gradients(void) {
  CHECK_OK(damo_embedding_apply_gradients(rows, keys, KEYS, floats, FLOATS));
}

static void sum_gradients(void) {
  size_t summed;
  CHECK_OK(damo_embedding_sum_gradients(rows, keys, KEYS, floats, FLOATS, summed_keys, KEYS, sums,
                                        FLOATS, &summed, NULL, NULL));
}

static void insert(void) {
  CHECK_OK(damo_embedding_insert(rows, keys, KEYS, floats, FLOATS));
}

static void delete_rows(void) {
  CHECK_OK(damo_embedding_delete(rows, keys, KEYS));
}

static void lookup_in_two_halves(void) {
  int64_t positions[KEYS];
  size_t changed;
  damo_lookup *begun = damo_embedding_begin_lookup(rows, keys, KEYS, weights, FLOATS);
  CHECK(begun != NULL);
  CHECK_OK(damo_embedding_finish_lookup(rows, begun, weights, FLOATS, positions, KEYS, &changed));
  damo_lookup_free(begun);
}

/* A call on a thread of its own. It stops when it asks for the host's threads the n-th time. */
typedef struct {
  large_call call;
  int stops_at, asked;
  int has_stopped;
  sem_t stopped_or_over, go_on;
} stopping;

static pthread_key_t stopping_here; /* the stopping call of the present thread, or NULL */
static size_t most;                 /* threads that the calls of other threads asked for */

static void run(void *context, size_t threads, damo_work work, void *work_context) {
  stopping *here = pthread_getspecific(stopping_here);
  (void)context;
  if (here == NULL) {
    if (threads > most) most = threads;
  } else if (++here->asked == here->stops_at) {
    here->has_stopped = 1;
    CHECK(sem_post(&here->stopped_or_over) == 0);
    CHECK(sem_wait(&here->go_on) == 0);
  }
  work(work_context);
}

static void *make_call(void *given) {
  stopping *here = given;
  CHECK(pthread_setspecific(stopping_here, here) == 0);
  here->call();
  CHECK(sem_post(&here->stopped_or_over) == 0);
  return NULL;
}

/* What another call asks for. Its rows exist. */
static size_t threads_of_another_call(void) {
  most = 0;
  CHECK_OK(damo_embedding_lookup(other_rows, keys, KEYS, looked_up, FLOATS));
  return most;
}

/* The same keys in another order: no earlier call has left anything that is of use. */
static void shuffle(void) {
  static int other = 0;
  const int64_t key = keys[0];
  other++;
  keys[0] = keys[other];
  keys[other] = key;
}

/* Returns how often the call has shared its work. */
static int others_get_half_of_the_threads(large_call call) {
  stopping here;
  pthread_t caller;
  int stops_at;
  for (stops_at = 1;; stops_at++) {
    here.call = call;
    here.stops_at = stops_at;
    here.asked = here.has_stopped = 0;
    shuffle();
    CHECK(sem_init(&here.stopped_or_over, 0, 0) == 0 && sem_init(&here.go_on, 0, 0) == 0);
    CHECK(pthread_create(&caller, NULL, make_call, &here) == 0);
    CHECK(sem_wait(&here.stopped_or_over) == 0);
    if (here.has_stopped) {
      CHECK(threads_of_another_call() == THREADS / 2);
      CHECK(sem_post(&here.go_on) == 0);
    }
    CHECK(pthread_join(caller, NULL) == 0);
    CHECK(threads_of_another_call() == THREADS);
    if (!here.has_stopped) return stops_at - 1;
  }
}

static void check(const char *dir, const char *durability) {
  const large_call calls[] = {lookup,        lookup_in_two_halves, peek,       apply_gradients,
                              sum_gradients, insert,               delete_rows};
  /* A lookup shares the slices of its keys, their rows, and the caller's buffer. A change shares
     the slices, what is given for each key, the look for the rows, and their change. */
  const int at_least[] = {3, 5, 3, 4, 3, 4, 4};
  damo_params *options = damo_params_new();
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *uniform = damo_initializer_new("random_uniform", NULL);
  damo_storage *storage;
  size_t i;
  CHECK_OK(damo_params_set_int(options, "threads", THREADS));
  CHECK_OK(damo_params_set_str(options, "durability", durability));
  storage = damo_storage_new(dir, 0, options);
  CHECK(storage != NULL);
  CHECK((rows = damo_embedding_new(storage, adam, uniform, DIM, 1, NULL)) != NULL);
  CHECK((other_rows = damo_embedding_new(storage, adam, uniform, DIM, 2, NULL)) != NULL);
  CHECK_OK(damo_embedding_lookup(other_rows, keys, KEYS, looked_up, FLOATS));
  CHECK_OK(damo_storage_set_executor(storage, run, NULL, 0));
  CHECK(threads_of_another_call() == THREADS);
  for (i = 0; i < sizeof calls / sizeof *calls; i++) {
    const int shared = others_get_half_of_the_threads(calls[i]);
    if (shared < at_least[i]) {
      fprintf(stderr, "call %d of the list has shared its work %d times\n", (int)i, shared);
      exit(1);
    }
  }
  damo_embedding_free(rows);
  damo_embedding_free(other_rows);
  damo_storage_free(storage);
  damo_optimizer_free(adam);
  damo_initializer_free(uniform);
  damo_params_free(options);
}

int main(void) {
  int i;
  for (i = 0; i < KEYS; i++) keys[i] = (int64_t)i * 977;
  for (i = 0; i < FLOATS; i++) floats[i] = (float)(i % 17) * 0.01f - 0.08f;
  CHECK(pthread_key_create(&stopping_here, NULL) == 0);
  check("calls_at_work.damo", "checkpoint");
  check("calls_at_work_process.damo", "process");
  return 0;
}

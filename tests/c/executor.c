/* Executors: large calls run on the host's threads, with the same results, and nothing hangs. */
#define _GNU_SOURCE
#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { DIM = 8, KEYS = 40000, FLOATS = KEYS * DIM, MOST = 16 };

static int64_t keys[KEYS];
static float gradients[FLOATS], weights[FLOATS], expected[FLOATS];

/* A host: it runs the work on so many threads, whatever was asked for. */
typedef struct {
  size_t offered;
  int runs;
  size_t least, most; /* what was asked for */
  int64_t worked;     /* nanoseconds of processor time of threads beside the caller's */
} host;

typedef struct {
  host *of;
  damo_work work;
  void *context;
} task;

/* A thread of the host, whose floating-point state is not the usual one. */
static void *run_task(void *given) {
  const task *t = given;
  struct timespec now;
  fesetround(FE_UPWARD);
  t->work(t->context);
  CHECK(fegetround() == FE_UPWARD);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  __atomic_add_fetch(&t->of->worked, now.tv_sec * 1000000000 + now.tv_nsec, __ATOMIC_SEQ_CST);
  return NULL;
}

static void run(void *context, size_t threads, damo_work work, void *work_context) {
  host *h = context;
  pthread_t others[MOST];
  task t;
  size_t i;
  t.of = h;
  t.work = work;
  t.context = work_context;
  CHECK(fegetround() == FE_DOWNWARD); /* the caller's state, and not damo's */
  __atomic_add_fetch(&h->runs, 1, __ATOMIC_SEQ_CST);
  if (threads < h->least) h->least = threads;
  if (threads > h->most) h->most = threads;
  for (i = 1; i < h->offered; i++) CHECK(pthread_create(&others[i], NULL, run_task, &t) == 0);
  if (h->offered > 0) work(work_context);
  for (i = 1; i < h->offered; i++) CHECK(pthread_join(others[i], NULL) == 0);
}

/* A pool that runs one job after the other, and none on the thread that gave it. */
static pthread_mutex_t one_job = PTHREAD_MUTEX_INITIALIZER;

static void run_alone(void *context, size_t threads, damo_work work, void *work_context) {
  pthread_t other;
  task t;
  (void)threads;
  t.of = context;
  t.work = work;
  t.context = work_context;
  pthread_mutex_lock(&one_job);
  CHECK(pthread_create(&other, NULL, run_task, &t) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  pthread_mutex_unlock(&one_job);
}

/* An executor that calls damo, which could wait for the call that runs it. */
static damo_embedding *called_from_within;
static int refusals;

static void call_damo(void *context, size_t threads, damo_work work, void *work_context) {
  float row[DIM];
  (void)context;
  (void)threads;
  CHECK_FAILS(damo_embedding_lookup(called_from_within, keys, 1, row, DIM), DAMO_STATUS_BUSY,
              "damo_embedding_lookup", "executor");
  CHECK(damo_params_new() == NULL);
  CHECK(damo_executor_set(NULL, NULL, 0) == DAMO_STATUS_BUSY);
  refusals++;
  work(work_context);
}

static damo_storage *open_storage(const char *dir, int64_t threads) {
  damo_params *options = damo_params_new();
  damo_storage *storage;
  CHECK_OK(damo_params_set_int(options, "threads", threads));
  storage = damo_storage_new(dir, 0, options);
  CHECK(storage != NULL);
  damo_params_free(options);
  return storage;
}

static damo_embedding *open_group(const damo_storage *storage, uint32_t group) {
  damo_params *options = damo_params_new();
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *uniform = damo_initializer_new("random_uniform", NULL);
  damo_embedding *embedding;
  CHECK_OK(damo_params_set_str(options, "duplicates", "sum"));
  embedding = damo_embedding_new(storage, adam, uniform, DIM, group, options);
  CHECK(embedding != NULL);
  damo_params_free(options);
  damo_optimizer_free(adam);
  damo_initializer_free(uniform);
  return embedding;
}

/* The rows after three steps. */
static void train(const damo_embedding *embedding, float *rows) {
  int step;
  fesetround(FE_DOWNWARD);
  for (step = 0; step < 3; step++) {
    CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, rows, FLOATS));
    CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, FLOATS));
  }
  CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, rows, FLOATS));
  CHECK(fegetround() == FE_DOWNWARD);
  fesetround(FE_TONEAREST);
}

static void check_trains_as_ever(const char *dir) {
  damo_storage *storage = open_storage(dir, 4);
  damo_embedding *embedding = open_group(storage, 7);
  memset(weights, 0, sizeof weights);
  train(embedding, weights);
  CHECK(memcmp(weights, expected, sizeof weights) == 0);
  CHECK_OK(damo_embedding_clear(embedding));
  damo_embedding_free(embedding);
  damo_storage_free(storage);
}

static void any_number_of_threads_gives_the_same_bits(void) {
  const size_t offered[] = {0, 1, 3, MOST};
  size_t i;
  for (i = 0; i < sizeof offered / sizeof *offered; i++) {
    host h = {0, 0, MOST, 0, 0};
    char dir[32];
    h.offered = offered[i];
    sprintf(dir, "executor_%d.damo", (int)i);
    CHECK_OK(damo_executor_set(run, &h, 0));
    check_trains_as_ever(dir);
    CHECK(h.runs > 0 && h.least >= 2 && h.most <= 4);
    CHECK_OK(damo_executor_set(NULL, NULL, 0));
    h.runs = 0;
    sprintf(dir, "executor_own_%d.damo", (int)i);
    check_trains_as_ever(dir);
    CHECK(h.runs == 0);
  }
}

static void a_storage_may_have_its_own(void) {
  host of_process = {2, 0, MOST, 0, 0}, own = {2, 0, MOST, 0, 0};
  damo_storage *storage = open_storage("executor_storage.damo", 4);
  damo_storage *single = open_storage("executor_single.damo", 1);
  damo_embedding *embedding = open_group(storage, 0), *alone = open_group(single, 0);
  CHECK_OK(damo_executor_set(run, &of_process, 3));
  CHECK_OK(damo_storage_set_executor(storage, run, &own, 2));
  train(embedding, weights);
  CHECK(own.runs > 0 && own.most == 2 && of_process.runs == 0);
  train(alone, weights); /* threads = 1 */
  CHECK(of_process.runs == 0);
  CHECK_OK(damo_storage_set_executor(storage, NULL, NULL, 0));
  own.runs = 0;
  train(embedding, weights);
  CHECK(own.runs == 0 && of_process.runs > 0 && of_process.most == 3);
  /* A call of few keys is not worth another thread. */
  of_process.runs = 0;
  CHECK_OK(damo_embedding_lookup(embedding, keys, 500, weights, 500 * DIM));
  CHECK(of_process.runs == 0);
  CHECK_OK(damo_executor_set(NULL, NULL, 0));
  damo_embedding_free(embedding);
  damo_embedding_free(alone);
  damo_storage_free(storage);
  damo_storage_free(single);
}

static void wrong_arguments_are_refused(void) {
  host h = {2, 0, MOST, 0, 0};
  CHECK_OK(damo_executor_set(run, &h, 1024));
  CHECK_FAILS(damo_executor_set(NULL, NULL, 1025), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_executor_set", "threads is 1025", "1024");
  CHECK_FAILS(damo_storage_set_executor(NULL, run, &h, 0), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_storage_set_executor", "storage");
  CHECK_OK(damo_executor_set(NULL, NULL, 0));
}

static void an_executor_that_calls_damo_is_refused(void) {
  damo_storage *storage = open_storage("executor_within.damo", 4);
  called_from_within = open_group(storage, 0);
  CHECK_OK(damo_storage_set_executor(storage, call_damo, NULL, 0));
  train(called_from_within, weights);
  CHECK(refusals > 0);
  damo_embedding_free(called_from_within);
  damo_storage_free(storage);
}

/* On the only other thread all work is done: the caller waits for it. */
static void lent_threads_do_the_work(void) {
  host h = {0, 0, MOST, 0, 0};
  damo_storage *storage = open_storage("executor_alone.damo", 4);
  damo_embedding *embedding = open_group(storage, 7);
  struct timespec before, after;
  int64_t own;
  CHECK_OK(damo_storage_set_executor(storage, run_alone, &h, 0));
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  train(embedding, weights);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  own = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
  /* What is not shared, and what making threads costs, is the caller's. */
  CHECK(h.worked > own / 20);
  CHECK(memcmp(weights, expected, sizeof weights) == 0);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
}

static void *train_often(void *embedding) {
  float *rows = malloc(sizeof weights);
  int i;
  CHECK(rows != NULL);
  for (i = 0; i < 10; i++) train(embedding, rows);
  free(rows);
  return NULL;
}

/* Callers of one group wait for each other's turns, whatever the host's pool does. Meanwhile the
   threads are lent and taken back. Once they are taken back, their context is not used. */
static void many_callers_never_wait_in_a_circle(damo_executor pool) {
  damo_storage *storage = open_storage("executor_back.damo", 4);
  damo_embedding *groups[2];
  pthread_t callers[6];
  int64_t step = 0;
  int i;
  for (i = 0; i < 2; i++) groups[i] = open_group(storage, (uint32_t)i);
  for (i = 0; i < 6; i++) {
    CHECK(pthread_create(&callers[i], NULL, train_often, groups[i > 3]) == 0);
  }
  for (i = 0; i < 100; i++) {
    host *h = calloc(1, sizeof *h);
    CHECK(h != NULL);
    h->offered = 2;
    CHECK_OK(damo_executor_set(pool, h, 0));
    usleep(500);
    CHECK_OK(damo_executor_set(NULL, NULL, 0));
    memset(h, 0xff, sizeof *h);
    free(h);
  }
  for (i = 0; i < 6; i++) CHECK(pthread_join(callers[i], NULL) == 0);
  CHECK_OK(damo_embedding_step(groups[0], &step));
  CHECK(step % (4 * 10 * 3) == 0 && step > 0);
  for (i = 0; i < 2; i++) damo_embedding_free(groups[i]);
  damo_storage_free(storage);
}

/* Before anything is opened here, so that the child may open a storage. */
static void a_forked_child_uses_its_own_threads(void) {
  host h = {2, 0, MOST, 0, 0};
  pid_t child;
  int status = -1;
  CHECK_OK(damo_executor_set(run, &h, 0));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    damo_storage *storage = open_storage("executor_fork.damo", 4);
    damo_embedding *embedding = open_group(storage, 7);
    train(embedding, expected);
    damo_embedding_free(embedding);
    damo_storage_free(storage);
    CHECK_OK(damo_executor_set(NULL, NULL, 0));
    CHECK_FAILS(damo_executor_set(run, &h, 0), DAMO_STATUS_FORKED, "damo_executor_set", "forked");
    _exit(h.runs);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_OK(damo_executor_set(NULL, NULL, 0));
}

int main(void) {
  damo_storage *storage;
  damo_embedding *embedding;
  int i;
  for (i = 0; i < KEYS; i++) keys[i] = (int64_t)(i % 30000) * 977;
  for (i = 0; i < FLOATS; i++) gradients[i] = (float)(i % 17) * 0.01f - 0.08f;
  a_forked_child_uses_its_own_threads();
  storage = open_storage("executor_expected.damo", 1);
  embedding = open_group(storage, 7);
  train(embedding, expected);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  any_number_of_threads_gives_the_same_bits();
  a_storage_may_have_its_own();
  wrong_arguments_are_refused();
  an_executor_that_calls_damo_is_refused();
  lent_threads_do_the_work();
  many_callers_never_wait_in_a_circle(run);
  many_callers_never_wait_in_a_circle(run_alone);
  return 0;
}

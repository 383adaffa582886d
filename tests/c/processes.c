/* Two processes: a second opener gets BUSY. A forked child gets FORKED, never hangs and never
   harms. */
#define _POSIX_C_SOURCE 200809L

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const int64_t keys[3] = {1, 2, 3};
static const float gradients[3] = {1, 2, 3};

static void child_ended_well(pid_t child) {
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
  int opened[2], go[2];
  char byte = 0, other[4096], text[64];
  int status = 0;
  const uint32_t often[3] = {1, 2, 3};
  float weights[3];
  uint64_t value;
  int64_t step = 0;
  pid_t child;
  damo_storage *storage;
  damo_optimizer *sgd;
  damo_initializer *zeros;
  damo_embedding *embedding;
  damo_step *steps;
  CHECK(argc == 2);

  /* After openings that failed before they reached RocksDB, a process may fork children that open
     storages. */
  CHECK_NULL(damo_storage_new("/proc/damo", 0, NULL), DAMO_STATUS_IO, "/proc/damo");
  CHECK_NULL(damo_storage_new(argv[0], 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "is a file");

  /* a child that opens the storage for itself, before this process has opened anything */
  CHECK(pipe(opened) == 0 && pipe(go) == 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    storage = damo_storage_new(argv[1], 0, NULL);
    CHECK(storage != NULL);
    CHECK(write(opened[1], "x", 1) == 1);
    CHECK(read(go[0], &byte, 1) == 1);
    damo_storage_free(storage);
    exit(0);
  }
  CHECK(read(opened[0], &byte, 1) == 1);
  CHECK_NULL(damo_storage_new(argv[1], 0, NULL), DAMO_STATUS_BUSY, "damo_storage_new", argv[1],
             "another process");
  CHECK(write(go[1], "x", 1) == 1);
  child_ended_well(child);

  /* once it has closed, the directory is ours */
  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  sgd = damo_optimizer_new("sgd", NULL, NULL);
  zeros = damo_initializer_new("zeros", NULL);
  embedding = damo_embedding_new(storage, sgd, zeros, 1, 0, NULL);
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, 3, gradients, 3));
  steps = damo_step_new(storage, NULL);
  CHECK(steps != NULL);

  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK_FAILS(damo_embedding_lookup(embedding, keys, 3, weights, 3), DAMO_STATUS_FORKED,
                "damo_embedding_lookup", argv[1], "forked child", "open storages after forking");
    CHECK_FAILS(damo_embedding_lookup_counted(embedding, keys, 3, often, 3, weights, 3),
                DAMO_STATUS_FORKED, "damo_embedding_lookup_counted", argv[1]);
    CHECK_FAILS(damo_step_add_keys_counted(steps, embedding, keys, 3, often, 3),
                DAMO_STATUS_FORKED, "damo_step_add_keys_counted", argv[1]);
    CHECK_FAILS(damo_embedding_peek(embedding, keys, 3, weights, 3, NULL), DAMO_STATUS_FORKED,
                argv[1]);
    CHECK_FAILS(damo_embedding_lookup_at(embedding, 0, keys, 3, weights, 3), DAMO_STATUS_FORKED,
                argv[1]);
    CHECK_FAILS(
        damo_embedding_apply_gradients_once(embedding, 1, 1, 0, keys, 3, gradients, 3, NULL),
        DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_storage_forget_client(storage, 1, NULL), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_embedding_apply_gradients(embedding, keys, 3, gradients, 3),
                DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_embedding_insert(embedding, keys, 3, gradients, 3), DAMO_STATUS_FORKED,
                argv[1]);
    CHECK_FAILS(damo_embedding_delete(embedding, keys, 3), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_embedding_clear(embedding), DAMO_STATUS_FORKED, "damo_embedding_clear",
                argv[1]);
    CHECK_FAILS(damo_embedding_record(embedding, 1, NULL, NULL, NULL, 0), DAMO_STATUS_FORKED,
                argv[1]);
    CHECK_FAILS(damo_embedding_step(embedding, &step), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_embedding_set_step(embedding, 5), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_storage_flush(storage), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_storage_stat(storage, "groups", &value), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_storage_describe(storage, NULL, 0, NULL), DAMO_STATUS_FORKED, argv[1]);
    CHECK_FAILS(damo_storage_import_report(storage, NULL, 0, NULL), DAMO_STATUS_FORKED, argv[1]);
    CHECK_NULL(damo_embedding_new(storage, sgd, zeros, 1, 1, NULL), DAMO_STATUS_FORKED, argv[1]);
    CHECK_NULL(damo_storage_new(argv[1], 0, NULL), DAMO_STATUS_FORKED, "damo_storage_new",
               "forked after process");
    snprintf(other, sizeof other, "%s/other", argv[1]);
    CHECK_NULL(damo_storage_new(other, 0, NULL), DAMO_STATUS_FORKED, "started anew");
    damo_step_free(steps);
    damo_embedding_free(embedding);
    damo_storage_free(storage);
    damo_optimizer_free(sgd);
    damo_initializer_free(zeros);
    exit(0); /* runs exit handlers: RocksDB's must not wait for threads that are not here */
  }
  child_ended_well(child);

  /* a child that touches nothing keeps its exit code and its output */
  CHECK(pipe(opened) == 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(opened[1], STDOUT_FILENO);
    printf("still in the buffer");
    exit(7);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  CHECK(read(opened[0], text, sizeof text) == (ssize_t)strlen("still in the buffer"));

  /* the parent is unharmed and still holds the lock */
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, 3, gradients, 3));
  CHECK_OK(damo_embedding_step(embedding, &step));
  CHECK(step == 2);
  damo_step_free(steps);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  storage = damo_storage_new(argv[1], 0, NULL);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, sgd, zeros, 1, 0, NULL);
  CHECK_OK(damo_embedding_peek(embedding, keys, 3, weights, 3, NULL));
  CHECK(weights[2] == -3e-3f + -3e-3f);
  damo_embedding_free(embedding);
  damo_storage_free(storage);

  /* RocksDB's threads still run after every storage is closed. */
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK_NULL(damo_storage_new(argv[1], 0, NULL), DAMO_STATUS_FORKED, "forked after process");
    exit(0);
  }
  child_ended_well(child);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
  return 0;
}

/* A program that ends while its threads open, train and free: it keeps its exit code, prints
   nothing, does not crash. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static const char *scratch;

static void *work(void *argument) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%d-%d", scratch, (int)getpid(), *(const int *)argument);
  for (;;) {
    const int64_t keys[3] = {1, 2, 3};
    const float gradients[3] = {1, 1, 1};
    int call;
    damo_storage *storage = damo_storage_new(path, 0, NULL);
    damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
    damo_initializer *zeros = damo_initializer_new("zeros", NULL);
    damo_embedding *embedding;
    if (storage == NULL) {
      CHECK(damo_last_error_code() == DAMO_STATUS_EXITING);
      return NULL;
    }
    embedding = damo_embedding_new(storage, adam, zeros, 1, 0, NULL);
    for (call = 0; call < 20 && embedding != NULL; call++) {
      damo_status status = damo_embedding_apply_gradients(embedding, keys, 3, gradients, 3);
      CHECK(status == DAMO_STATUS_OK || status == DAMO_STATUS_EXITING);
    }
    damo_embedding_free(embedding);
    damo_storage_free(storage);
    damo_optimizer_free(adam);
    damo_initializer_free(zeros);
  }
}

static void train_and_exit(long microseconds) {
  static const int numbers[2] = {0, 1};
  const struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};
  pthread_t thread;
  int i;
  for (i = 0; i < 2; i++) CHECK(pthread_create(&thread, NULL, work, (void *)&numbers[i]) == 0);
  if (microseconds > 0) nanosleep(&pause, NULL);
  exit(5);
}

int main(int argc, char **argv) {
  int round, output[2];
  CHECK(argc == 2);
  scratch = argv[1];
  for (round = -30; round < 12; round++) {
    /* First at once and while the very first storages are being opened, then in the middle of
       training. */
    const long microseconds = round < 0 ? (round + 30) / 2 * 100 : 20000 + 13000 * round;
    char text[512];
    ssize_t printed;
    int status = 0;
    pid_t child;
    CHECK(pipe(output) == 0);
    child = fork(); /* this process opens nothing, so its children may */
    CHECK(child >= 0);
    if (child == 0) {
      dup2(output[1], STDERR_FILENO);
      dup2(output[1], STDOUT_FILENO);
      close(output[0]);
      train_and_exit(microseconds);
    }
    close(output[1]);
    CHECK(waitpid(child, &status, 0) == child);
    printed = read(output[0], text, sizeof text);
    if (printed > 0) {
      fprintf(stderr, "after %ld microseconds: %.*s\n", microseconds, (int)printed, text);
    }
    CHECK(printed == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    close(output[0]);
  }
  return 0;
}

/* A failure's number goes to another thread, or waits for a while, and still belongs to its call.
   So it is for every kind of function, while the thread that failed goes on failing, and in a
   forked child. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { CALLS = 1000 };

static int asked[2], answered[2];

static void is_about(int number, damo_status status, const char *function, const char *word) {
  char message[4096];
  CHECK(damo_failure_code(number) == status);
  CHECK_OK(damo_failure_message(number, message, sizeof message, NULL));
  CHECK(strstr(message, function) == message && strstr(message, word) != NULL);
}

/* Asks about each number that arrives, after a failed call of its own. */
static void *ask(void *unused) {
  int number, count = 0;
  char word[32];
  (void)unused;
  while (read(asked[0], &number, sizeof number) == (ssize_t)sizeof number) {
    CHECK(damo_optimizer_new("another", NULL, NULL) == NULL);
    snprintf(word, sizeof word, "'name-%d'", count++);
    is_about(number, DAMO_STATUS_INVALID_ARGUMENT, "damo_initializer_new", word);
    CHECK(strstr(damo_last_error_message(), "another") != NULL);
    CHECK(write(answered[1], &number, sizeof number) == (ssize_t)sizeof number);
  }
  return NULL;
}

static void numbers_are_asked_about_elsewhere(void) {
  pthread_t thread;
  char name[32];
  int call, number, answer;
  CHECK(pipe(asked) == 0 && pipe(answered) == 0);
  CHECK(pthread_create(&thread, NULL, ask, NULL) == 0);
  for (call = 0; call < CALLS; call++) {
    snprintf(name, sizeof name, "name-%d", call);
    CHECK(damo_initializer_new(name, NULL) == NULL);
    number = errno;
    /* Two more failures before anybody asks. */
    CHECK(damo_storage_flush(NULL) == DAMO_STATUS_INVALID_ARGUMENT);
    CHECK(damo_table_open("nowhere") == NULL);
    CHECK(write(asked[1], &number, sizeof number) == (ssize_t)sizeof number);
    if (call % 2) damo_last_error_clear();
    CHECK(read(answered[0], &answer, sizeof answer) == (ssize_t)sizeof answer && answer == number);
  }
  CHECK(close(asked[1]) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* Functions that return a status or a handle. */
static void every_kind_of_function_leaves_one(void) {
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_storage *storage = damo_storage_new("storage", 0, NULL);
  damo_embedding *rows = damo_embedding_new(storage, sgd, zeros, 1, 0, NULL);
  const int64_t key = 1;
  float row[2] = {0, 0}, bad = (float)(1e30 * 1e30);
  int numbers[8], count = 0;
  CHECK(rows != NULL);
  CHECK(damo_embedding_apply_gradients(rows, &key, 1, &bad, 1) != DAMO_STATUS_OK);
  numbers[count++] = errno;
  CHECK(damo_embedding_record(rows, 5, NULL, NULL, row, 1) == DAMO_STATUS_NOT_FOUND);
  numbers[count++] = errno;
  CHECK(damo_storage_new("storage", 0, NULL) == NULL);
  numbers[count++] = errno;
  CHECK(damo_storage_load_from_checkpoint(storage, "none") == DAMO_STATUS_NOT_FOUND);
  numbers[count++] = errno;
  CHECK(damo_storage_flush((void *)rows) != DAMO_STATUS_OK);
  numbers[count++] = errno;
  is_about(numbers[0], DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_apply_gradients", "gradients");
  is_about(numbers[1], DAMO_STATUS_NOT_FOUND, "damo_embedding_record", "key 5");
  is_about(numbers[2], DAMO_STATUS_BUSY, "damo_storage_new", "storage");
  is_about(numbers[3], DAMO_STATUS_NOT_FOUND, "damo_storage_load_from_checkpoint", "none");
  is_about(numbers[4], DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_flush", "damo_embedding");
  while (--count > 0) CHECK(numbers[count] != numbers[count - 1]);
  damo_embedding_free(rows);
  damo_storage_free(storage);
  damo_optimizer_free(sgd);
  damo_initializer_free(zeros);
}

static void a_forked_child_has_what_its_parent_had(void) {
  int number, status = 0;
  pid_t child;
  CHECK(damo_optimizer_new("before the fork", NULL, NULL) == NULL);
  number = errno;
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    is_about(number, DAMO_STATUS_INVALID_ARGUMENT, "damo_optimizer_new", "before the fork");
    CHECK(damo_storage_new("storage", 0, NULL) == NULL);
    CHECK(damo_failure_code(errno) == DAMO_STATUS_FORKED);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  is_about(number, DAMO_STATUS_INVALID_ARGUMENT, "damo_optimizer_new", "before the fork");
}

int main(void) {
  numbers_are_asked_about_elsewhere();
  every_kind_of_function_leaves_one();
  a_forked_child_has_what_its_parent_had();
  return 0;
}

/* A failed call leaves a number in errno. With it every thread finds the failure's status and
   message. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "check.h"

enum { THREADS = 4, CALLS = 2000 };

static int numbers[THREADS][CALLS];

static void *fail(void *argument) {
  const int thread = (int)(intptr_t)argument;
  char name[32];
  int call;
  for (call = 0; call < CALLS; call++) {
    snprintf(name, sizeof name, "thread-%d-%d", thread, call);
    errno = 0;
    CHECK(damo_optimizer_new(name, NULL, NULL) == NULL);
    numbers[thread][call] = errno;
  }
  return NULL;
}

static void is_about(int number, const char *name) {
  char message[4096];
  size_t length = 0;
  CHECK(damo_failure_code(number) == DAMO_STATUS_INVALID_ARGUMENT);
  CHECK_OK(damo_failure_message(number, message, sizeof message, &length));
  CHECK(length == strlen(message));
  CHECK(strstr(message, name) != NULL && strstr(message, "damo_optimizer_new: ") == message);
}

int main(void) {
  pthread_t threads[THREADS];
  char name[32], small[8] = "as is";
  size_t length = 0;
  int thread, call, number;

  CHECK(damo_failure_code(0) == DAMO_STATUS_OK);
  CHECK(damo_failure_code(DAMO_FAILURE_FIRST) == DAMO_STATUS_OK);
  errno = 0;
  CHECK_FAILS(damo_failure_message(EINTR, NULL, 0, NULL), DAMO_STATUS_NOT_FOUND, "failure is 4");
  CHECK(errno == DAMO_FAILURE_FIRST);

  for (thread = 0; thread < THREADS; thread++)
    CHECK(pthread_create(&threads[thread], NULL, fail, (void *)(intptr_t)thread) == 0);
  for (thread = 0; thread < THREADS; thread++) CHECK(pthread_join(threads[thread], NULL) == 0);
  /* The latest failures are kept. An older number is never another failure's. */
  for (thread = 0; thread < THREADS; thread++) {
    for (call = 0; call < CALLS; call++) {
      snprintf(name, sizeof name, "'thread-%d-%d'", thread, call);
      number = numbers[thread][call];
      CHECK(number > DAMO_FAILURE_FIRST);
      if (damo_failure_code(number) != DAMO_STATUS_OK)
        is_about(number, name);
      else
        CHECK(number - DAMO_FAILURE_FIRST <= THREADS * CALLS - 4096);
    }
  }

  errno = 0;
  CHECK(damo_optimizer_new("mine", NULL, NULL) == NULL);
  number = errno;
  CHECK_OK(damo_failure_message(number, NULL, 0, &length));
  CHECK(length > sizeof small);
  CHECK_FAILS(damo_failure_message(number, small, sizeof small, &length),
              DAMO_STATUS_INVALID_ARGUMENT, "buffer_len is 8");
  CHECK(strcmp(small, "as is") == 0);
  CHECK_FAILS(damo_failure_message(number, NULL, 1, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "buffer is NULL");
  is_about(number, "'mine'");

  /* A call that succeeds leaves the last error alone. Clearing forgets the last error, but no
     number. */
  damo_params_free(damo_params_new());
  CHECK(damo_last_error_code() == DAMO_STATUS_INVALID_ARGUMENT);
  damo_last_error_clear();
  CHECK(damo_last_error_code() == DAMO_STATUS_OK);
  CHECK(strcmp(damo_last_error_message(), "") == 0);
  is_about(number, "'mine'");
  return 0;
}

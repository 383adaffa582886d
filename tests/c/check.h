/* Assertions that hold in every build, and what the C and C++ tests share. */
#ifndef DAMO_TESTS_CHECK_H
#define DAMO_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "damo.h"

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, \
              damo_last_error_message());                                                      \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)

#define CHECK_OK(call) CHECK((call) == DAMO_STATUS_OK)

/* The call fails with this status, and the message contains every one of the words. */
#define CHECK_FAILS(call, expected, ...)                                                        \
  do {                                                                                          \
    const char *words_[] = {__VA_ARGS__};                                                       \
    size_t word_;                                                                               \
    CHECK((call) == (expected));                                                                \
    CHECK(damo_last_error_code() == (expected));                                                \
    for (word_ = 0; word_ < sizeof words_ / sizeof *words_; word_++) CHECK_SAYS(words_[word_]); \
  } while (0)

#define CHECK_NULL(call, expected, ...)                                                         \
  do {                                                                                          \
    const char *words_[] = {__VA_ARGS__};                                                       \
    size_t word_;                                                                               \
    CHECK((call) == NULL);                                                                      \
    CHECK(damo_last_error_code() == (expected));                                                \
    for (word_ = 0; word_ < sizeof words_ / sizeof *words_; word_++) CHECK_SAYS(words_[word_]); \
  } while (0)

#define CHECK_SAYS(word)                                                                 \
  do {                                                                                   \
    if (strstr(damo_last_error_message(), (word)) == NULL) {                             \
      fprintf(stderr, "%s:%d: the message lacks '%s': %s\n", __FILE__, __LINE__, (word), \
              damo_last_error_message());                                                \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

#endif

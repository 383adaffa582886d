// What the tests of damo.hpp share.
#ifndef DAMO_TESTS_THROWS_HPP
#define DAMO_TESTS_THROWS_HPP

#include <string>

#include "check.h"
#include "damo.hpp"

// The call throws an error with this status, and the message has these words.
template <class Call>
void throws(damo_status status, const char* words, Call call) {
  try {
    call();
  } catch (const damo::error& error) {
    CHECK(error.status() == status);
    if (std::string(error.what()).find(words) == std::string::npos) {
      fprintf(stderr, "'%s' is not in: %s\n", words, error.what());
      exit(1);
    }
    return;
  }
  fprintf(stderr, "nothing was thrown where '%s' was expected\n", words);
  exit(1);
}

#endif

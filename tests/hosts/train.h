/* What every program of this folder trains. Each language has these numbers and formulas. */
#ifndef DAMO_TESTS_HOSTS_TRAIN_H
#define DAMO_TESTS_HOSTS_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

enum { DIM = 8, KEYS = 200, ROWS = 1000, STEPS = 2000, STEPS_A_FLUSH = 50 };

/* Beyond the 53 bits of a double. */
static inline int64_t train_key(int index, int step) {
  return -4611686018427387904 + (index * 7919 + step * 104729) % ROWS;
}

/* Every language has exactly these values. */
static inline float train_gradient(int index, int step) {
  return (float)((index * 37 + step * 11) % 101 - 50) / 64.0f;
}

/* Decides which of several hosts that share a storage trains the next steps. damo_embedding_step
   tells how many steps the storage has had. */
struct turns {
  int64_t steps; /* of one turn */
  int64_t index, hosts;
};

/* Returns the step before which the turn ends, or `step` if it is another host's turn. */
static inline int64_t train_turn_end(struct turns turns, int64_t step) {
  if (step / turns.steps % turns.hosts != turns.index) return step;
  const int64_t end = (step / turns.steps + 1) * turns.steps;
  return end < STEPS ? end : STEPS;
}

#endif

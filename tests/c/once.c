/* Calls that are sent again, and reads at an expected step: what they refuse, with a message that
   names argument and value. Afterwards the results, the buffers and the rows are as before. */
#include <stdint.h>

#include "check.h"
#include "support/two_parts.h"

#define SINGLE(client, sequence, expected, applied) \
  damo_embedding_apply_gradients_once(one, client, sequence, expected, keys, 1, ones, ONE, applied)
#define STEP(client, sequence, expected, applied) \
  damo_step_apply_gradients_once(step, client, sequence, expected, parts(), 2, applied)
#define MISMATCH DAMO_STATUS_STEP_MISMATCH

static bool is_applied = true;

static void wrong_handles_and_pointers_are_refused(void) {
  bool *applied = &is_applied;
  void *no_embedding = storage, *no_storage = one, *no_step = storage;
  REFUSED(damo_embedding_apply_gradients_once(NULL, 1, 1, 0, keys, 1, ones, ONE, applied),
          "damo_embedding_apply_gradients_once", "embedding is NULL");
  REFUSED(damo_embedding_apply_gradients_once(no_embedding, 1, 1, 0, keys, 1, ones, ONE, applied),
          "embedding is a damo_storage");
  REFUSED(damo_embedding_apply_gradients_once(one, 1, 1, 0, NULL, 1, ones, ONE, applied),
          "keys is NULL");
  REFUSED(damo_embedding_apply_gradients_once(one, 1, 1, 0, keys, 1, NULL, ONE, applied),
          "gradients is NULL");
  REFUSED(damo_embedding_apply_gradients_once(one, 1, 1, 0, keys, 1, ones, ONE + 1, applied),
          "gradients");
  REFUSED(damo_embedding_lookup_at(NULL, 0, keys, 1, ones, ONE), "damo_embedding_lookup_at",
          "embedding is NULL");
  REFUSED(damo_embedding_lookup_at(one, 0, NULL, 1, ones, ONE), "keys is NULL");
  REFUSED(damo_embedding_lookup_at(one, 0, keys, 1, ones, ONE + 1), "weights");
  REFUSED(damo_step_apply_gradients_once(NULL, 1, 1, NULL, parts(), 2, applied),
          "damo_step_apply_gradients_once", "step is NULL");
  REFUSED(damo_step_apply_gradients_once(no_step, 1, 1, NULL, parts(), 2, applied),
          "step is a damo_storage");
  REFUSED(damo_step_apply_gradients_once(step, 1, 1, NULL, parts(), 1, applied), "parts_len is 1");
  REFUSED(damo_step_apply_gradients_once(step, 1, 1, NULL, NULL, 2, applied), "gradients is NULL");
  REFUSED(damo_step_lookup_at(NULL, NULL, parts(), 2), "damo_step_lookup_at", "step is NULL");
  REFUSED(damo_step_lookup_at(step, NULL, parts(), 1), "parts_len is 1");
  REFUSED(damo_storage_forget_client(NULL, 1, applied), "damo_storage_forget_client",
          "storage is NULL");
  REFUSED(damo_storage_forget_client(no_storage, 1, applied), "storage is a damo_embedding");
  CHECK(is_applied);
}

static void wrong_steps_are_refused(void) {
  static const int64_t below[2] = {0, -7}, late[2] = {DAMO_ANY_STEP, 1};
  const int64_t *odd = (const int64_t *)(const void *)((const char *)below + 1);
  REFUSED(SINGLE(1, 1, -1, &is_applied), "expected is -1", "DAMO_ANY_STEP");
  REFUSED(SINGLE(1, 1, INT64_MIN, &is_applied), "expected is -9223372036854775808");
  REFUSED(STEP(1, 1, below, &is_applied), "expected[1] is -7", "DAMO_ANY_STEP");
  REFUSED(STEP(1, 1, odd, &is_applied), "expected", "aligned");
  REFUSED(damo_embedding_lookup_at(one, -1, keys, 1, ones, ONE), "step is -1");
  REFUSED(damo_step_lookup_at(step, below, parts(), 2), "steps[1] is -7");
  CHECK_FAILS(SINGLE(1, 1, 4, &is_applied), MISMATCH, "expected is 4", "group 0 is 0");
  CHECK_FAILS(STEP(1, 1, late, &is_applied), MISMATCH, "expected[1] is 1", "group 1 is 0");
  fill(9);
  CHECK_FAILS(damo_embedding_lookup_at(one, 4, keys, 1, ones, ONE), MISMATCH, "step is 4",
              "group 0 is 0");
  CHECK_FAILS(damo_step_lookup_at(step, late, parts(), 2), MISMATCH, "steps[1] is 1",
              "group 1 is 0");
  CHECK(ones[0] == 9 && twos[0] == 9 && is_applied);
}

static int64_t step_of(const damo_embedding *embedding) {
  int64_t found = -1;
  CHECK_OK(damo_embedding_step(embedding, &found));
  return found;
}

static void calls_are_made_once(void) {
  static const int64_t at[2] = {0, DAMO_ANY_STEP};
  bool forgotten = true;
  char text[4096];
  CHECK_OK(damo_step_lookup_at(step, at, parts(), 2));
  CHECK(ones[0] == 1);
  CHECK_OK(STEP(UINT64_MAX, UINT64_MAX, at, &is_applied));
  CHECK(is_applied && step_of(one) == 1);
  CHECK_OK(STEP(UINT64_MAX, UINT64_MAX, at, &is_applied));
  CHECK(!is_applied && step_of(one) == 1 && step_of(two) == 1);
  CHECK_OK(SINGLE(UINT64_MAX, 0, 0, &is_applied));
  CHECK(!is_applied);
  CHECK_OK(SINGLE(0, 0, DAMO_ANY_STEP, NULL));
  CHECK_OK(SINGLE(0, 0, DAMO_ANY_STEP, NULL));
  CHECK(step_of(one) == 2);
  REFUSED(STEP(0, 0, NULL, &is_applied), "sequence is 0", "client 0 is 0 in group 0",
          "none in group 1");
  CHECK_OK(damo_storage_describe(storage, text, sizeof text, NULL));
  CHECK(strstr(text, "{\"client\":18446744073709551615,\"sequence\":18446744073709551615,"));
  CHECK_OK(damo_storage_forget_client(storage, UINT64_MAX, &forgotten));
  CHECK(forgotten);
  CHECK_OK(damo_storage_forget_client(storage, UINT64_MAX, &forgotten));
  CHECK(!forgotten);
  CHECK_OK(damo_storage_forget_client(storage, 0, NULL));
  CHECK_OK(damo_storage_describe(storage, text, sizeof text, NULL));
  CHECK(strstr(text, "\"client\"") == NULL);
  CHECK(strcmp(damo_status_name(DAMO_STATUS_STEP_MISMATCH), "STEP_MISMATCH") == 0);
}

int main(void) {
  open_all();
  add_parts("sum");
  wrong_handles_and_pointers_are_refused();
  wrong_steps_are_refused();
  calls_are_made_once();
  free_all();
  return 0;
}

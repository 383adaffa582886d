/* When the step handle refuses or skips gradients, and that nothing has changed then in any group:
   floats that are none, pooling "max" without a lookup, a step that another thread uses, a storage
   that is only looked at. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>

#include "check.h"
#include "support/two_parts.h"

enum { MANY = 20000 };

static float big[MANY];
static int64_t many[MANY];

/* Neither group has changed after gradients that one of them refuses. */
static void wrong_gradients_change_nothing(void) {
  static const float bad[4] = {NAN, INFINITY, -INFINITY, 2e18f};
  static const char *named[4] = {"NaN", "inf", "-inf", "2e18"};
  float weight = 0, pair[TWO];
  int64_t steps[2] = {-1, -1}, time, updates = -1;
  size_t i;
  add_parts("sum");
  CHECK_OK(damo_step_lookup(step, parts(), 2));
  for (i = 0; i < 4; i++) {
    fill(1);
    twos[2 * TWO - 1] = bad[i];
    REFUSED(damo_step_apply_gradients(step, parts(), 2), "damo_step_apply_gradients",
            "gradients[1], row 1, column 1 is ", named[i]);
    fill(1);
    ones[1] = bad[i];
    REFUSED(damo_step_apply_gradients(step, parts(), 2), "gradients[0], row 1, column 0 is ",
            named[i]);
  }
  fill(1);
  {
    damo_rows *rows = parts();
    rows[1].stride = 1;
    REFUSED(damo_step_apply_gradients(step, rows, 2), "gradients[1]", "stride is 1");
    rows = parts();
    rows[0].floats_len = 2;
    REFUSED(damo_step_apply_gradients(step, rows, 2), "gradients[0]", "2");
    rows = parts();
    rows[0].floats = NULL;
    REFUSED(damo_step_apply_gradients(step, rows, 2), "gradients[0]", "NULL");
  }
  CHECK_OK(damo_embedding_step(one, steps));
  CHECK_OK(damo_embedding_step(two, steps + 1));
  CHECK(steps[0] == 0 && steps[1] == 0);
  CHECK_OK(damo_embedding_lookup(one, keys, 1, &weight, ONE));
  CHECK_OK(damo_embedding_lookup(two, keys, 1, pair, TWO));
  CHECK(weight == 1 && pair[0] == 1 && pair[1] == 1);
  CHECK_OK(damo_embedding_record(one, 5, &time, &updates, NULL, 0));
  CHECK(updates == 0);
}

/* A call that fails was not skipped, whatever the call before was. */
static void forgets_what_was_skipped(int once) {
  uint8_t skipped = 9;
  double norm = 9;
  fill(0);
  ones[2] = INFINITY;
  CHECK_OK(damo_step_apply_gradients(step, parts(), 2));
  CHECK_OK(damo_step_skipped(step, &skipped));
  CHECK(skipped == 1);
  CHECK_OK(damo_step_gradient_norm(step, &norm));
  CHECK(isnan(norm));
  if (once) {
    REFUSED(damo_step_apply_gradients_once(step, 1, 1, NULL, parts(), 1, NULL), "parts_len is 1");
  } else {
    REFUSED(damo_step_apply_gradients(step, parts(), 1), "parts_len is 1");
  }
  CHECK_OK(damo_step_skipped(step, &skipped));
  CHECK(skipped == 0);
  REFUSED(damo_step_gradient_norm(step, &norm), "the latest call has failed");
  fill(0);
}

/* A trainer that scales its loss: a step that is skipped changes nothing, and says so. */
static void wrong_gradients_are_skipped(void) {
  damo_params *options = damo_params_new();
  damo_step *before = step;
  int64_t steps[2] = {-1, -1}, now[2] = {-1, -1};
  uint64_t skips = 9;
  uint8_t skipped = 9;
  CHECK_OK(damo_params_set_str(options, "non_finite", "skip"));
  CHECK_OK(damo_params_set_float(options, "clip_norm", 1e300));
  step = damo_step_new(storage, options);
  CHECK(step != NULL);
  damo_params_free(options);
  CHECK_OK(damo_step_skipped(step, &skipped));
  CHECK(skipped == 0);
  add_parts("sum");
  CHECK_OK(damo_embedding_step(one, steps));
  CHECK_OK(damo_embedding_step(two, steps + 1));
  fill(0);
  ones[2] = INFINITY;
  CHECK_OK(damo_step_apply_gradients(step, parts(), 2));
  CHECK_OK(damo_step_skipped(step, &skipped));
  CHECK(skipped == 1);
  CHECK_OK(damo_storage_stat(storage, "steps_skipped", &skips));
  CHECK(skips == 1);
  CHECK_OK(damo_embedding_step(one, now));
  CHECK_OK(damo_embedding_step(two, now + 1));
  CHECK(now[0] == steps[0] && now[1] == steps[1]);
  fill(0);
  CHECK_OK(damo_step_apply_gradients(step, parts(), 2));
  CHECK_OK(damo_step_skipped(step, &skipped));
  CHECK(skipped == 0);
  CHECK_OK(damo_embedding_step(one, now));
  CHECK(now[0] == steps[0] + 1);
  forgets_what_was_skipped(0);
  forgets_what_was_skipped(1);
  REFUSED(damo_step_skipped(NULL, &skipped), "damo_step_skipped", "step");
  REFUSED(damo_step_skipped(step, NULL), "damo_step_skipped", "skipped", "NULL");
  damo_step_free(step);
  step = before;
}

/* A group whose rows only its trainer changes. The other group is not stepped either. */
static void an_optimizer_without_steps_is_refused(void) {
  static const int64_t fresh[KEYS] = {50, 60, 70};
  damo_optimizer *none = damo_optimizer_new("none", NULL, NULL);
  damo_initializer *initializer = damo_initializer_new("ones", NULL);
  damo_embedding *own = damo_embedding_new(storage, none, initializer, ONE, 2, NULL);
  uint64_t before, after;
  int64_t steps[2] = {-1, -1};
  damo_rows rows[2];
  CHECK(own != NULL);
  rows[0] = rows[1] = rows_of(ones, KEYS, ONE);
  fill(1);
  CHECK_OK(damo_embedding_step(one, steps));
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &before));
  CHECK_OK(damo_step_clear(step));
  CHECK_OK(damo_step_add_keys(step, one, fresh, KEYS));
  CHECK_OK(damo_step_add_keys(step, own, fresh, KEYS));
  REFUSED(damo_step_apply_gradients(step, rows, 2), "'none'", "damo_pin_commit");
  CHECK_OK(damo_embedding_step(one, steps + 1));
  CHECK(steps[0] == steps[1]);
  CHECK_OK(damo_storage_row_count(storage, DAMO_ALL_GROUPS, &after));
  CHECK(before == after);
  CHECK_OK(damo_step_clear(step));
  damo_embedding_free(own);
  damo_initializer_free(initializer);
  damo_optimizer_free(none);
}

/* Which entry was the largest is known after a lookup or peek of this very part. */
static void max_needs_a_lookup(void) {
  add_parts("max");
  fill(1);
  REFUSED(damo_step_apply_gradients(step, parts(), 2), "max", "looked up");
  CHECK_OK(damo_step_peek(step, parts(), 2));
  CHECK_OK(damo_step_apply_gradients(step, parts(), 2));
  add_parts("max");
  REFUSED(damo_step_apply_gradients(step, parts(), 2), "max", "looked up");
  CHECK_OK(damo_step_lookup(step, parts(), 2));
  CHECK_OK(damo_step_add_keys(step, one, keys, 0));
  {
    damo_rows rows[3];
    rows[0] = rows_of(ones, KEYS, ONE), rows[1] = rows_of(twos, 2 * TWO, TWO);
    rows[2] = rows_of(NULL, 0, ONE);
    CHECK_OK(damo_step_apply_gradients(step, rows, 3));
  }
}

static damo_status status_of_clear;
static void *clear(void *unused) {
  status_of_clear = damo_step_clear(step);
  return unused;
}

/* While the step works on the host's threads, another thread wants it. */
static void run(void *context, size_t threads, damo_work work, void *work_context) {
  pthread_t other;
  (void)context, (void)threads;
  CHECK(pthread_create(&other, NULL, clear, NULL) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  work(work_context);
}

static void a_step_in_use_is_busy(void) {
  const damo_rows rows = rows_of(big, MANY, ONE);
  size_t i;
  for (i = 0; i < MANY; i++) many[i] = (int64_t)i;
  CHECK_OK(damo_step_clear(step));
  CHECK_OK(damo_step_add_keys(step, one, many, MANY));
  CHECK_OK(damo_storage_set_executor(storage, run, NULL, 2));
  status_of_clear = DAMO_STATUS_OK;
  CHECK_OK(damo_step_lookup(step, &rows, 1));
  CHECK(status_of_clear == DAMO_STATUS_BUSY);
  CHECK_OK(damo_storage_set_executor(storage, NULL, NULL, 0));
  CHECK_OK(damo_step_clear(step));
}

/* A storage that is open with read_only: peek works, and what would change it is refused. */
static void looking_changes_nothing(void) {
  damo_params *options = damo_params_new();
  CHECK_OK(damo_params_set_bool(options, "read_only", true));
  storage = damo_storage_new("storage", 0, options);
  CHECK(storage != NULL);
  damo_params_free(options);
  one = open_group(storage, 0, ONE);
  two = open_group(storage, 1, TWO);
  step = damo_step_new(storage, NULL);
  add_parts("sum");
  CHECK_OK(damo_step_peek(step, parts(), 2));
  CHECK(ones[0] != 0 && twos[0] != 0);
  fill(1);
  CHECK_FAILS(damo_step_apply_gradients(step, parts(), 2), DAMO_STATUS_NOT_SUPPORTED,
              "damo_step_apply_gradients", "read_only");
  free_all();
}

int main(void) {
  open_all();
  wrong_gradients_change_nothing();
  wrong_gradients_are_skipped();
  an_optimizer_without_steps_is_refused();
  max_needs_a_lookup();
  a_step_in_use_is_busy();
  free_all();
  looking_changes_nothing();
  return 0;
}

/* damo_rows_pin and damo_pin_commit: what they write and change, what they refuse, and what may be
   freed when. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>

#include "check.h"

enum { DIM = 2, STATE = 1, LEN = DIM + STATE, KEYS = 4, PADDING = -1, MANY = 4096 };

static const int64_t keys[KEYS] = {5, PADDING, 6, 5};
static float *rows[KEYS];
static uint8_t created[KEYS];

static float weight_of(const damo_embedding *embedding, int64_t key) {
  float row[LEN] = {0};
  CHECK_OK(damo_embedding_record(embedding, key, NULL, NULL, row, LEN));
  return row[0];
}

static void rows_are_changed_in_place(const damo_embedding *embedding) {
  damo_pin *pin = NULL;
  const damo_pin *first;
  int64_t updates = 0;
  CHECK_OK(damo_rows_pin(embedding, keys, KEYS, rows, created, &pin));
  CHECK((first = pin) != NULL);
  CHECK(rows[0] == rows[3] && rows[1] == rows[0] + LEN && rows[2] == rows[1] + LEN);
  CHECK(created[0] == 1 && created[1] == 0 && created[2] == 1 && created[3] == 1);
  CHECK(rows[0][0] == 1 && rows[0][DIM] == .5f && rows[1][0] == 0 && rows[1][DIM] == 0);
  rows[0][0] = 10;
  rows[3][DIM] = 20;
  rows[1][0] = 30;
  CHECK_FAILS(damo_embedding_record(embedding, 5, NULL, NULL, NULL, 0), DAMO_STATUS_NOT_FOUND, "5");
  CHECK_OK(damo_pin_commit(pin, "refuse"));
  CHECK_OK(damo_embedding_record(embedding, 5, NULL, &updates, NULL, 0));
  CHECK(updates == 1 && weight_of(embedding, 5) == 10 && weight_of(embedding, 6) == 1);
  CHECK_FAILS(damo_embedding_record(embedding, PADDING, NULL, NULL, NULL, 0),
              DAMO_STATUS_NOT_FOUND, "-1");

  /* again, with the same pin, without created; and without keys */
  CHECK_OK(damo_rows_pin(embedding, keys, KEYS, rows, NULL, &pin));
  CHECK(pin == first && rows[0][DIM] == 20);
  CHECK_OK(damo_rows_pin(embedding, NULL, 0, NULL, NULL, &pin));
  CHECK_OK(damo_pin_commit(pin, NULL));
  damo_pin_free(pin);
  CHECK(weight_of(embedding, 5) == 10);
}

static void conflicts_are_added_or_refused(const damo_embedding *embedding) {
  const int64_t key = 5;
  float *one = NULL, *two = NULL;
  damo_pin *pin = NULL, *other = NULL;
  CHECK_OK(damo_rows_pin(embedding, &key, 1, &one, NULL, &pin));
  CHECK_OK(damo_rows_pin(embedding, &key, 1, &two, NULL, &other));
  one[0] += 1;
  two[0] += 2;
  CHECK_OK(damo_pin_commit(other, "add"));
  CHECK_FAILS(damo_pin_commit(pin, "refuse"), DAMO_STATUS_BUSY, "damo_pin_commit", "key 5");
  CHECK(weight_of(embedding, 5) == 12);
  CHECK_OK(damo_pin_commit(pin, NULL));
  CHECK(weight_of(embedding, 5) == 13);
  damo_pin_free(other);
  damo_pin_free(pin);
}

#define REFUSED(call, ...) CHECK_FAILS(call, DAMO_STATUS_INVALID_ARGUMENT, __VA_ARGS__)

static void misuse_is_refused(damo_embedding *embedding) {
  damo_pin *pin = NULL, *wrong = (damo_pin *)(void *)embedding;
  float row[DIM] = {0};
  void *overlapping = (void *)rows;
  REFUSED(damo_rows_pin(NULL, keys, KEYS, rows, created, &pin), "embedding is NULL");
  REFUSED(damo_rows_pin(embedding, NULL, KEYS, rows, created, &pin), "keys is NULL");
  REFUSED(damo_rows_pin(embedding, keys, KEYS, NULL, created, &pin), "rows is NULL");
  REFUSED(damo_rows_pin(embedding, keys, KEYS, rows, created, NULL), "pin is NULL");
  REFUSED(damo_rows_pin(embedding, keys, KEYS, rows, overlapping, &pin), "rows", "overlap");
  REFUSED(damo_rows_pin(embedding, overlapping, 2, rows, NULL, &pin), "keys", "overlap");
  REFUSED(damo_rows_pin(embedding, keys, KEYS, rows, created, &wrong), "*pin is a damo_embedding");
  CHECK(pin == NULL);
  REFUSED(damo_pin_commit(NULL, NULL), "pin is NULL");
  REFUSED(damo_pin_commit(wrong, NULL), "pin is a damo_embedding");

  CHECK_OK(damo_rows_pin(embedding, keys, KEYS, rows, created, &pin));
  REFUSED(damo_pin_commit(pin, "replace"), "conflicts is 'replace'", "'add' or 'refuse'");
  rows[2][DIM] = (float)INFINITY;
  REFUSED(damo_pin_commit(pin, NULL), "key 6", "column 2", "inf");
  rows[2][DIM] = 1;
  CHECK_OK(damo_pin_commit(pin, NULL));
  REFUSED(damo_pin_commit(pin, NULL), "the pin has no rows");
  REFUSED(damo_embedding_apply_gradients(embedding, keys, 1, row, DIM), "'none' takes no steps",
          "damo_pin_commit");
  damo_pin_free(pin);
  damo_pin_free(NULL);
  damo_pin_free(wrong);
  CHECK(weight_of(embedding, 6) == 1);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int is_over;

static int over(int sets) {
  int was;
  CHECK(pthread_mutex_lock(&mutex) == 0);
  was = is_over;
  is_over = was || sets;
  CHECK(pthread_mutex_unlock(&mutex) == 0);
  return was;
}

/* What one thread pins again and again, with a pin that another one has, too. */
typedef struct {
  const damo_embedding *embedding;
  damo_pin *pin;
  int64_t keys[MANY];
  float *rows[MANY];
} many;

static void *pin_many(void *context) {
  many *const here = context;
  damo_pin *pin = here->pin;
  while (!over(0)) {
    const damo_status status =
        damo_rows_pin(here->embedding, here->keys, MANY, here->rows, NULL, &pin);
    CHECK(status == DAMO_STATUS_OK || status == DAMO_STATUS_BUSY);
  }
  return NULL;
}

/* Neither call waits for a pin that another thread uses. */
static void a_pin_in_use_is_busy(const damo_embedding *embedding) {
  static many elsewhere;
  damo_pin *pin = NULL;
  int64_t i;
  int pins = 1, commits = 1; /* whether they were never refused */
  pthread_t thread;
  for (i = 0; i < MANY; i++) elsewhere.keys[i] = 100 + i;
  CHECK_OK(damo_rows_pin(embedding, keys, KEYS, rows, NULL, &pin));
  elsewhere.embedding = embedding;
  elsewhere.pin = pin;
  CHECK(pthread_create(&thread, NULL, pin_many, &elsewhere) == 0);
  while (pins || commits) {
    const damo_status of_pin = damo_rows_pin(embedding, keys, KEYS, rows, NULL, &pin);
    damo_status of_commit;
    if (of_pin == DAMO_STATUS_BUSY) {
      CHECK_SAYS("another thread is using the pin");
      pins = 0;
    } else {
      CHECK(of_pin == DAMO_STATUS_OK);
    }
    of_commit = damo_pin_commit(pin, NULL);
    if (of_commit == DAMO_STATUS_BUSY) {
      CHECK_SAYS("another thread is using the pin");
      commits = 0;
    } else if (of_commit != DAMO_STATUS_OK) {
      CHECK(of_commit == DAMO_STATUS_INVALID_ARGUMENT);
      CHECK_SAYS("the pin has no rows");
    }
  }
  over(1);
  CHECK(pthread_join(thread, NULL) == 0);
  damo_pin_free(pin);
}

static void *committed_elsewhere(void *pin) {
  CHECK_OK(damo_pin_commit(pin, NULL));
  return NULL;
}

int main(void) {
  damo_params *params = damo_params_new(), *state = damo_params_new();
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_optimizer *none;
  damo_storage *storage = damo_storage_new("storage", 0, NULL);
  damo_embedding *embedding;
  damo_pin *pin = NULL;
  pthread_t thread;
  CHECK_OK(damo_params_set_int(params, "padding_key", PADDING));
  CHECK_OK(damo_params_set_int(state, "state", STATE));
  CHECK_OK(damo_params_set_float(state, "initial_accumulator_value", .5));
  none = damo_optimizer_new("none", state, NULL);
  CHECK(none != NULL);
  embedding = damo_embedding_new(storage, none, ones, DIM, 0, params);
  CHECK(embedding != NULL);
  rows_are_changed_in_place(embedding);
  conflicts_are_added_or_refused(embedding);
  misuse_is_refused(embedding);
  a_pin_in_use_is_busy(embedding);

  /* A pin keeps its storage open, and may go to another thread. */
  CHECK_OK(damo_rows_pin(embedding, keys, KEYS, rows, created, &pin));
  rows[0][0] = 40;
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  CHECK(pthread_create(&thread, NULL, committed_elsewhere, pin) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_NULL(damo_storage_new("storage", 0, NULL), DAMO_STATUS_BUSY, "storage");
  damo_pin_free(pin);
  storage = damo_storage_new("storage", 0, NULL);
  CHECK(storage != NULL);
  embedding = damo_embedding_new(storage, none, ones, DIM, 0, params);
  CHECK(weight_of(embedding, 5) == 40);
  damo_embedding_free(embedding);
  damo_storage_free(storage);
  damo_optimizer_free(none);
  damo_initializer_free(ones);
  damo_params_free(state);
  damo_params_free(params);
  return 0;
}

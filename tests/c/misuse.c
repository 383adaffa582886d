/* Every misuse gets its status and a message that names function, argument and value. It changes
   nothing. */
#include <math.h>
#include <stdint.h>
#include <sys/stat.h>

#include "check.h"

enum { DIM = 3, KEYS = 2, FLOATS = KEYS * DIM };
static const int64_t keys[KEYS] = {1, 2};

static void params_refuse(void) {
  char small[4] = "abc";
  size_t json_len = 0;
  damo_params *params = damo_params_new();
  CHECK_FAILS(damo_params_set_int(NULL, "a", 1), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_params_set_int", "params is NULL");
  CHECK_FAILS(damo_params_set_int(params, NULL, 1), DAMO_STATUS_INVALID_ARGUMENT, "key is NULL");
  CHECK_FAILS(damo_params_set_float(params, "", 1), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_params_set_float", "key is empty");
  CHECK_FAILS(damo_params_set_float(params, "gamma", NAN), DAMO_STATUS_INVALID_ARGUMENT, "'gamma'",
              "NaN");
  CHECK_FAILS(damo_params_set_str(params, "a", NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "value is NULL");
  CHECK_FAILS(damo_params_set_str(params, "a", "\xff"), DAMO_STATUS_INVALID_ARGUMENT, "UTF-8",
              "\\xff");
  CHECK_FAILS(damo_params_set_bool(params, "\xff", true), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_params_set_bool", "UTF-8");
  CHECK_OK(damo_params_set_bool(params, "flag", true));
  CHECK_OK(damo_params_to_json(params, NULL, 0, &json_len));
  CHECK(json_len == strlen("{\"flag\":true}"));
  CHECK_FAILS(damo_params_to_json(params, small, sizeof small, &json_len),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_params_to_json", "buffer_len is 4", "14 bytes");
  CHECK(strcmp(small, "abc") == 0);
  CHECK_FAILS(damo_params_to_json(params, NULL, 9, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "buffer is NULL", "9");
  CHECK_FAILS(damo_params_to_json(NULL, NULL, 0, &json_len), DAMO_STATUS_INVALID_ARGUMENT,
              "params is NULL");
  damo_params_free(params);
}

static void names_and_parameters_refuse(void) {
  float row[FLOATS] = {0};
  double rate = 0;
  size_t row_len = 0;
  damo_params *typo = damo_params_new();
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  CHECK_OK(damo_params_set_float(typo, "gama", 0.1));

  CHECK_NULL(damo_optimizer_new("adan", NULL, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "damo_optimizer_new", "'adan'",
             "'sgd', 'ftrl', 'adagrad', 'rowwise_adagrad', 'adam', 'amsgrad', 'adamw', 'lion', "
             "'none'");
  CHECK_NULL(damo_optimizer_new("adam", typo, NULL), DAMO_STATUS_INVALID_ARGUMENT, "'gama'", "0.1",
             "'gamma'", "'beta1'");
  CHECK_NULL(damo_optimizer_new(NULL, NULL, NULL), DAMO_STATUS_INVALID_ARGUMENT, "name is NULL");
  CHECK_NULL(damo_initializer_new("gauss", NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "damo_initializer_new", "'gauss'", "'zeros', 'ones', 'constant'",
             "'truncated_normal'");
  CHECK_NULL(damo_initializer_new("random_normal", typo), DAMO_STATUS_INVALID_ARGUMENT, "'gama'",
             "'stddev'", "'seed'");
  CHECK_NULL(damo_initializer_new("zeros", typo), DAMO_STATUS_INVALID_ARGUMENT, "'gama'",
             "takes no parameters");
  CHECK_NULL(damo_scheduler_new("step", NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_scheduler_new",
             "'step'", "'exponential_decay'", "'liner_cosine_decay'");
  CHECK_NULL(damo_scheduler_new("cosine_decay", NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "'decay_steps'", "int >= 1");

  CHECK_FAILS(damo_initializer_fill(NULL, 0, 0, row, DIM), DAMO_STATUS_INVALID_ARGUMENT,
              "initializer is NULL");
  CHECK_FAILS(damo_initializer_fill(zeros, 65536, 0, row, DIM), DAMO_STATUS_INVALID_ARGUMENT,
              "65536", "0 to 65535");
  CHECK_FAILS(damo_initializer_fill(zeros, 0, 0, NULL, DIM), DAMO_STATUS_INVALID_ARGUMENT,
              "weights is NULL", "3");
  CHECK_FAILS(damo_scheduler_rate(NULL, 1, 0, &rate), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_scheduler_rate", "scheduler is NULL");
  CHECK_FAILS(damo_optimizer_row_len(adam, 0, &row_len), DAMO_STATUS_INVALID_ARGUMENT, "dim is 0");
  CHECK_FAILS(damo_optimizer_row_len(adam, SIZE_MAX, &row_len), DAMO_STATUS_INVALID_ARGUMENT,
              "dim is 18446744073709551615");
  CHECK_FAILS(damo_optimizer_row_len(adam, 1, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "row_len is NULL");
  CHECK_FAILS(damo_optimizer_set_learning_rate(adam, -1), DAMO_STATUS_INVALID_ARGUMENT,
              "learning_rate is -1", ">= 0");
  CHECK_FAILS(damo_optimizer_apply(adam, row, 4, row, 0, 0), DAMO_STATUS_INVALID_ARGUMENT,
              "gradients_len is 0");
  {
    const float gradients[2] = {1, INFINITY};
    CHECK_FAILS(damo_optimizer_apply(adam, row, 5, gradients, 2, 0), DAMO_STATUS_INVALID_ARGUMENT,
                "damo_optimizer_apply", "row_len is 5", "gradients_len is 2", "6 floats");
    CHECK_FAILS(damo_optimizer_apply(adam, row, 6, gradients, 2, 0), DAMO_STATUS_INVALID_ARGUMENT,
                "gradients[1] is inf");
    CHECK_FAILS(damo_optimizer_apply(adam, row, 3, gradients, 1, -1), DAMO_STATUS_INVALID_ARGUMENT,
                "step is -1");
    CHECK_FAILS(damo_optimizer_apply(adam, row, 3, row + 2, 1, 0), DAMO_STATUS_INVALID_ARGUMENT,
                "overlap");
    CHECK(row[0] == 0 && row[5] == 0);
  }
  damo_params_free(typo);
  damo_optimizer_free(adam);
  damo_initializer_free(zeros);
}

static void storage_refuses(const char *scratch) {
  char path[4096];
  damo_params *options = damo_params_new();
  uint64_t value = 7;
  FILE *file;

  snprintf(path, sizeof path, "%s/a_file", scratch);
  file = fopen(path, "w");
  CHECK(file != NULL);
  fputs("not a table", file);
  fclose(file);
  CHECK_NULL(damo_storage_new(path, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_new",
             "data_dir", path, "is a file");
  CHECK_NULL(damo_storage_new(scratch, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "a_file",
             "no damo storage");
  CHECK_NULL(damo_storage_new(NULL, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "data_dir is NULL");
  CHECK_NULL(damo_storage_new("", 0, NULL), DAMO_STATUS_INVALID_ARGUMENT, "data_dir is empty");
  snprintf(path, sizeof path, "%s/a_file/below", scratch);
  CHECK_NULL(damo_storage_new(path, 0, NULL), DAMO_STATUS_IO, path, "cannot be created");
  CHECK_NULL(damo_storage_new("/proc/damo", 0, NULL), DAMO_STATUS_IO, "/proc/damo",
             "cannot be created");

  snprintf(path, sizeof path, "%s/never", scratch);
  CHECK_NULL(damo_storage_new(path, -1, NULL), DAMO_STATUS_INVALID_ARGUMENT, "ttl_seconds is -1");
  CHECK_NULL(damo_storage_new(path, INT64_MAX, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "ttl_seconds is 9223372036854775807");
  CHECK_OK(damo_params_set_str(options, "durability", "fast"));
  CHECK_NULL(damo_storage_new(path, 0, options), DAMO_STATUS_INVALID_ARGUMENT, "'durability'",
             "\"fast\"", "'process', 'power', 'checkpoint'");
  CHECK_OK(damo_params_set_str(options, "durability", "power"));
  CHECK_OK(damo_params_set_int(options, "cache_bytes", 12));
  CHECK_NULL(damo_storage_new(path, 0, options), DAMO_STATUS_INVALID_ARGUMENT, "'cache_bytes'",
             "12");
  {
    struct stat found;
    CHECK(stat(path, &found) != 0); /* nothing was created on the way to an error */
  }
  CHECK_FAILS(damo_storage_flush(NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_flush",
              "storage is NULL");
  CHECK_FAILS(damo_storage_stat(NULL, "groups", &value), DAMO_STATUS_INVALID_ARGUMENT,
              "storage is NULL");
  damo_params_free(options);
}

static void embedding_refuses(const char *scratch) {
  char path[4096];
  float weights[FLOATS] = {0}, before[FLOATS], after[FLOATS];
  float gradients[FLOATS] = {1, 1, 1, 1, 1, 1};
  uint8_t found[KEYS];
  uint64_t value = 0;
  int64_t step = -5, time = -5, num = -5;
  damo_storage *storage;
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL),
                 *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_params *typo = damo_params_new(), *name = damo_params_new();
  damo_embedding *embedding, *other;
  char json[4096];
  size_t json_len = 0;
  uint32_t group = 7;

  snprintf(path, sizeof path, "%s/table", scratch);
  storage = damo_storage_new(path, 0, NULL);
  CHECK(storage != NULL);
  CHECK_NULL(damo_storage_new(path, 0, NULL), DAMO_STATUS_BUSY, "damo_storage_new", path,
             "open in another");
  CHECK_FAILS(damo_storage_stat(storage, "rows", &value), DAMO_STATUS_INVALID_ARGUMENT, "'rows'",
              "'bytes_on_disk'");
  CHECK_FAILS(damo_storage_stat(storage, "groups", NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "value is NULL");

  CHECK_NULL(damo_embedding_new(NULL, sgd, ones, DIM, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "storage is NULL");
  CHECK_NULL(damo_embedding_new(storage, NULL, ones, DIM, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "optimizer is NULL");
  CHECK_NULL(damo_embedding_new(storage, sgd, NULL, DIM, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "initializer is NULL");
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, 0, 0, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "dim is 0", "1 to 262144");
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, SIZE_MAX, 0, NULL),
             DAMO_STATUS_INVALID_ARGUMENT, "dim is 1844");
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM, 65536, NULL), DAMO_STATUS_INVALID_ARGUMENT,
             "group is 65536");
  CHECK_OK(damo_params_set_str(typo, "duplicates", "max"));
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM, 0, typo), DAMO_STATUS_INVALID_ARGUMENT,
             "'duplicates'", "\"max\"", "'sequential', 'sum', 'mean'");
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM, DAMO_GROUP_BY_NAME, NULL),
             DAMO_STATUS_INVALID_ARGUMENT, "group is 4294967294", "the option name");
  CHECK_OK(damo_params_set_str(name, "name", "a\tb"));
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM, DAMO_GROUP_BY_NAME, name),
             DAMO_STATUS_INVALID_ARGUMENT, "\"a\\tb\"", "control characters");
  CHECK_OK(damo_params_set_int(name, "name", 5));
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM, DAMO_GROUP_BY_NAME, name),
             DAMO_STATUS_INVALID_ARGUMENT, "'name'", "5");
  damo_params_free(name);
  CHECK_OK(damo_storage_stat(storage, "groups", &value));
  CHECK(value == 0); /* no error registered a group */

  embedding = damo_embedding_new(storage, sgd, ones, DIM, 65535, NULL);
  CHECK(embedding != NULL);
  CHECK_NULL(damo_embedding_new(storage, sgd, ones, DIM + 1, 65535, NULL),
             DAMO_STATUS_ALREADY_EXISTS, "damo_embedding_new", "group 65535", "dim 3", "dim 4");
  CHECK_NULL(damo_embedding_new(storage, adam, ones, DIM, 65535, NULL), DAMO_STATUS_ALREADY_EXISTS,
             "optimizer sgd", "optimizer adam");
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, FLOATS));
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, before, FLOATS, found));
  CHECK(found[0] == 1 && found[1] == 1 && before[0] == 1 - 1e-3f);

  CHECK_FAILS(damo_embedding_lookup(NULL, keys, KEYS, weights, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "embedding is NULL");
  CHECK_FAILS(damo_embedding_lookup(embedding, NULL, KEYS, weights, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_lookup", "keys is NULL", "2");
  CHECK_FAILS(damo_embedding_lookup(embedding, keys, KEYS, NULL, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "weights is NULL", "6");
  CHECK_FAILS(damo_embedding_lookup(embedding, keys, KEYS, weights, 5),
              DAMO_STATUS_INVALID_ARGUMENT, "weights_len is 5", "keys_len is 2", "6 floats");
  CHECK_FAILS(damo_embedding_lookup(embedding, keys, SIZE_MAX, weights, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "18446744073709551615");
  CHECK_FAILS(
      damo_embedding_lookup(embedding, (const int64_t *)(const void *)((const char *)keys + 1), 1,
                            weights, DIM),
      DAMO_STATUS_INVALID_ARGUMENT, "keys is 0x", "aligned to 8");
  CHECK_FAILS(damo_embedding_peek(embedding, keys, KEYS, weights, 7, NULL),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_peek", "weights_len is 7");
  CHECK_FAILS(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, 4),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_apply_gradients", "gradients_len is 4",
              "6 floats");
  CHECK_FAILS(damo_embedding_apply_gradients(embedding, keys, 0, gradients, 4),
              DAMO_STATUS_INVALID_ARGUMENT, "gradients_len is 4");
  gradients[4] = NAN;
  CHECK_FAILS(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_apply_gradients", "key 2", "NaN",
              "no row was changed");
  gradients[4] = -INFINITY;
  CHECK_FAILS(damo_embedding_apply_gradients(embedding, keys, KEYS, gradients, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "key 2", "-inf");
  CHECK_FAILS(damo_embedding_insert(embedding, keys, KEYS, gradients, FLOATS),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_embedding_insert", "key 2", "-inf");
  CHECK_FAILS(damo_embedding_delete(embedding, NULL, 3), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_embedding_delete", "keys is NULL");
  CHECK_FAILS(damo_embedding_record(embedding, 99, &time, &num, weights, DIM),
              DAMO_STATUS_NOT_FOUND, "damo_embedding_record", "key 99", "group 65535");
  CHECK_FAILS(damo_embedding_record(embedding, 1, &time, &num, weights, DIM + 1),
              DAMO_STATUS_INVALID_ARGUMENT, "data_len is 4", "3 floats");
  CHECK_FAILS(damo_embedding_record(embedding, 1, &time, (int64_t *)(void *)weights, weights, DIM),
              DAMO_STATUS_INVALID_ARGUMENT, "update_num (", "overlap");
  CHECK(time == -5 && num == -5);
  CHECK_FAILS(damo_embedding_set_step(embedding, -1), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_embedding_set_step", "step is -1");
  CHECK_FAILS(damo_embedding_step(embedding, NULL), DAMO_STATUS_INVALID_ARGUMENT, "step is NULL");
  CHECK_FAILS(damo_embedding_group(NULL, &group), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_embedding_group", "embedding is NULL");
  CHECK_FAILS(damo_embedding_group(embedding, NULL), DAMO_STATUS_INVALID_ARGUMENT, "group is NULL");
  CHECK_OK(damo_embedding_group(embedding, &group));
  CHECK(group == 65535);
  CHECK_FAILS(damo_storage_describe(NULL, NULL, 0, &json_len), DAMO_STATUS_INVALID_ARGUMENT,
              "storage is NULL");
  CHECK_FAILS(damo_storage_describe(storage, NULL, 1, &json_len), DAMO_STATUS_INVALID_ARGUMENT,
              "buffer is NULL");
  CHECK_OK(damo_storage_describe(storage, NULL, 0, &json_len));
  CHECK(json_len > 100 && json_len < sizeof json);
  json[0] = 'x';
  CHECK_FAILS(damo_storage_describe(storage, json, json_len, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_storage_describe", "buffer_len is", "and a NUL");
  CHECK(json[0] == 'x');
  CHECK_OK(damo_storage_describe(storage, json, json_len + 1, NULL));
  CHECK(strlen(json) == json_len &&
        strstr(json, "{\"group\":65535,\"name\":null,\"dim\":3") != NULL);

  /* after all of that: the rows, their counts and the step are as they were */
  CHECK_OK(damo_embedding_peek(embedding, keys, KEYS, after, FLOATS, NULL));
  CHECK(memcmp(before, after, sizeof before) == 0);
  CHECK_OK(damo_embedding_record(embedding, 2, &time, &num, NULL, 0));
  CHECK(num == 1);
  CHECK_OK(damo_embedding_step(embedding, &step));
  CHECK(step == 1);
  CHECK_OK(damo_storage_stat(storage, "rows_created", &value));
  CHECK(value == 2);

  /* success leaves the last error alone, and so does freeing */
  CHECK_FAILS(damo_embedding_set_step(embedding, -2), DAMO_STATUS_INVALID_ARGUMENT, "step is -2");
  CHECK_OK(damo_embedding_lookup(embedding, NULL, 0, NULL, 0));
  other = damo_embedding_new(storage, adam, ones, DIM, 0, NULL);
  CHECK(other != NULL);
  damo_embedding_free(other);
  CHECK_SAYS("step is -2");
  CHECK(damo_last_error_code() == DAMO_STATUS_INVALID_ARGUMENT);

  damo_params_free(typo);
  damo_initializer_free(ones);
  damo_optimizer_free(sgd);
  damo_optimizer_free(adam);
  damo_storage_free(storage);
  damo_embedding_free(embedding);
}

static void free_accepts_null(void) {
  damo_params_free(NULL);
  damo_initializer_free(NULL);
  damo_scheduler_free(NULL);
  damo_optimizer_free(NULL);
  damo_storage_free(NULL);
  damo_embedding_free(NULL);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  CHECK(damo_last_error_code() == DAMO_STATUS_OK);
  CHECK(strcmp(damo_last_error_message(), "") == 0);
  CHECK(strcmp(damo_status_name(DAMO_STATUS_BUSY), "BUSY") == 0);
  CHECK(strcmp(damo_status_name(-1), "UNKNOWN") == 0);
  CHECK(damo_abi_version() == DAMO_ABI_VERSION);
  free_accepts_null();
  params_refuse();
  names_and_parameters_refuse();
  storage_refuses(argv[1]);
  embedding_refuses(argv[1]);
  return 0;
}

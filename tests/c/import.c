/* A checkpoint file of the earlier implementation, written here byte by byte, becomes rows. */
#include <stdint.h>
#include <stdio.h>

#include "check.h"

enum { DIM = 2, ROW = 3 * DIM };

static void put(FILE *file, const void *bytes, size_t len) {
  CHECK(fwrite(bytes, 1, len, file) == len);
}

static void put_record(FILE *file, int32_t group, int64_t key, int64_t update_num) {
  const uint64_t key_len = 12, value_len = 32 + 4 * ROW;
  const int64_t update_time = 1720000000000;
  const int32_t dim = DIM;
  const float data[ROW] = {1, 2, 3, 4, 5, 6};
  put(file, &key_len, 8), put(file, &group, 4), put(file, &key, 8);
  put(file, &value_len, 8), put(file, &group, 4), put(file, &key, 8);
  put(file, &update_time, 8), put(file, &update_num, 8), put(file, &dim, 4);
  put(file, data, sizeof data);
}

int main(int argc, char **argv) {
  char dir[4096], path[4096], json[1024] = "";
  CHECK(argc == 2);
  snprintf(dir, sizeof dir, "%s/tables", argv[1]);
  snprintf(path, sizeof path, "%s/old.ckpt", argv[1]);
  FILE *file = fopen(path, "wb");
  const int64_t count = 3;
  CHECK(file != NULL);
  put(file, &count, 8);
  put_record(file, 4, -7, 5), put_record(file, 9, 1, 1), put_record(file, 4, 8, 6);
  CHECK(fclose(file) == 0);

  damo_storage *storage = damo_storage_new(dir, 0, NULL);
  damo_optimizer *adam = damo_optimizer_new("adam", NULL, NULL);
  damo_initializer *zeros = damo_initializer_new("zeros", NULL);
  damo_embedding *embedding = damo_embedding_new(storage, adam, zeros, DIM, 4, NULL);
  uint64_t imported = 99, refused = 99;
  size_t json_len = 0;
  CHECK(embedding != NULL);
  CHECK_FAILS(damo_storage_import_report(storage, json, sizeof json, NULL), DAMO_STATUS_NOT_FOUND,
              "damo_storage_import_report", "nothing has been imported");
  CHECK_FAILS(damo_storage_import(NULL, path), DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_import",
              "storage is NULL");
  CHECK_FAILS(damo_storage_import(storage, NULL), DAMO_STATUS_INVALID_ARGUMENT, "path is NULL");
  CHECK_FAILS(damo_storage_import(storage, dir), DAMO_STATUS_INVALID_ARGUMENT, "is a directory");
  CHECK_FAILS(damo_storage_import_counted(storage, "/nowhere", &imported, &refused),
              DAMO_STATUS_NOT_FOUND, "damo_storage_import_counted", "/nowhere");
  CHECK(imported == 99 && refused == 99);

  CHECK_OK(damo_storage_import_counted(storage, path, &imported, &refused));
  CHECK(imported == 2 && refused == 1);
  CHECK_OK(damo_storage_import_counted(storage, path, NULL, NULL));
  CHECK_OK(damo_storage_import(storage, path));
  CHECK_OK(damo_storage_import_report(storage, NULL, 0, &json_len));
  CHECK(json_len > 0 && json_len < sizeof json);
  CHECK_FAILS(damo_storage_import_report(storage, json, json_len, NULL),
              DAMO_STATUS_INVALID_ARGUMENT, "buffer_len is");
  CHECK(json[0] == 0);
  CHECK_OK(damo_storage_import_report(storage, json, json_len + 1, NULL));
  CHECK(strlen(json) == json_len);
  CHECK(strstr(json, "\"records\":3,\"imported\":2,\"without_state\":0,\"order\":\"time_first\"") !=
        NULL);
  CHECK(strstr(json, "{\"reason\":\"unknown_group\",\"records\":1,"
                     "\"first\":\"record 1 (group 9 key 1)") != NULL);

  /* A group that the file does not have and wrong options are errors, and change no counts. */
  damo_params *options = damo_params_new();
  CHECK_OK(damo_params_set_int(options, "group", 5));
  CHECK_FAILS(damo_storage_import_with(storage, path, options, &imported, &refused),
              DAMO_STATUS_INVALID_ARGUMENT, "is of group 5", "they are of groups 4, 9");
  CHECK(imported == 2 && refused == 1);
  CHECK_OK(damo_params_set_int(options, "group", 4));
  CHECK_OK(damo_storage_import_with(storage, path, options, &imported, &refused));
  CHECK(imported == 2 && refused == 0);
  CHECK_OK(damo_params_set_str(options, "format", "tabular"));
  CHECK_FAILS(damo_storage_import_with(storage, path, options, &imported, &refused),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_storage_import_with", "tabular", "'counted'");
  CHECK(imported == 2 && refused == 0);
  damo_params_free(options);
  CHECK_OK(damo_storage_import_with(storage, path, NULL, NULL, &refused));
  CHECK(refused == 1);

  const int64_t keys[2] = {-7, 8};
  float weights[2 * DIM] = {0};
  uint8_t found[2] = {0};
  CHECK_OK(damo_embedding_peek(embedding, keys, 2, weights, 2 * DIM, found));
  CHECK(found[0] && found[1] && weights[0] == 1 && weights[3] == 2);
  damo_embedding_free(embedding);
  damo_initializer_free(zeros);
  damo_optimizer_free(adam);
  damo_storage_free(storage);
  return 0;
}

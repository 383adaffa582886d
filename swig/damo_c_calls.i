// The few functions of damo.h with parameters that no language has: a buffer for text, found with
// its length from keys_len, a pointer to a pointer, a progress function, an executor, rows with a
// stride. Included by damo_c.i.

%ignore damo_executor;
%ignore damo_executor_openmp;
%ignore damo_executor_set;
%ignore damo_progress;
%ignore damo_params_to_json;
%ignore damo_storage_describe;
%ignore damo_storage_import_report;
%ignore damo_embedding_peek;
%ignore damo_embedding_begin_lookup;
%ignore damo_embedding_finish_lookup;
%ignore damo_lookup_free;
%ignore damo_step_new;
%ignore damo_step_free;
%ignore damo_step_add_keys;
%ignore damo_step_add_keys_counted;
%ignore damo_step_add_bags;
%ignore damo_step_lookup;
%ignore damo_step_peek;
%ignore damo_step_apply_gradients;
%ignore damo_step_clear;
%ignore damo_step_gradient_norm;
%ignore damo_step_skipped;
%ignore damo_step_lookup_at;
%ignore damo_step_apply_gradients_once;
%ignore damo_rows;
%ignore damo_rows_pin;
%ignore damo_pin_commit;
%ignore damo_pin_free;
%ignore damo_table_lookup;
%ignore damo_iterator_next;
%ignore damo_storage_dump_with_progress;
%ignore damo_storage_set_executor;
%ignore damo_work;

%rename(damo_params_to_json) damo_c_params_to_json;
%rename(damo_storage_describe) damo_c_storage_describe;
%rename(damo_storage_import_report) damo_c_storage_import_report;
%rename(damo_embedding_peek) damo_c_embedding_peek;
%rename(damo_table_lookup) damo_c_table_lookup;
%rename(damo_iterator_next) damo_c_iterator_next;
%rename(damo_storage_dump_counted) damo_c_storage_dump_counted;

%newobject damo_c_params_to_json;
%newobject damo_c_storage_describe;
%newobject damo_c_storage_import_report;

%{
/* Returns the text that CALL writes, to be freed, or NULL after a failure. The text may have grown
   between the two calls. */
#define DAMO_C_TEXT(call)                                                       \
  char *text = NULL;                                                            \
  size_t room = 0, len = 0;                                                     \
  for (;;) {                                                                    \
    char *buffer = text;                                                        \
    damo_status status = call;                                                  \
    if (status == DAMO_STATUS_OK && text != NULL) return text;                  \
    if (status != DAMO_STATUS_OK && (text == NULL || len < room)) break;        \
    damo_last_error_clear();                                                    \
    free(text);                                                                 \
    room = len + 64;                                                            \
    text = (char *)malloc(room);                                                \
    if (text == NULL) {                                                         \
      strcpy(damo_c_refused, "there is no memory for the text");                \
      break;                                                                    \
    }                                                                           \
  }                                                                             \
  free(text);                                                                   \
  return NULL

/* Whether found fits the keys: a byte each, or none at all. */
static bool damo_c_found_fits(size_t found_len, size_t keys_len) {
  if (found_len == 0 || found_len == keys_len) return true;
  snprintf(damo_c_refused, sizeof damo_c_refused,
           "found has %zu bytes; as many as there are keys (%zu), or none, are needed", found_len,
           keys_len);
  return false;
}
%}

%inline %{
char *damo_c_params_to_json(const damo_params *params) {
  DAMO_C_TEXT(damo_params_to_json(params, buffer, room, &len));
}
char *damo_c_storage_describe(const damo_storage *storage) {
  DAMO_C_TEXT(damo_storage_describe(storage, buffer, room, &len));
}
char *damo_c_storage_import_report(const damo_storage *storage) {
  DAMO_C_TEXT(damo_storage_import_report(storage, buffer, room, &len));
}

damo_status damo_c_embedding_peek(const damo_embedding *embedding, const int64_t *keys,
                                  size_t keys_len, float *weights, size_t weights_len,
                                  uint8_t *found, size_t found_len) {
  if (!damo_c_found_fits(found_len, keys_len)) return DAMO_STATUS_INVALID_ARGUMENT;
  return damo_embedding_peek(embedding, keys, keys_len, weights, weights_len,
                             found_len == 0 ? NULL : found);
}
damo_status damo_c_table_lookup(const damo_table *table, uint32_t group, const int64_t *keys,
                                size_t keys_len, float *weights, size_t weights_len, uint8_t *found,
                                size_t found_len) {
  if (!damo_c_found_fits(found_len, keys_len)) return DAMO_STATUS_INVALID_ARGUMENT;
  return damo_table_lookup(table, group, keys, keys_len, weights, weights_len,
                           found_len == 0 ? NULL : found);
}

/* Like damo_iterator_next, but copies the row to data, as much of it as there is room for. *row_len
   is the row's length. */
damo_status damo_c_iterator_next(const damo_iterator *iterator, bool *found, uint32_t *group,
                                 int64_t *key, int64_t *update_time, int64_t *update_num,
                                 size_t *dim, float *data, size_t data_len, size_t *row_len) {
  const float *row = NULL;
  damo_status status;
  *found = false;
  *group = 0;
  *key = *update_time = *update_num = 0;
  *dim = *row_len = 0;
  status =
      damo_iterator_next(iterator, found, group, key, update_time, update_num, dim, &row, row_len);
  if (status == DAMO_STATUS_OK && *found && data_len != 0) {
    memcpy(data, row, (data_len < *row_len ? data_len : *row_len) * sizeof *data);
  }
  return status;
}

/* damo_storage_dump_with_progress without progress. */
damo_status damo_c_storage_dump_counted(const damo_storage *storage, const char *path,
                                        const damo_params *condition, uint64_t *number,
                                        uint64_t *rows, uint64_t *removed) {
  *number = *rows = *removed = 0;
  return damo_storage_dump_with_progress(storage, path, condition, NULL, NULL, number, rows,
                                         removed);
}
%}

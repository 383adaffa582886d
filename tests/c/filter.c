/* Filters through the C interface: what is refused, a full disk, forks, frees in any order. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { KEYS = 3 };
static const int64_t keys[KEYS] = {1, 2, 3};

static damo_params *parameters(const char *path, int64_t capacity, int64_t count) {
  damo_params *params = damo_params_new();
  CHECK_OK(damo_params_set_str(params, "path", path));
  CHECK_OK(damo_params_set_int(params, "capacity", capacity));
  CHECK_OK(damo_params_set_int(params, "count", count));
  return params;
}

static damo_filter *open_filter(const char *path, int64_t capacity, int64_t count) {
  damo_params *params = parameters(path, capacity, count);
  damo_filter *filter = damo_filter_new(params);
  damo_params_free(params);
  return filter;
}

static void counts(const char *path) {
  bool admitted = true;
  uint8_t bytes[KEYS] = {9, 9, 9};
  damo_filter *filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  CHECK_OK(damo_filter_check(filter, 0, 1, &admitted));
  CHECK(!admitted);
  CHECK_OK(damo_filter_add(filter, 0, 1, 2));
  CHECK_OK(damo_filter_check(filter, 0, 1, &admitted));
  CHECK(admitted);
  CHECK_OK(damo_filter_add_batch(filter, 0, keys, KEYS, 1));
  CHECK_OK(damo_filter_add_batch(filter, 0, keys + 2, 1, 1));
  CHECK_OK(damo_filter_check_batch(filter, 0, keys, KEYS, bytes, KEYS));
  CHECK(bytes[0] == 1 && bytes[1] == 0 && bytes[2] == 1);
  CHECK_OK(damo_filter_add_batch(filter, 0, NULL, 0, 1));
  CHECK_OK(damo_filter_check_batch(filter, 0, NULL, 0, NULL, 0));
  CHECK_OK(damo_filter_sync(filter));
  damo_filter_free(filter);
  damo_filter_free(NULL);
}

static void misuse_is_refused(const char *path) {
  bool admitted = false;
  uint8_t bytes[KEYS] = {9, 9, 9};
  damo_params *typo = parameters(path, 1000, 2);
  damo_filter *filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  CHECK_NULL(open_filter(path, 1000, 2), DAMO_STATUS_BUSY, "damo_filter_new", path,
             "another filter handle");
  CHECK_NULL(damo_filter_new(NULL), DAMO_STATUS_INVALID_ARGUMENT, "damo_filter_new", "'path'");
  CHECK_NULL(open_filter(path, 0, 2), DAMO_STATUS_INVALID_ARGUMENT, "'capacity' is 0");
  CHECK_NULL(open_filter(path, 1000, 16), DAMO_STATUS_INVALID_ARGUMENT, "'count' is 16", "1 to 15");
  CHECK_NULL(open_filter("/proc/damo", 1000, 2), DAMO_STATUS_IO, "/proc/damo");
  CHECK_NULL(open_filter("", 1000, 2), DAMO_STATUS_INVALID_ARGUMENT, "'path'");
  CHECK_OK(damo_params_set_int(typo, "capcity", 1));
  CHECK_NULL(damo_filter_new(typo), DAMO_STATUS_INVALID_ARGUMENT, "'capcity'",
             "'capacity', 'count', 'fpr', 'path', 'reload'");

  CHECK_FAILS(damo_filter_add(NULL, 0, 1, 1), DAMO_STATUS_INVALID_ARGUMENT, "damo_filter_add",
              "filter is NULL");
  CHECK_FAILS(damo_filter_add(filter, 65536, 1, 1), DAMO_STATUS_INVALID_ARGUMENT, "group is 65536",
              "0 to 65535");
  CHECK_FAILS(damo_filter_check(NULL, 0, 1, &admitted), DAMO_STATUS_INVALID_ARGUMENT,
              "filter is NULL");
  CHECK_FAILS(damo_filter_check(filter, 0, 1, NULL), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_filter_check", "admitted is NULL");
  CHECK_FAILS(damo_filter_check(filter, 70000, 1, &admitted), DAMO_STATUS_INVALID_ARGUMENT,
              "group is 70000");
  CHECK_FAILS(damo_filter_add_batch(filter, 0, NULL, 3, 1), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_filter_add_batch", "keys is NULL");
  CHECK_FAILS(damo_filter_check_batch(filter, 0, keys, KEYS, bytes, 2),
              DAMO_STATUS_INVALID_ARGUMENT, "damo_filter_check_batch", "admitted_len is 2",
              "keys_len is 3");
  CHECK_FAILS(damo_filter_check_batch(filter, 0, keys, KEYS, NULL, KEYS),
              DAMO_STATUS_INVALID_ARGUMENT, "admitted is NULL");
  CHECK_FAILS(damo_filter_check_batch(filter, 0, keys, KEYS, (uint8_t *)(uintptr_t)keys, KEYS),
              DAMO_STATUS_INVALID_ARGUMENT, "overlap");
  CHECK_FAILS(damo_filter_sync(NULL), DAMO_STATUS_INVALID_ARGUMENT, "filter is NULL");
  CHECK_FAILS(damo_embedding_set_filter(NULL, filter), DAMO_STATUS_INVALID_ARGUMENT,
              "damo_embedding_set_filter", "embedding is NULL");
  CHECK(bytes[0] == 9 && !admitted);
  damo_filter_free(filter);
  CHECK_NULL(open_filter(path, 1001, 3), DAMO_STATUS_INVALID_ARGUMENT, path,
             "capacity 1000, not 1001", "count 2, not 3");
  damo_params_free(typo);
}

/* A file size limit stands in for the disk. */
static void a_full_disk_is_an_error(const char *scratch, const char *path) {
  char full[4096], left[4096 + 16];
  struct rlimit limit, unlimited;
  struct stat found;
  bool admitted = false;
  damo_filter *filter, *other;
  damo_params *anew = parameters(path, 1000000, 2);
  snprintf(full, sizeof full, "%s/full", scratch);
  snprintf(left, sizeof left, "%s.damo-new", full);
  CHECK_OK(damo_params_set_bool(anew, "reload", false));
  filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  signal(SIGXFSZ, SIG_IGN); /* or the limit would kill instead of failing the call */
  CHECK(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  limit = unlimited;
  limit.rlim_cur = 1 << 20;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_NULL(open_filter(full, 1000000, 2), DAMO_STATUS_IO, "damo_filter_new", full, "bytes");
  CHECK(stat(full, &found) != 0 && stat(left, &found) != 0); /* nothing was left */
  other = open_filter(full, 1000, 2);
  CHECK(other != NULL);
  damo_filter_free(other);
  /* An existing file has its room already, on a full disk too. */
  limit.rlim_cur = 4096;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_OK(damo_filter_add_batch(filter, 7, keys, KEYS, 2));
  CHECK_OK(damo_filter_check(filter, 7, 3, &admitted));
  CHECK(admitted);
  damo_filter_free(filter);
  /* A replacement that fails leaves the file as it was. */
  limit.rlim_cur = 1 << 20;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_NULL(damo_filter_new(anew), DAMO_STATUS_IO, path);
  CHECK(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  admitted = false;
  CHECK_OK(damo_filter_check(filter, 7, 3, &admitted));
  CHECK(admitted);
  damo_filter_free(filter);
  damo_params_free(anew);
}

/* A filter's file belongs to the process that opened it. This process has not opened a storage. */
static void children_are_told(const char *scratch, const char *path) {
  char own[4096];
  bool admitted = false;
  int status = 0;
  pid_t child;
  damo_filter *filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK_FAILS(damo_filter_add(filter, 0, 1, 1), DAMO_STATUS_FORKED, "damo_filter_add", path,
                "forked child");
    CHECK_FAILS(damo_filter_check(filter, 0, 1, &admitted), DAMO_STATUS_FORKED, path);
    CHECK_FAILS(damo_filter_sync(filter), DAMO_STATUS_FORKED, path);
    CHECK_NULL(open_filter(path, 1000, 2), DAMO_STATUS_BUSY, path);
    damo_filter_free(filter);
    /* Freeing in the child has not given the parent's file away. */
    CHECK_NULL(open_filter(path, 1000, 2), DAMO_STATUS_BUSY, path);
    snprintf(own, sizeof own, "%s/child", scratch);
    filter = open_filter(own, 1000, 2);
    CHECK(filter != NULL);
    CHECK_OK(damo_filter_add(filter, 0, 1, 1));
    damo_filter_free(filter);
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_OK(damo_filter_add(filter, 0, 9, 2));
  damo_filter_free(filter);

  /* A child that lives on does not keep the file from its parent. */
  filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    sleep(60);
    _exit(0);
  }
  damo_filter_free(filter);
  filter = open_filter(path, 1000, 2);
  CHECK(filter != NULL);
  CHECK_OK(damo_filter_check(filter, 0, 9, &admitted));
  CHECK(admitted);
  damo_filter_free(filter);
  CHECK(kill(child, SIGKILL) == 0);
  CHECK(waitpid(child, &status, 0) == child);
}

static void handles_are_freed_in_any_order(const char *scratch, const char *path) {
  char dir[4096];
  int order;
  snprintf(dir, sizeof dir, "%s/rows", scratch);
  for (order = 0; order < 6; order++) {
    int left[3] = {0, 1, 2}, rest = order, count;
    const int64_t key = 100 + order;
    float weight = 0;
    uint8_t found = 9;
    damo_params *anew = parameters(path, 1000, 2);
    damo_storage *storage = damo_storage_new(dir, 0, NULL);
    damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
    damo_initializer *ones = damo_initializer_new("ones", NULL);
    damo_embedding *embedding = damo_embedding_new(storage, sgd, ones, 1, 3, NULL);
    damo_filter *filter;
    CHECK_OK(damo_params_set_bool(anew, "reload", false));
    filter = damo_filter_new(anew);
    CHECK(embedding != NULL && filter != NULL);
    CHECK_OK(damo_embedding_set_filter(embedding, filter));
    for (count = 3; count > 0; count--) {
      int next = rest % count, which = left[next];
      rest /= count;
      left[next] = left[count - 1];
      switch (which) {
        case 0: damo_storage_free(storage); break;
        case 1: damo_filter_free(filter); break;
        case 2:
          CHECK_OK(damo_embedding_lookup(embedding, &key, 1, &weight, 1));
          CHECK_OK(damo_embedding_peek(embedding, &key, 1, &weight, 1, &found));
          CHECK(found == 0);
          CHECK_OK(damo_embedding_lookup(embedding, &key, 1, &weight, 1));
          CHECK(weight == 1);
          CHECK_OK(damo_embedding_peek(embedding, &key, 1, &weight, 1, &found));
          CHECK(found == 1);
          CHECK_OK(damo_embedding_set_filter(embedding, NULL));
          if (order % 2 == 0) CHECK_OK(damo_embedding_set_filter(embedding, NULL));
          damo_embedding_free(embedding);
          break;
      }
    }
    damo_optimizer_free(sgd);
    damo_initializer_free(ones);
    damo_params_free(anew);
  }
}

int main(int argc, char **argv) {
  char path[4096];
  CHECK(argc == 2);
  snprintf(path, sizeof path, "%s/seen", argv[1]);
  counts(path);
  misuse_is_refused(path);
  a_full_disk_is_an_error(argv[1], path);
  children_are_told(argv[1], path);
  handles_are_freed_in_any_order(argv[1], path);
  return 0;
}

/* Programs that close descriptors 0 to 2, before or after they open a storage. No file of damo ever
   gets one of these numbers. What is printed goes nowhere, or to the program's own log. When the
   program opens something itself, it gets the numbers back. */
#define _GNU_SOURCE

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "support/scratch.h"

enum { KEYS = 4000, DIM = 8, ROUNDS = 8 };
static int64_t keys[KEYS];
static float gradients[KEYS * DIM];

/* Keeps CHECK's messages visible when descriptor 2 is closed. */
static void keep_a_way_to_speak(void) {
  stderr = fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100), "w");
  if (stderr == NULL) _exit(2);
  setvbuf(stderr, NULL, _IONBF, 0);
}

/* A thread that looks at the closed descriptors all the time. Each is free, or is one that can be
   neither read nor written. */
static struct {
  pthread_t thread;
  bool closed[3], stop;
  long looks;
} watcher;

static void *watch(void *unused) {
  char link[32], target[4096];
  (void)unused;
  while (!__atomic_load_n(&watcher.stop, __ATOMIC_RELAXED)) {
    int fd;
    for (fd = 0; fd < 3; fd++) {
      ssize_t length;
      if (!watcher.closed[fd]) continue;
      snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
      length = readlink(link, target, sizeof target - 1);
      if (length < 0) continue;
      target[length] = 0;
      /* glibc reads this file once, before it first gives memory back. */
      if (strcmp(target, "/proc/sys/vm/overcommit_memory") == 0) continue;
      if (strcmp(target, "/") != 0) {
        fprintf(stderr, "descriptor %d is '%s'\n", fd, target);
        _exit(1);
      }
    }
    watcher.looks++;
  }
  return NULL;
}

static void begin_watching(const bool closed[3]) {
  memcpy(watcher.closed, closed, sizeof watcher.closed);
  watcher.stop = false;
  CHECK(pthread_create(&watcher.thread, NULL, watch, NULL) == 0);
}

static void end_watching(void) {
  __atomic_store_n(&watcher.stop, true, __ATOMIC_RELAXED);
  CHECK(pthread_join(watcher.thread, NULL) == 0);
  CHECK(watcher.looks > 100);
}

static bool is_open_in_scratch(int fd, char *target, size_t room) {
  char link[32];
  ssize_t length;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, target, room - 1);
  if (length < 0) return false;
  target[length] = 0;
  return strncmp(target, scratch, strlen(scratch)) == 0 &&
         strstr(target, ".log-of-the-program") == NULL;
}

/* Every descriptor of the process that belongs to a file of damo is above 2, and is closed in
   programs that the process starts. */
static void check_open_files(void) {
  char target[4096], afterwards[4096];
  int fd;
  for (fd = 0; fd < 1024; fd++) {
    bool is_kept;
    if (!is_open_in_scratch(fd, target, sizeof target)) continue;
    is_kept = (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
    /* A background thread may have closed it in the meantime, and another file may have its
       number. */
    if (!is_open_in_scratch(fd, afterwards, sizeof afterwards) || strcmp(target, afterwards) != 0) {
      continue;
    }
    if (fd < 3 || is_kept) fprintf(stderr, "descriptor %d is '%s'\n", fd, target);
    CHECK(fd >= 3);
    CHECK(!is_kept);
  }
}

static void close_some(const bool closed[3]) {
  int fd;
  for (fd = 0; fd < 3; fd++)
    if (closed[fd]) CHECK(close(fd) == 0);
}

/* Printing a line on each of them fails, and the line is in no file. */
static void print_on_closed(const bool closed[3]) {
  int fd;
  for (fd = 0; fd < 3; fd++)
    if (closed[fd]) CHECK(write(fd, "line\n", 5) == -1);
}

static damo_embedding *open_rows(const damo_storage *storage) {
  damo_optimizer *sgd = damo_optimizer_new("sgd", NULL, NULL);
  damo_initializer *ones = damo_initializer_new("ones", NULL);
  damo_embedding *rows = damo_embedding_new(storage, sgd, ones, DIM, 0, NULL);
  CHECK(rows != NULL);
  damo_optimizer_free(sgd);
  damo_initializer_free(ones);
  return rows;
}

static damo_filter *open_filter(void) {
  damo_params *params = damo_params_new();
  damo_filter *filter;
  CHECK_OK(damo_params_set_str(params, "path", in_scratch("filter")));
  CHECK_OK(damo_params_set_int(params, "capacity", 1000));
  filter = damo_filter_new(params);
  CHECK(filter != NULL);
  damo_params_free(params);
  return filter;
}

/* Makes every call that opens files, round after round. */
static void use(damo_storage *storage, const bool closed[3]) {
  damo_embedding *rows = open_rows(storage);
  damo_filter *filter = open_filter();
  damo_params *as_table = damo_params_new();
  damo_iterator *iterator;
  damo_table *table;
  int round, i;
  char name[32];
  CHECK_OK(damo_params_set_str(as_table, "format", "table"));
  for (round = 0; round < ROUNDS; round++) {
    for (i = 0; i < KEYS; i++) keys[i] = (int64_t)round * KEYS + i;
    CHECK_OK(damo_embedding_apply_gradients(rows, keys, KEYS, gradients, KEYS * DIM));
    CHECK_OK(damo_filter_add(filter, 0, round, 1));
    print_on_closed(closed);
    CHECK_OK(damo_storage_flush(storage));
    check_open_files();
    snprintf(name, sizeof name, "checkpoint%d", round);
    if (round % 4 == 1) CHECK_OK(damo_storage_checkpoint(storage, in_scratch(name)));
    if (round % 4 == 2) CHECK_OK(damo_storage_dump(storage, in_scratch("rows.table"), as_table));
    if (round % 4 == 3) CHECK_OK(damo_storage_dump(storage, in_scratch("rows.classic"), NULL));
    print_on_closed(closed);
    check_open_files();
  }
  CHECK_OK(damo_filter_sync(filter));
  table = damo_table_open(in_scratch("rows.table"));
  CHECK(table != NULL);
  damo_table_free(table);
  iterator = damo_iterator_new(storage, DAMO_ALL_GROUPS);
  CHECK(iterator != NULL);
  damo_iterator_free(iterator);
  CHECK_OK(damo_storage_compact(storage));
  CHECK_OK(damo_storage_verify(storage, NULL));
  print_on_closed(closed);
  check_open_files();
  damo_params_free(as_table);
  damo_filter_free(filter);
  damo_embedding_free(rows);
}

static void check_step(int64_t expected) {
  damo_storage *storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  damo_embedding *rows;
  int64_t step = 0;
  CHECK(storage != NULL);
  rows = open_rows(storage);
  CHECK_OK(damo_embedding_step(rows, &step));
  CHECK(step == expected);
  CHECK_OK(damo_storage_verify(storage, NULL));
  damo_embedding_free(rows);
  damo_storage_free(storage);
}

/* Closes descriptors before or after the first opening, and ends as a killed process does. */
static void train_without(const bool closed[3], bool before) {
  damo_storage *storage;
  if (before) close_some(closed);
  if (before) begin_watching(closed);
  storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  CHECK(storage != NULL);
  if (!before) close_some(closed);
  if (!before) begin_watching(closed);
  use(storage, closed);
  end_watching();
  _exit(0);
}

/* The program's own log has the number that was closed, and nothing but what the program prints. */
static void train_with_a_log(const bool closed[3], bool before) {
  static const char line[] = "a line of the program\n";
  static const bool none[3] = {false, false, false};
  damo_storage *storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  struct stat found;
  int fd;
  (void)before;
  CHECK(storage != NULL);
  close_some(closed);
  for (fd = 0; fd < 3; fd++) {
    if (closed[fd]) {
      CHECK(open(in_scratch(".log-of-the-program"), O_CREAT | O_WRONLY | O_APPEND, 0600) == fd);
    }
  }
  use(storage, none);
  for (fd = 0; fd < 3; fd++)
    if (closed[fd]) CHECK(write(fd, line, sizeof line - 1) == sizeof line - 1);
  CHECK(stat(in_scratch(".log-of-the-program"), &found) == 0);
  CHECK((size_t)found.st_size == (sizeof line - 1) * (size_t)(closed[0] + closed[1] + closed[2]));
  _exit(0);
}

static struct {
  damo_storage *storage;
  damo_embedding *rows;
  bool stop;
} busy;

static void *write_and_flush(void *unused) {
  (void)unused;
  while (!__atomic_load_n(&busy.stop, __ATOMIC_RELAXED)) {
    CHECK_OK(damo_embedding_insert(busy.rows, keys, 4, gradients, 4 * DIM));
    CHECK_OK(damo_storage_flush(busy.storage));
  }
  return NULL;
}

/* A process that is forked while damo opens files finds the closed descriptors free. */
static void fork_meanwhile(const bool closed[3], bool before) {
  const int lowest = closed[0] ? 0 : 1;
  pthread_t thread;
  int i;
  (void)before;
  busy.storage = damo_storage_new(in_scratch("storage"), 0, NULL);
  CHECK(busy.storage != NULL);
  busy.rows = open_rows(busy.storage);
  for (i = 0; i < ROUNDS; i++)
    CHECK_OK(damo_embedding_apply_gradients(busy.rows, keys, 1, gradients, DIM));
  close_some(closed);
  CHECK(pthread_create(&thread, NULL, write_and_flush, NULL) == 0);
  for (i = 0; i < 60; i++) {
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) _exit(open("/dev/null", O_RDWR) == lowest ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  __atomic_store_n(&busy.stop, true, __ATOMIC_RELAXED);
  CHECK(pthread_join(thread, NULL) == 0);
  _exit(0);
}

static void check_what_is_left(const bool closed[3], bool before) {
  (void)closed, (void)before;
  check_step(ROUNDS);
  _exit(0);
}

typedef void (*work)(const bool closed[3], bool before);

/* Does the work in one process, and looks at the storage in another. */
static void run(const char *root, const char *name, work first, const bool closed[3], bool before) {
  const work works[2] = {first, check_what_is_left};
  int i;
  snprintf(scratch, sizeof scratch, "%s/%s%d%d%d", root, name, closed[0], closed[1], closed[2]);
  CHECK(mkdir(scratch, 0700) == 0);
  for (i = 0; i < 2; i++) {
    int status = 0;
    const pid_t child = fork(); /* this process opens nothing, so its children may */
    CHECK(child >= 0);
    if (child == 0) {
      keep_a_way_to_speak();
      works[i](closed, before);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fprintf(stderr, "in %s\n", scratch);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

int main(int argc, char **argv) {
  static const bool which[][3] = {{true, true, true}, {false, true, true}, {true, false, false}};
  size_t i;
  CHECK(argc == 2);
  for (i = 0; i < sizeof which / sizeof *which; i++) {
    run(argv[1], "after", train_without, which[i], false);
    run(argv[1], "before", train_without, which[i], true);
    run(argv[1], "log", train_with_a_log, which[i], false);
    run(argv[1], "fork", fork_meanwhile, which[i], false);
  }
  return 0;
}

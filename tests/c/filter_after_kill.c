/* A process that was killed and waited for may leave its memory behind for a while, with every
   mapping in it. The next process can open the filter all the same. Here a second process keeps the
   memory: it shares the killed one's memory and none of its files. */
#define _GNU_SOURCE

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { FILES = 1024 };
static char stack[1 << 16];

static damo_filter *open_filter(const char *folder) {
  char path[4096];
  damo_params *params = damo_params_new();
  damo_filter *filter;
  snprintf(path, sizeof path, "%s/filter", folder);
  CHECK_OK(damo_params_set_str(params, "path", path));
  CHECK_OK(damo_params_set_int(params, "capacity", 10000));
  CHECK_OK(damo_params_set_int(params, "count", 1));
  filter = damo_filter_new(params);
  damo_params_free(params);
  return filter;
}

/* Closes all files but the pipe, and tells its reader the number of this process. It calls nothing
   of the C library, which belongs to the other process. */
static int keep_memory(void *pipe) {
  const int ready = *(int *)pipe;
  int fd;
  pid_t self = (pid_t)syscall(SYS_getpid);
  for (fd = 0; fd < FILES; fd++)
    if (fd != ready) syscall(SYS_close, fd);
  syscall(SYS_write, ready, &self, sizeof self);
  for (;;) syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
  return 0;
}

static pid_t keeper = 0;

static void end_keeper(void) {
  if (keeper > 0) kill(keeper, SIGKILL);
}

int main(int argc, char **argv) {
  int ready[2], status = 0;
  pid_t child;
  bool admitted = false;
  damo_filter *filter;
  CHECK(argc == 2);
  CHECK(pipe(ready) == 0);

  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    filter = open_filter(argv[1]);
    CHECK(filter != NULL);
    CHECK_OK(damo_filter_add(filter, 7, 1, 1));
    CHECK(clone(keep_memory, stack + sizeof stack, CLONE_VM | SIGCHLD, &ready[1]) > 0);
    for (;;) pause();
  }
  CHECK(read(ready[0], &keeper, sizeof keeper) == sizeof keeper);
  CHECK(atexit(end_keeper) == 0);
  CHECK(kill(child, SIGKILL) == 0);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(kill(keeper, 0) == 0);

  filter = open_filter(argv[1]);
  CHECK(filter != NULL);
  CHECK_OK(damo_filter_check(filter, 7, 1, &admitted));
  CHECK(admitted);
  damo_filter_free(filter);
  puts("filter_after_kill: ok");
  return 0;
}

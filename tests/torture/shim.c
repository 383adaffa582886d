/* A library to be preloaded that makes system calls fail, kill or stop. This file decides which
 * calls. They come through calls.c and looks.c. */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512 };

static struct control *attached;
/* Set while the shim makes calls of its own. */
static __thread int inside;
static __thread uint64_t random_state;

void torture_attach(struct control *control) { attached = control; }

struct control *torture_control(void) { return attached; }

long torture_syscall(long number, ...) {
  static long (*real)(long, ...);
  long given[6];
  va_list list;
  if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  va_start(list, number);
  for (int index = 0; index < 6; index++) given[index] = va_arg(list, long);
  va_end(list);
  return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

void torture_path(int fd, const char *path, char *buffer, size_t size) {
  size_t used = 0;
  if (path != NULL && path[0] == '/') {
    snprintf(buffer, size, "%s", path);
    return;
  }
  if (fd >= 0) {
    char link[64];
    ssize_t len;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = torture_syscall(SYS_readlink, link, buffer, size - 1);
    used = len > 0 ? (size_t)len : 0;
  }
  buffer[used] = '\0';
  if (path != NULL && path[0] != '\0') {
    snprintf(buffer + used, size - used, used > 0 ? "/%s" : "%s", path);
  }
}

/* A 64-bit xorshift. The driver's seed decides which calls are hit; this decides only what is
 * flushed early. */
static uint64_t draw(void) {
  if (random_state == 0) {
    random_state = 0x9e3779b97f4a7c15u ^ (uint64_t)attached->seen * 7919 ^ (uint64_t)getpid() << 32;
  }
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/* Ends the process by a signal; no thread does anything after this. */
static void end_with(int signal) {
  torture_syscall(SYS_kill, getpid(), signal);
  for (;;) torture_syscall(SYS_pause);
}

/* Makes a part of a write, as when a process is killed or a disk becomes full. Neither a kill nor a
 * power cut leaves a part of what lies within one sector of a disk. */
static ssize_t write_part(const struct call *call) {
  size_t part = call->len * attached->part / 256;
  off_t from =
      call->offset >= 0 ? call->offset : (off_t)torture_syscall(SYS_lseek, call->fd, 0, SEEK_CUR);
  int is_in_one_sector = from >= 0 && from / SECTOR == (from + (off_t)call->len - 1) / SECTOR;
  if (part == 0 || (attached->mode != MODE_FAIL && is_in_one_sector)) return 0;
  if (call->offset >= 0) {
    return torture_syscall(SYS_pwrite64, call->fd, call->data, part, call->offset);
  }
  return torture_syscall(SYS_write, call->fd, call->data, part);
}

/* Counts a call, and returns whether it is hit. `which` is 0 for the first call that is hit, and 1
 * more for each later one. */
static int is_hit(int64_t *which) {
  int64_t left = __sync_sub_and_fetch(&attached->countdown, 1);
  *which = -left;
  return left == 0 || (left < 0 && (attached->again < 0 || -left <= attached->again));
}

static ssize_t meet_fate(const struct call *call, int64_t which, const char *path) {
  struct control *control = attached;
  ssize_t written = 0;
  if (which == 0) {
    control->first_kind = call->kind;
    snprintf(control->first_path, sizeof control->first_path, "%s", path);
  }
  if (control->part > 0 && which == 0 && call->data != NULL) written = write_part(call);
  control->fired++;
  switch (control->mode) {
    case MODE_STOP: end_with(SIGSTOP); break;
    case MODE_KILL: end_with(SIGKILL); break;
    case MODE_FAIL: return written > 0 ? written : FAIL;
    default: break;
  }
  return GO_ON;
}

/* Data may reach the disk long before anybody asks for it, and in any order. */
static void flush_early(const struct call *call) {
  if (attached->lottery > 0 && call->kind == KIND_WRITE && draw() % 1000000 < attached->lottery) {
    off_t from = (off_t)(draw() % 65536) & ~(off_t)4095;
    torture_syscall(SYS_sync_file_range, call->fd, from, (off_t)(4096 << (draw() % 5)), 7);
  }
}

ssize_t torture_judge(struct call call) {
  struct control *control = attached;
  char path[512];
  ssize_t fate = GO_ON;
  int64_t which;
  int before = errno;
  if (control == NULL || inside) return GO_ON;
  if (control->mode == MODE_OFF && control->lottery == 0) return GO_ON;
  inside = 1;
  if (call.kind == KIND_THREAD || call.kind == KIND_MEMORY)
    path[0] = '\0';
  else
    torture_path(call.fd, call.path, path, sizeof path);
  if (path[0] == '\0' ? (call.kind & (KIND_THREAD | KIND_MEMORY)) != 0
                      : strstr(path, control->path) != NULL) {
    flush_early(&call);
    if (control->mode != MODE_OFF && (control->kinds & call.kind) != 0) {
      __sync_fetch_and_add(&control->seen, 1);
      if (is_hit(&which)) fate = meet_fate(&call, which, path);
    }
  }
  inside = 0;
  errno = fate == FAIL ? control->error : before;
  return fate;
}

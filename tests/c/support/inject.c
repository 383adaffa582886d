#define _GNU_SOURCE
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile int kinds_, left_, times_, error_, fired_;
static char path_[64];

void inject(int kinds, const char *path, int nth, int times, int error) {
  snprintf(path_, sizeof path_, "%s", path);
  left_ = nth;
  times_ = times;
  error_ = error;
  fired_ = 0;
  kinds_ = kinds;
}

int stop_injecting(void) {
  kinds_ = 0;
  return fired_;
}

/* Whether a call on this path, or on this open file, fails. */
static int fails(int kind, const char *path, int file) {
  char link[64], name[512] = "";
  if (!(kinds_ & kind)) return 0;
  if (path == NULL) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (syscall(SYS_readlink, link, name, sizeof name - 1) < 0) return 0;
    path = name;
  }
  if (strstr(path, path_) == NULL) return 0;
  if (__sync_sub_and_fetch(&left_, 1) > 0 || __sync_fetch_and_sub(&times_, 1) <= 0) return 0;
  __sync_fetch_and_add(&fired_, 1);
  if (error_ == 0) syscall(SYS_kill, getpid(), SIGKILL);
  errno = error_;
  return 1;
}

int fdatasync(int file) {
  return fails(AT_SYNC, NULL, file) ? -1 : (int)syscall(SYS_fdatasync, file);
}
int fsync(int file) { return fails(AT_SYNC, NULL, file) ? -1 : (int)syscall(SYS_fsync, file); }
int unlink(const char *path) {
  return fails(AT_REMOVE, path, -1) ? -1 : (int)syscall(SYS_unlink, path);
}

static int cut(int file, off_t len) {
  return fails(AT_TRUNCATE, NULL, file) ? -1 : (int)syscall(SYS_ftruncate, file, len);
}
int ftruncate(int file, off_t len) { return cut(file, len); }
int ftruncate64(int file, off64_t len) { return cut(file, len); }

ssize_t write(int file, const void *bytes, size_t len) {
  if (!fails(AT_WRITE, NULL, file)) return syscall(SYS_write, file, bytes, len);
  syscall(SYS_write, file, bytes, len / 2);
  errno = error_;
  return -1;
}

ssize_t writev(int file, const struct iovec *pieces, int count) {
  if (!fails(AT_WRITE, NULL, file)) return syscall(SYS_writev, file, pieces, count);
  syscall(SYS_writev, file, pieces, (count + 1) / 2);
  errno = error_;
  return -1;
}

ssize_t pwritev64(int file, const struct iovec *pieces, int count, off64_t at) {
  if (!fails(AT_WRITE, NULL, file)) return syscall(SYS_pwritev, file, pieces, count, at, 0);
  syscall(SYS_pwritev, file, pieces, (count + 1) / 2, at, 0);
  errno = error_;
  return -1;
}

static int open_at(int dir, const char *path, int flags, va_list list) {
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
  return fails(AT_OPEN, path, -1) ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define OPENING(name, head, dir)          \
  int name head {                         \
    va_list list;                         \
    int file;                             \
    va_start(list, flags);                \
    file = open_at(dir, path, flags, list); \
    va_end(list);                         \
    return file;                          \
  }
OPENING(open, (const char *path, int flags, ...), AT_FDCWD)
OPENING(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENING(openat, (int dir, const char *path, int flags, ...), dir)
OPENING(openat64, (int dir, const char *path, int flags, ...), dir)

/* RocksDB checks with this whether a file exists. */
int access(const char *path, int mode) {
  return fails(AT_STAT, path, -1) ? -1 : (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *found) {
  return fails(AT_STAT, path, -1) ? -1 : (int)syscall(SYS_statx, dir, path, flags, mask, found);
}

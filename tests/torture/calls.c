/* The system calls that come through the shim. Each asks shim.c for its fate, and otherwise makes
 * the real call. */
#define _GNU_SOURCE
#include "shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST_FLATTENED = 64 << 20 };

/* The C library's function that one here replaces. */
#define REAL(result, name, ...)                                                  \
  static result (*real)(__VA_ARGS__);                                            \
  if (real == NULL) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t on_fd(enum kind kind, int fd) {
  struct call call = {kind, fd, NULL, NULL, 0, -1};
  return torture_judge(call);
}

static ssize_t on_path(enum kind kind, int dir, const char *path) {
  struct call call = {kind, dir == AT_FDCWD ? -1 : dir, path, NULL, 0, -1};
  return torture_judge(call);
}

static ssize_t on_write(int fd, const void *data, size_t len, off_t offset) {
  struct call call = {KIND_WRITE, fd, NULL, data, len, offset};
  return torture_judge(call);
}

ssize_t write(int fd, const void *data, size_t len) {
  ssize_t fate = on_write(fd, data, len, -1);
  if (fate != GO_ON) return fate == FAIL ? -1 : fate;
  torture_record(KIND_WRITE, fd, NULL, NULL, data, len, -1);
  return torture_syscall(SYS_write, fd, data, len);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) {
  ssize_t fate = on_write(fd, data, len, offset);
  if (fate != GO_ON) return fate == FAIL ? -1 : fate;
  torture_record(KIND_WRITE, fd, NULL, NULL, data, len, offset);
  return torture_syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) {
  return pwrite64(fd, data, len, offset);
}

/* The pieces in one buffer, so that a part of it can end anywhere. NULL: they are too long. */
static char *flattened(const struct iovec *parts, int count, size_t *len) {
  size_t at = 0;
  char *flat;
  int i;
  *len = 0;
  for (i = 0; i < count; i++) *len += parts[i].iov_len;
  flat = *len <= MOST_FLATTENED ? malloc(*len + 1) : NULL;
  if (flat == NULL) return NULL;
  for (i = 0; i < count; i++) {
    memcpy(flat + at, parts[i].iov_base, parts[i].iov_len);
    at += parts[i].iov_len;
  }
  return flat;
}

/* Frees the buffer, and keeps errno. */
static ssize_t after_flat(char *flat, ssize_t result) {
  int error = errno;
  free(flat);
  errno = error;
  return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  size_t len;
  char *flat = flattened(parts, count, &len);
  if (flat != NULL) return after_flat(flat, write(fd, flat, len));
  return on_fd(KIND_WRITE, fd) == FAIL ? -1 : torture_syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  size_t len;
  char *flat = flattened(parts, count, &len);
  if (flat != NULL) return after_flat(flat, pwrite64(fd, flat, len, offset));
  return on_fd(KIND_WRITE, fd) == FAIL
             ? -1
             : torture_syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t read(int fd, void *data, size_t len) {
  if (on_fd(KIND_READ, fd) == FAIL) return -1;
  return torture_syscall(SYS_read, fd, data, len);
}

ssize_t pread64(int fd, void *data, size_t len, off64_t offset) {
  if (on_fd(KIND_READ, fd) == FAIL) return -1;
  return torture_syscall(SYS_pread64, fd, data, len, offset);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset) {
  return pread64(fd, data, len, offset);
}

int fsync(int fd) {
  int result;
  if (on_fd(KIND_SYNC, fd) == FAIL) return -1;
  result = (int)torture_syscall(SYS_fsync, fd);
  if (result == 0) torture_record(KIND_SYNC, fd, NULL, NULL, NULL, 0, -1);
  return result;
}

int fdatasync(int fd) {
  int result;
  if (on_fd(KIND_SYNC, fd) == FAIL) return -1;
  result = (int)torture_syscall(SYS_fdatasync, fd);
  if (result == 0) torture_record(KIND_SYNC, fd, NULL, NULL, NULL, 0, -1);
  return result;
}

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags) {
  if (on_fd(KIND_FLUSH, fd) == FAIL) return -1;
  return (int)torture_syscall(SYS_sync_file_range, fd, offset, len, flags);
}

int msync(void *at, size_t len, int flags) {
  if (on_path(KIND_FLUSH, AT_FDCWD, "msync") == FAIL) return -1;
  return (int)torture_syscall(SYS_msync, at, len, flags);
}

int ftruncate64(int fd, off64_t len) {
  if (on_fd(KIND_TRUNCATE, fd) == FAIL) return -1;
  torture_record(KIND_TRUNCATE, fd, NULL, NULL, NULL, 0, len);
  return (int)torture_syscall(SYS_ftruncate, fd, len);
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int fallocate64(int fd, int mode, off64_t offset, off64_t len) {
  int result;
  if (on_fd(KIND_ALLOCATE, fd) == FAIL) return -1;
  result = (int)torture_syscall(SYS_fallocate, fd, mode, offset, len);
  if (result == 0 && mode == 0) {
    torture_record(KIND_ALLOCATE, fd, NULL, NULL, NULL, 0, offset + len);
  }
  return result;
}

int fallocate(int fd, int mode, off_t offset, off_t len) {
  return fallocate64(fd, mode, offset, len);
}

int posix_fallocate64(int fd, off64_t offset, off64_t len) {
  REAL(int, posix_fallocate64, int, off64_t, off64_t);
  if (on_fd(KIND_ALLOCATE, fd) == FAIL) return errno;
  return real(fd, offset, len);
}

int posix_fallocate(int fd, off_t offset, off_t len) { return posix_fallocate64(fd, offset, len); }

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len,
                        unsigned flags) {
  struct control *control = torture_control();
  if (control != NULL && control->log[0] != '\0') {
    /* The caller copies with read and write instead, which are recorded. */
    errno = EXDEV;
    return -1;
  }
  if (on_fd(KIND_WRITE, to) == FAIL) return -1;
  return torture_syscall(SYS_copy_file_range, from, from_at, to, to_at, len, flags);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t len) {
  struct control *control = torture_control();
  if (control != NULL && control->log[0] != '\0') {
    errno = EINVAL;
    return -1;
  }
  if (on_fd(KIND_WRITE, to) == FAIL) return -1;
  return torture_syscall(SYS_sendfile, to, from, offset, len);
}

int rename(const char *from, const char *to) {
  int result;
  if (on_path(KIND_RENAME, AT_FDCWD, to) == FAIL) return -1;
  result = (int)torture_syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
  if (result == 0) torture_record(KIND_RENAME, -1, to, from, NULL, 0, 0);
  return result;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
  int result;
  if (on_path(KIND_RENAME, to_dir, to) == FAIL) return -1;
  result = (int)torture_syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
  if (result == 0) torture_record(KIND_RENAME, -1, to, from, NULL, 0, flags & RENAME_EXCHANGE);
  return result;
}

int unlinkat(int dir, const char *path, int flags) {
  int result;
  if (on_path(KIND_REMOVE, dir, path) == FAIL) return -1;
  result = (int)torture_syscall(SYS_unlinkat, dir, path, flags);
  if (result == 0) torture_record(KIND_REMOVE, dir == AT_FDCWD ? -1 : dir, path, NULL, NULL, 0, -1);
  return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
  int result;
  if (on_path(KIND_LINK, to_dir, to) == FAIL) return -1;
  result = (int)torture_syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
  if (result == 0) torture_record(KIND_LINK, -1, to, from, NULL, 0, -1);
  return result;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdir(const char *path, mode_t mode) {
  int result;
  if (on_path(KIND_MKDIR, AT_FDCWD, path) == FAIL) return -1;
  result = (int)torture_syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (result == 0) torture_record(KIND_MKDIR, -1, path, NULL, NULL, 0, -1);
  return result;
}

static int open_at(int dir, const char *path, int flags, mode_t mode) {
  struct control *control = torture_control();
  int fd;
  if (control != NULL && control->boot_id[0] != '\0' &&
      strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) {
    return (int)torture_syscall(SYS_openat, AT_FDCWD, control->boot_id, flags, mode);
  }
  if (on_path(flags & O_CREAT ? KIND_CREATE : KIND_OPEN, dir, path) == FAIL) return -1;
  fd = (int)torture_syscall(SYS_openat, dir, path, flags, mode);
  if (fd >= 0 && flags & (O_CREAT | O_TRUNC)) {
    torture_record(KIND_CREATE, fd, NULL, NULL, NULL, 0, flags & O_TRUNC ? 0 : -1);
  }
  return fd;
}

#define MODE_ARGUMENT(mode, flags)              \
  mode_t mode = 0;                              \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {      \
    va_list rest;                               \
    va_start(rest, flags);                      \
    mode = va_arg(rest, mode_t);                \
    va_end(rest);                               \
  }

int open64(const char *path, int flags, ...) {
  MODE_ARGUMENT(mode, flags)
  return open_at(AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  MODE_ARGUMENT(mode, flags)
  return open_at(AT_FDCWD, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
  MODE_ARGUMENT(mode, flags)
  return open_at(dir, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...) {
  MODE_ARGUMENT(mode, flags)
  return open_at(dir, path, flags, mode);
}

/* Another thread's name is a file of /proc, and the kernel takes 20 to 120 ms to let go of a
 * process that has opened such files: most of a trial's time. Nothing here depends on names. */
int pthread_setname_np(pthread_t thread, const char *name) {
  (void)thread, (void)name;
  return 0;
}

/* Some libraries make these calls by their numbers. */
long syscall(long number, ...) {
  long given[6];
  va_list list;
  va_start(list, number);
  for (int index = 0; index < 6; index++) given[index] = va_arg(list, long);
  va_end(list);
  if (number == SYS_copy_file_range) {
    return copy_file_range((int)given[0], (off64_t *)given[1], (int)given[2], (off64_t *)given[3],
                           (size_t)given[4], (unsigned)given[5]);
  }
  if (number == SYS_renameat2) {
    return renameat2((int)given[0], (const char *)given[1], (int)given[2], (const char *)given[3],
                     (unsigned)given[4]);
  }
  return torture_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

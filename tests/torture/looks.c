/* The calls that change nothing that is stored: looking, mapping, locking, threads. They work like
   those in calls.c. */
#define _GNU_SOURCE
#include "shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LARGE_MAPPING = 1 << 20 };

/* The C library's function that one here replaces. */
#define REAL(result, name, ...)                                                  \
  static result (*real)(__VA_ARGS__);                                            \
  if (real == NULL) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int fails(enum kind kind, int fd, const char *path) {
  struct call call = {kind, fd == AT_FDCWD ? -1 : fd, path, NULL, 0, -1};
  return torture_judge(call) == FAIL;
}

int statx(int dir, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict found) {
  if (fails(KIND_STAT, dir, path)) return -1;
  return (int)torture_syscall(SYS_statx, dir, path, flags, mask, found);
}

int fstatat64(int dir, const char *path, struct stat64 *found, int flags) {
  REAL(int, fstatat64, int, const char *, struct stat64 *, int);
  return fails(KIND_STAT, dir, path) ? -1 : real(dir, path, found, flags);
}

int stat(const char *path, struct stat *found) {
  REAL(int, stat, const char *, struct stat *);
  return fails(KIND_STAT, -1, path) ? -1 : real(path, found);
}

int stat64(const char *path, struct stat64 *found) {
  REAL(int, stat64, const char *, struct stat64 *);
  return fails(KIND_STAT, -1, path) ? -1 : real(path, found);
}

int lstat64(const char *path, struct stat64 *found) {
  REAL(int, lstat64, const char *, struct stat64 *);
  return fails(KIND_STAT, -1, path) ? -1 : real(path, found);
}

int fstat(int fd, struct stat *found) {
  REAL(int, fstat, int, struct stat *);
  return fails(KIND_STAT, fd, NULL) ? -1 : real(fd, found);
}

int fstat64(int fd, struct stat64 *found) {
  REAL(int, fstat64, int, struct stat64 *);
  return fails(KIND_STAT, fd, NULL) ? -1 : real(fd, found);
}

int access(const char *path, int mode) {
  if (fails(KIND_STAT, -1, path)) return -1;
  return (int)torture_syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

FILE *fopen(const char *path, const char *mode) {
  REAL(FILE *, fopen, const char *, const char *);
  return fails(mode[0] == 'r' ? KIND_OPEN : KIND_CREATE, -1, path) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
  REAL(FILE *, fopen64, const char *, const char *);
  return fails(mode[0] == 'r' ? KIND_OPEN : KIND_CREATE, -1, path) ? NULL : real(path, mode);
}

DIR *opendir(const char *path) {
  REAL(DIR *, opendir, const char *);
  return fails(KIND_LIST, -1, path) ? NULL : real(path);
}

DIR *fdopendir(int fd) {
  REAL(DIR *, fdopendir, int);
  return fails(KIND_LIST, fd, NULL) ? NULL : real(fd);
}

struct dirent64 *readdir64(DIR *dir) {
  REAL(struct dirent64 *, readdir64, DIR *);
  return fails(KIND_LIST, dirfd(dir), NULL) ? NULL : real(dir);
}

struct dirent *readdir(DIR *dir) {
  REAL(struct dirent *, readdir, DIR *);
  return fails(KIND_LIST, dirfd(dir), NULL) ? NULL : real(dir);
}

void *mmap64(void *at, size_t len, int protection, int flags, int fd, off64_t offset) {
  if (fd >= 0 ? fails(KIND_MAP, fd, NULL) : len >= LARGE_MAPPING && fails(KIND_MEMORY, -1, NULL)) {
    return MAP_FAILED;
  }
  return (void *)torture_syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
  return mmap64(at, len, protection, flags, fd, offset);
}

int flock(int fd, int operation) {
  if (fails(KIND_LOCK, fd, NULL)) return -1;
  return (int)torture_syscall(SYS_flock, fd, operation);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
  REAL(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  if (!fails(KIND_THREAD, -1, NULL)) return real(thread, attributes, run, argument);
  *thread = (pthread_t)0x5151; /* As the C library leaves it: a handle of no thread. */
  return errno;
}

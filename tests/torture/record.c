/* Records every change of files below the watched path, with its data, so that the driver can cut a
 * directory back to what was synced (cut_back.rs reads this). Entries are in native byte order:
 * they never leave the machine. */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH_SIZE = 512 };

struct entry {
  uint32_t kind;
  uint32_t path_len;
  uint32_t other_len;
  uint32_t reserved;
  uint64_t data_len;
  int64_t offset;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static pid_t log_owner;

/* Returns the file's end if it is opened for appending, else its position. */
static off_t offset_of(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return lseek(fd, 0, flags >= 0 && flags & O_APPEND ? SEEK_END : SEEK_CUR);
}

/* Each worker process opens the log itself. */
static int log_of_this_process(const char *path) {
  if (log_owner != getpid()) {
    log_fd = (int)torture_syscall(SYS_openat, AT_FDCWD, path,
                                  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log_owner = getpid();
  }
  return log_fd;
}

void torture_record(enum kind kind, int fd, const char *path, const char *other, const void *data,
                    size_t len, off_t offset) {
  struct control *control = torture_control();
  char where[PATH_SIZE], from[PATH_SIZE] = "";
  struct iovec parts[4];
  struct entry entry;
  int before = errno;
  if (control == NULL || control->log[0] == '\0') return;
  torture_path(fd, path, where, sizeof where);
  if (strstr(where, control->path) == NULL) {
    errno = before;
    return;
  }
  if (other != NULL) torture_path(-1, other, from, sizeof from);
  if (kind == KIND_WRITE && offset < 0) offset = offset_of(fd);
  memset(&entry, 0, sizeof entry);
  entry.kind = kind;
  entry.path_len = (uint32_t)strlen(where);
  entry.other_len = (uint32_t)strlen(from);
  entry.data_len = len;
  entry.offset = offset;
  parts[0] = (struct iovec){&entry, sizeof entry};
  parts[1] = (struct iovec){where, entry.path_len};
  parts[2] = (struct iovec){from, entry.other_len};
  parts[3] = (struct iovec){(void *)data, len};
  pthread_mutex_lock(&one_at_a_time);
  if (log_of_this_process(control->log) >= 0) torture_syscall(SYS_writev, log_fd, parts, 4);
  pthread_mutex_unlock(&one_at_a_time);
  errno = before;
}

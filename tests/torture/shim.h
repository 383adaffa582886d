/* The control block of the shim, shared between the driver and its workers. Its twin is in
 * control.rs. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Kinds of system calls. Those up to KIND_FLUSH change what is stored; the others only look, or
 * take resources. */
enum kind {
  KIND_WRITE = 1 << 0,
  KIND_SYNC = 1 << 1,
  KIND_TRUNCATE = 1 << 2,
  KIND_RENAME = 1 << 3,
  KIND_REMOVE = 1 << 4,
  KIND_LINK = 1 << 5,
  KIND_CREATE = 1 << 6,
  KIND_MKDIR = 1 << 7,
  KIND_ALLOCATE = 1 << 8,
  KIND_FLUSH = 1 << 9, /* sync_file_range, msync */
  KIND_READ = 1 << 10,
  KIND_OPEN = 1 << 11,
  KIND_STAT = 1 << 12,
  KIND_LIST = 1 << 13,
  KIND_MAP = 1 << 14,
  KIND_LOCK = 1 << 15,
  KIND_MEMORY = 1 << 16, /* anonymous mappings of a mebibyte or more; they have no path */
  KIND_THREAD = 1 << 17  /* has no path */
};

enum mode {
  MODE_OFF,
  MODE_KILL, /* SIGKILL to the own process, in place of the call */
  MODE_FAIL, /* the call fails with `error` */
  MODE_STOP  /* the process stops in place of the call; the driver then cuts the power */
};

struct control {
  volatile int32_t mode;
  volatile uint32_t kinds;
  volatile int32_t error;
  volatile int32_t again;     /* how many calls after the first meet the same fate; -1 for all */
  volatile uint32_t part;     /* of a write, this many 256ths are made first; 0 for none */
  volatile uint32_t fired;    /* how many calls met their fate */
  volatile int64_t countdown; /* the call that makes it 0 is the first */
  volatile int64_t seen;      /* calls that were counted */
  volatile uint32_t lottery;  /* of a million writes, how many an early sync_file_range follows */
  volatile uint32_t first_kind;
  char path[256];       /* only calls whose path contains this */
  char boot_id[256];    /* opened in place of the system's boot id, unless empty */
  char log[256];        /* the file that every change is recorded in (record.c), unless empty */
  char first_path[256]; /* of the call that met its fate first */
};

/* Called by the driver once, before it forks workers. */
void torture_attach(struct control *control);

/* What to do with a call: make it, or fail with errno. Otherwise a part of it is done. */
enum { GO_ON = -1, FAIL = -2 };

struct call {
  enum kind kind;
  int fd;           /* -1 if the call has a path */
  const char *path; /* relative to fd, or NULL */
  const void *data; /* of a write */
  size_t len;
  off_t offset; /* of a write; -1 for the file's own */
};

/* Returns GO_ON, FAIL with errno set, or the number of bytes that were written (a short write). */
ssize_t torture_judge(struct call call);

/* Returns the control block, or NULL before the driver has attached it. */
struct control *torture_control(void);

/* The C library's `syscall`, which does not come through the shim. */
long torture_syscall(long number, ...);

/* Writes the path that a call is about, absolute if possible, to the buffer. */
void torture_path(int fd, const char *path, char *buffer, size_t size);

/* Records a change that was made (record.c). `other` is the first path of a rename or link.
 * `offset` is the new length after a truncation, and is not 0 for a rename that exchanges. */
void torture_record(enum kind kind, int fd, const char *path, const char *other, const void *data,
                    size_t len, off_t offset);

/* System calls that fail on request. The program's own definitions come before the C library's, for
   libdamo.so too. */
#ifndef DAMO_TESTS_INJECT_H
#define DAMO_TESTS_INJECT_H

enum { AT_SYNC = 1, AT_WRITE = 2, AT_TRUNCATE = 4, AT_REMOVE = 8, AT_OPEN = 16, AT_STAT = 32 };

/* Makes calls of these kinds, on paths that contain this one, fail with this errno: `times` of
   them, beginning with the `nth` (1: the next). An error of 0 kills the process instead. A write
   that fails writes half. */
void inject(int kinds, const char *path, int nth, int times, int error);

/* Stops injecting, and returns how many calls have failed. */
int stop_injecting(void);

#endif

/* System calls that fail on request. The program's own definitions come before the C library's, for libdamo.so, too. */
#ifndef DAMO_TESTS_INJECT_H
#define DAMO_TESTS_INJECT_H

enum { AT_SYNC = 1, AT_WRITE = 2, AT_TRUNCATE = 4, AT_REMOVE = 8, AT_OPEN = 16, AT_STAT = 32 };

/* From the `nth` call of these kinds (1: the next) on a path with this part on, `times` of them fail with this errno; 0 kills
   the process instead. Of a write that fails half is written. */
void inject(int kinds, const char *path, int nth, int times, int error);

/* Ends that; returns how many calls have failed. */
int stop_injecting(void);

#endif

/* The folder of a test, which main sets. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdio.h>

static char scratch[3000];

/* A path in the folder. It stays valid while up to three more are asked for. */
static const char *in_scratch(const char *name) {
  static char paths[4][4096];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
  return path;
}

#endif

/* Calls need no more stack than damo.h states. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include "check.h"

enum { SIZE = 256 << 10, MOST = 32 << 10, DIM = 8, KEYS = 4096, PAINT = 0xa5 };

static damo_params *options, *table_format;
static damo_initializer *normal;
static damo_optimizer *adam;
static damo_storage *storage;
static damo_embedding *embedding;
static int64_t keys[KEYS];
static float floats[KEYS * DIM];

static void nothing(void) {}
static void open_storage(void) {
  CHECK((storage = damo_storage_new("storage", 0, options)) != NULL);
}
static void open_group(void) {
  CHECK((embedding = damo_embedding_new(storage, adam, normal, DIM, 0, NULL)) != NULL);
}
static void lookup(void) {
  CHECK_OK(damo_embedding_lookup(embedding, keys, KEYS, floats, KEYS * DIM));
}
static void apply(void) {
  CHECK_OK(damo_embedding_apply_gradients(embedding, keys, KEYS, floats, KEYS * DIM));
}
static void flush(void) { CHECK_OK(damo_storage_flush(storage)); }
static void compact(void) { CHECK_OK(damo_storage_compact(storage)); }
static void checkpoint(void) { CHECK_OK(damo_storage_checkpoint(storage, "checkpoint")); }
static void load(void) { CHECK_OK(damo_storage_load_from_checkpoint(storage, "checkpoint")); }
static void dump(void) { CHECK_OK(damo_storage_dump(storage, "dump", table_format)); }
static void verify(void) { CHECK_OK(damo_storage_verify(storage, NULL)); }
static void describe(void) { CHECK_OK(damo_storage_describe(storage, NULL, 0, NULL)); }
static void close_storage(void) {
  damo_embedding_free(embedding);
  damo_storage_free(storage);
}
static void table(void) {
  damo_table *table = damo_table_open("dump");
  CHECK_OK(damo_table_lookup(table, 0, keys, KEYS, floats, KEYS * DIM, NULL));
  damo_table_free(table);
}

static const struct {
  const char *name;
  void (*call)(void);
} calls[] = {
    {"open", open_storage},     {"group", open_group},    {"lookup", lookup},
    {"apply", apply},           {"flush", flush},         {"compact", compact},
    {"checkpoint", checkpoint}, {"load", load},           {"dump", dump},
    {"table", table},           {"verify", verify},       {"describe", describe},
    {"close", close_storage},   {"again", open_storage},  {"group", open_group},
    {"lookup", lookup},         {"close", close_storage},
};

static void *run(void *argument) {
  void (*const *call)(void) = argument;
  (*call)();
  return NULL;
}

/* Counts the bytes of a thread's stack that a call has touched. */
static size_t touched(void (*call)(void)) {
  unsigned char *stack =
      mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_t thread;
  size_t untouched = 0;
  CHECK(stack != MAP_FAILED);
  memset(stack, PAINT, SIZE);
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstack(&attributes, stack, SIZE) == 0);
  CHECK(pthread_create(&thread, &attributes, run, &call) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  while (untouched < SIZE && stack[untouched] == PAINT) untouched++;
  CHECK(munmap(stack, SIZE) == 0);
  return SIZE - untouched;
}

int main(void) {
  /* What is on every thread's stack before it begins. */
  const size_t base = touched(nothing);
  size_t index, used;
  for (index = 0; index < KEYS; index++) keys[index] = (int64_t)index * 7;
  options = damo_params_new();
  table_format = damo_params_new();
  CHECK_OK(damo_params_set_int(options, "cache_bytes", 4 << 20));
  CHECK_OK(damo_params_set_str(table_format, "format", "table"));
  normal = damo_initializer_new("random_normal", NULL);
  adam = damo_optimizer_new("adam", NULL, NULL);
  for (index = 0; index < sizeof calls / sizeof *calls; index++) {
    used = touched(calls[index].call) - base;
    printf("%-10s %zu bytes\n", calls[index].name, used);
    CHECK(used <= MOST);
  }
  damo_optimizer_free(adam);
  damo_initializer_free(normal);
  damo_params_free(table_format);
  damo_params_free(options);
  return 0;
}

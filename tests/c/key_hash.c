/* Keys of strings are XXH64. Checks the vectors of xxHash's own self test, at each length, alone
   and in a batch. */
#include <stdint.h>

#include "check.h"

/* Digests of the first bytes of the self test's buffer, with seed 0. */
static const struct {
  size_t len;
  uint64_t digest;
} vectors[] = {
    {0, 0xEF46DB3751D8E999u}, {1, 0xE934A84ADB052768u}, {4, 0x9136A0DCA57457EEu},
    {14, 0x8282DCC4994E35C8u}, {222, 0xB641AE8CB691C174u},
};
enum { VECTORS = sizeof vectors / sizeof *vectors, ALL = 600 };

/* The algorithm from its specification, for strings below and beyond its stripes of 32 bytes. */
static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static uint64_t rotated(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }
static uint64_t round_of(uint64_t lane, uint64_t input) {
  return rotated(lane + input * P2, 31) * P1;
}
static uint64_t number(const uint8_t *bytes, int len) {
  uint64_t value = 0;
  while (len-- > 0) value = value << 8 | bytes[len];
  return value;
}

static uint64_t specified(const uint8_t *at, size_t len) {
  const uint8_t *end = at + len;
  uint64_t hash = P5, lanes[4] = {P1 + P2, P2, 0, 0};
  int lane;
  lanes[3] -= P1;
  if (len >= 32) {
    for (; end - at >= 32; at += 32)
      for (lane = 0; lane < 4; lane++) {
        lanes[lane] = round_of(lanes[lane], number(at + 8 * lane, 8));
      }
    hash =
        rotated(lanes[0], 1) + rotated(lanes[1], 7) + rotated(lanes[2], 12) + rotated(lanes[3], 18);
    for (lane = 0; lane < 4; lane++) hash = (hash ^ round_of(0, lanes[lane])) * P1 + P4;
  }
  hash += len;
  for (; end - at >= 8; at += 8) hash = rotated(hash ^ round_of(0, number(at, 8)), 27) * P1 + P4;
  if (end - at >= 4) {
    hash = rotated(hash ^ number(at, 4) * P1, 23) * P2 + P3;
    at += 4;
  }
  for (; at < end; at++) hash = rotated(hash ^ *at * P5, 11) * P1;
  hash = (hash ^ hash >> 33) * P2;
  hash = (hash ^ hash >> 29) * P3;
  return hash ^ hash >> 32;
}

int main(void) {
  static uint8_t buffer[ALL + 8];
  static uint8_t strings[ALL * (ALL + 1) / 2];
  static uint64_t ends[ALL];
  static int64_t keys[ALL];
  uint64_t state = 2654435761u;
  size_t len, at = 0;
  int64_t key = 7;
  for (len = 0; len < sizeof buffer; len++) {
    buffer[len] = (uint8_t)(state >> 56);
    state *= 11400714785074694797u;
  }
  for (len = 0; len < VECTORS; len++) {
    CHECK_OK(damo_key_hash(buffer, vectors[len].len, &key));
    CHECK((uint64_t)key == vectors[len].digest);
    CHECK(specified(buffer, vectors[len].len) == vectors[len].digest);
  }
  /* Every length, at every alignment, with NULs and bytes above 127 in it. */
  for (len = 0; len < ALL; len++) {
    CHECK_OK(damo_key_hash(buffer + len % 8, len, &key));
    CHECK((uint64_t)key == specified(buffer + len % 8, len));
  }
  /* All of them in one call. */
  for (len = 0; len < ALL; len++) {
    memcpy(strings + at, buffer, len);
    at += len;
    ends[len] = at;
  }
  CHECK_OK(damo_key_hash_batch(strings, at, ends, ALL, keys, ALL));
  for (len = 0; len < ALL; len++) CHECK((uint64_t)keys[len] == specified(buffer, len));
  CHECK_OK(damo_key_hash_batch(NULL, 0, NULL, 0, NULL, 0));
  CHECK_OK(damo_key_hash(NULL, 0, &key));
  CHECK((uint64_t)key == vectors[0].digest);

  CHECK_FAILS(damo_key_hash(NULL, 3, &key), DAMO_STATUS_INVALID_ARGUMENT, "bytes is NULL");
  CHECK_FAILS(damo_key_hash(buffer, 3, NULL), DAMO_STATUS_INVALID_ARGUMENT, "key is NULL");
  CHECK_FAILS(damo_key_hash_batch(strings, at, ends, ALL, keys, ALL - 1),
              DAMO_STATUS_INVALID_ARGUMENT, "keys_len is 599");
  /* Keys in the memory that they are made from would change it while it is read. */
  static union {
    uint8_t bytes[64];
    uint64_t ends[8];
    int64_t keys[8];
  } shared;
  for (len = 0; len < 8; len++) shared.ends[len] = len;
  CHECK_FAILS(damo_key_hash_batch(buffer, 8, shared.ends, 8, shared.keys, 8),
              DAMO_STATUS_INVALID_ARGUMENT, "ends (", "keys (", "overlap");
  CHECK_FAILS(damo_key_hash_batch(buffer, 8, shared.ends, 7, shared.keys + 1, 7),
              DAMO_STATUS_INVALID_ARGUMENT, "overlap");
  CHECK_FAILS(damo_key_hash_batch(shared.bytes, 64, ends, 8, shared.keys, 8),
              DAMO_STATUS_INVALID_ARGUMENT, "bytes (", "overlap");
  CHECK_FAILS(damo_key_hash_batch(shared.bytes, 57, ends, 1, shared.keys + 7, 1),
              DAMO_STATUS_INVALID_ARGUMENT, "overlap");
  CHECK_FAILS(damo_key_hash(shared.bytes, 9, shared.keys + 1), DAMO_STATUS_INVALID_ARGUMENT,
              "overlap");
  for (len = 0; len < 8; len++) CHECK(shared.ends[len] == len);
  /* Adjacent memory does not overlap, and strings may end before the last of the bytes. */
  CHECK_OK(damo_key_hash(shared.bytes, 56, shared.keys + 7));
  CHECK_OK(damo_key_hash_batch(buffer, 8, shared.ends, 4, shared.keys + 4, 4));
  CHECK_OK(damo_key_hash_batch(shared.bytes, 32, shared.ends, 4, keys, 4));
  CHECK((uint64_t)keys[3] == specified(shared.bytes + 2, 1));

  ends[5] = ends[4] - 1;
  CHECK_FAILS(damo_key_hash_batch(strings, at, ends, ALL, keys, ALL), DAMO_STATUS_INVALID_ARGUMENT,
              "ends[5]");
  return 0;
}

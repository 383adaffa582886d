// Keys from text, and other places that need a well-mixed 64-bit number.
#pragma once

#include <cstdint>
#include <string_view>

// The finaliser of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output
// bit.
inline std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// FNV-1a, 64 bits; `hash` chains several pieces of text.
inline std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325u) {
  for (const char byte : text) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  }
  return hash;
}

// The row of one category of one column. The column's name is part of the hash: "7" in the column
// user_id and "7" in item_id are two features. There is no vocabulary to build and none to
// overflow, since damo makes a row for any key, and with 63 bits two of a hundred million features
// collide with a chance of about 1 in 2,000. FNV alone leaves short tokens close together, hence
// the mix. The sign bit is cleared so that no feature can be the key of the bias, which is
// negative.
inline std::int64_t feature_key(std::string_view column, std::string_view token) {
  const std::uint64_t hash = fnv1a(token, fnv1a("=", fnv1a(column)));
  return static_cast<std::int64_t>(mix64(hash) >> 1);
}

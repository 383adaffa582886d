#include "text_file.hpp"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

text_file::text_file(const std::string& path) : path_(path) {
  // A directory opens like a file and only fails when read, without saying why.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) throw input_error(path + ": is a directory");
  errno = 0;
  stream_.open(path);
  if (!stream_) {
    throw input_error(path + ": " + (errno != 0 ? std::strerror(errno) : "cannot be opened"));
  }
}

// Names the format of a file that is not text, by its first bytes.
static const char* not_text(std::string_view start) {
  struct signature {
    std::string_view bytes;
    const char* problem;
  };
  static constexpr signature signatures[] = {
    {"\x1f\x8b", "is gzip-compressed; decompress it first"},
    {"\x28\xb5\x2f\xfd", "is zstd-compressed; decompress it first"},
    {"\xfd" "7zXZ", "is xz-compressed; decompress it first"},
    {"BZh", "is bzip2-compressed; decompress it first"},
    {"\x04\x22\x4d\x18", "is lz4-compressed; decompress it first"},
    {"PK\x03\x04", "is a zip archive; unpack it first"},
    {"\xff\xfe", "is UTF-16 or UTF-32 text; convert it to UTF-8 first"},
    {"\xfe\xff", "is UTF-16 or UTF-32 text; convert it to UTF-8 first"},
  };
  for (const signature& known : signatures) {
    if (start.substr(0, known.bytes.size()) == known.bytes) return known.problem;
  }
  return nullptr;
}

void text_file::open_first_line() {
  if (const char* problem = not_text(line_)) throw input_error(path_ + ": " + problem);
  constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
  if (line_.compare(0, byte_order_mark.size(), byte_order_mark) == 0) {
    line_.erase(0, byte_order_mark.size());
  }
}

bool text_file::next() {
  while (std::getline(stream_, line_)) {
    if (++number_ == 1) open_first_line();
    while (!line_.empty() && line_.back() == '\r') line_.pop_back();
    if (line_.find('\0') != std::string::npos) fail("has a NUL byte; text in UTF-8 was expected");
    if (line_.find('\r') != std::string::npos) {
      fail("has a carriage return inside; lines should end with LF or CR LF");
    }
    if (line_.find_first_not_of(" \t") != std::string::npos) return true;
  }
  if (stream_.bad()) {
    throw input_error(path_ + ": cannot be read beyond line " + std::to_string(number_));
  }
  return false;
}

void text_file::fail(const std::string& problem) const {
  throw input_error(path_ + ":" + std::to_string(number_) + ": " + problem);
}

std::optional<std::int64_t> parse_int(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// strtod, because from_chars for floating point is still missing from some standard libraries.
std::optional<double> parse_number(std::string_view text) {
  // strtod also takes leading blanks, hexadecimal, "inf" and "nan": none of them is a number in a
  // click log.
  if (text.empty() || text.find_first_not_of("+-.0123456789eE") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string copy(text);
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

void split(std::string_view line, char delimiter, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const std::size_t end = line.find(delimiter);
    fields.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return;
    line.remove_prefix(end + 1);
  }
}

std::string_view next_word(std::string_view& rest) {
  const std::size_t start = rest.find_first_not_of(" \t");
  if (start == std::string_view::npos) {
    rest = {};
    return {};
  }
  rest.remove_prefix(start);
  const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
  rest.remove_prefix(word.size());
  return word;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t limit = 40;
  std::string shown;
  for (const char byte : text.substr(0, limit)) shown += byte >= ' ' && byte <= '~' ? byte : '?';
  return "'" + shown + (text.size() > limit ? "...'" : "'");
}

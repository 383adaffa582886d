// Text input: lines, fields and numbers, with errors that say where ("train.csv:17: ...").
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

// Something the user gave is wrong: an option, a path, a line of a file. The exit code is 2.
class input_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A text file read line by line. Removes a byte-order mark and Windows line ends, and skips blank
// lines. Refuses compressed files and UTF-16, told by their first bytes and not by the file's name,
// and lines with NUL bytes or carriage returns inside. Reads the file once, from front to back, so
// a pipe (`train_fm <(zcat log.gz)`) does as well as a file.
class text_file {
 public:
  // Throws input_error when the file cannot be opened.
  explicit text_file(const std::string& path);

  // Steps to the next line; false at the end of the file. line() is valid until the next call.
  bool next();
  std::string_view line() const { return line_; }
  const std::string& path() const { return path_; }

  // Throws input_error "path:line: problem".
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  void open_first_line();

  std::string path_;
  std::ifstream stream_;
  std::string line_;
  std::size_t number_ = 0;
};

// The whole text must be a number: "12x", "", "inf" and "nan" are none.
std::optional<std::int64_t> parse_int(std::string_view text);
std::optional<double> parse_number(std::string_view text);

// The fields of a line, empty ones included; `fields` is reused from line to line.
void split(std::string_view line, char delimiter, std::vector<std::string_view>& fields);

// Takes the next word off the front of `rest`; words are separated by blanks or tabs. Empty at the
// end.
std::string_view next_word(std::string_view& rest);

// 'text' for an error message: shortened, with unprintable bytes as '?'. Users open any file by
// mistake.
std::string quoted(std::string_view text);

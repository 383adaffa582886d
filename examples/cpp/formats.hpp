// The file formats, one reader a file: libfm_format.cpp, criteo_format.cpp, movielens_format.cpp.
//
// examples/README.md says what they take. examples/python/log_formats.py is the same in Python, to
// the text of each error; tests/logs/cases.txt holds the two together.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "sample_sink.hpp"
#include "text_file.hpp"

// A reader gets the file at its first line, which detection has already looked at. It gives the
// samples in the order in which they happened, and throws input_error at the first line it cannot
// understand: a log that is silently half read trains a silently worse model. It returns the
// columns that became features, in the order in which each sample has them; libFM text has no
// columns.
std::vector<std::string> read_libfm(text_file& file, sample_sink& sink);
std::vector<std::string> read_criteo(text_file& file, sample_sink& sink);
std::vector<std::string> read_movielens(text_file& file, sample_sink& sink);

// Is this a first line of that format? Content decides, since names like train.txt say nothing.
bool looks_like_libfm(std::string_view first_line);
bool looks_like_criteo(std::string_view first_line);
bool looks_like_movielens(std::string_view first_line);

struct log_format {
  const char* name;
  bool (*looks_like)(std::string_view first_line);
  std::vector<std::string> (*read)(text_file& file, sample_sink& sink);
};

// The order in which the formats are tried on a first line.
inline constexpr std::array<log_format, 3> log_formats{{
  {"movielens", looks_like_movielens, read_movielens},
  {"criteo", looks_like_criteo, read_criteo},
  {"libfm", looks_like_libfm, read_libfm},
}};

// "movielens, criteo, libfm", for messages.
std::string format_names();

// Null when there is no format of that name.
const log_format* find_format(std::string_view name);

// What a file was found to be.
struct log_shape {
  std::string path;
  const log_format* format;
  std::vector<std::string> columns;
};

// Reads a whole file. If `format` is null, the first line decides. Throws input_error for a file
// that cannot be opened, holds no sample or is malformed.
log_shape read_log(const std::string& path, const log_format* format, sample_sink& sink);

// Throws input_error when a model of the one file's columns cannot be measured on the other's.
void check_alike(const log_shape& train, const log_shape& test);

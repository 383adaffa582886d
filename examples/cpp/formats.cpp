#include "formats.hpp"

#include <algorithm>

std::string format_names() {
  std::string names;
  for (const log_format& format : log_formats) {
    if (!names.empty()) names += ", ";
    names += format.name;
  }
  return names;
}

const log_format* find_format(std::string_view name) {
  for (const log_format& format : log_formats) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

static const log_format& detect_format(const text_file& file) {
  for (const log_format& format : log_formats) {
    if (format.looks_like(file.line())) return format;
  }
  file.fail("line " + quoted(file.line()) +
            " should be LABEL ID:VALUE ... (libfm), a header Id,Label,I1,... (criteo), or a " +
            "header with user_id, item_id, rating and timestamp between tabs (movielens)");
}

log_shape read_log(const std::string& path, const log_format* format, sample_sink& sink) {
  text_file file(path);
  if (!file.next()) throw input_error(path + ": is empty");
  if (format == nullptr) format = &detect_format(file);
  return {path, format, format->read(file, sink)};
}

void check_alike(const log_shape& train, const log_shape& test) {
  if (train.format != test.format) {
    throw input_error(test.path + ": is " + test.format->name + ", and should be " +
                      train.format->name + " as " + train.path + " is");
  }
  const auto lacks = [](const log_shape& log, const log_shape& other) -> const std::string* {
    for (const std::string& column : other.columns) {
      if (std::find(log.columns.begin(), log.columns.end(), column) == log.columns.end()) {
        return &column;
      }
    }
    return nullptr;
  };
  if (const std::string* column = lacks(test, train)) {
    throw input_error(test.path + ": has no column " + *column + ", which " + train.path + " has");
  }
  if (const std::string* column = lacks(train, test)) {
    throw input_error(test.path + ": has a column " + *column + ", which " + train.path +
                      " does not have");
  }
}

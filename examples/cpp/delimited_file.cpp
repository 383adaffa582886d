#include "delimited_file.hpp"

#include <algorithm>

namespace {

constexpr const char* properly_quoted = "quoted from end to end, with quotes inside doubled";

// Where the quoted text at the start of `text` ends: the place after its closing quote, or npos
// without one.
std::size_t end_of_quoted(std::string_view text) {
  for (std::size_t at = 1;;) {
    at = text.find('"', at);
    if (at == std::string_view::npos) return at;
    if (at + 1 == text.size() || text[at + 1] != '"') return at + 1;
    at += 2;
  }
}

}  // namespace

delimited_file::delimited_file(text_file& file, char delimiter)
    : file_(file), delimiter_(delimiter) {
  split_line();
  unquoted_.resize(fields_.size());
  for (std::size_t i = 0; i < fields_.size(); ++i) names_.emplace_back(field(i));
}

void delimited_file::drop_types() {
  for (std::string& name : names_) name.resize(std::min(name.find(':'), name.size()));
}

void delimited_file::check_names_differ() const {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    for (std::size_t earlier = 0; earlier < i; ++earlier) {
      if (names_[earlier] == names_[i]) {
        fail_field(i, "another name: column " + std::to_string(earlier + 1) + " has it");
      }
    }
  }
}

bool delimited_file::next() {
  in_header_ = false;
  if (!file_.next()) {
    if (!any_row_) throw input_error(file_.path() + ": has a header but no samples");
    return false;
  }
  any_row_ = true;
  split_line();
  if (fields_.size() != names_.size()) {
    file_.fail("has " + std::to_string(fields_.size()) + " fields, the header has " +
               std::to_string(names_.size()));
  }
  return true;
}

void delimited_file::split_line() {
  std::string_view rest = file_.line();
  if (delimiter_ != ',' || rest.find('"') == std::string_view::npos) {
    split(rest, delimiter_, fields_);
    return;
  }
  fields_.clear();
  for (;;) {
    std::size_t end = 0;
    if (!rest.empty() && rest.front() == '"') {
      end = end_of_quoted(rest);
      if (end == std::string_view::npos || (end < rest.size() && rest[end] != delimiter_)) {
        file_.fail("column " + std::to_string(fields_.size() + 1) + " " + quoted(rest) +
                   " should be " + properly_quoted);
      }
    } else {
      end = std::min(rest.find(delimiter_), rest.size());
    }
    fields_.push_back(rest.substr(0, end));
    if (end == rest.size()) return;
    rest.remove_prefix(end + 1);
  }
}

std::string_view delimited_file::field(std::size_t column) {
  const std::string_view raw = fields_[column];
  if (raw.empty() || raw.front() != '"') return raw;
  if (end_of_quoted(raw) != raw.size()) fail_field(column, properly_quoted);
  const std::string_view inside = raw.substr(1, raw.size() - 2);
  if (inside.find('"') == std::string_view::npos) return inside;
  std::string& text = unquoted_[column];
  text.clear();
  for (std::size_t i = 0; i < inside.size(); ++i) {
    text += inside[i];
    if (inside[i] == '"') ++i;  // the second of two
  }
  return text;
}

void delimited_file::fail_field(std::size_t column, const std::string& expected) const {
  const std::string name = in_header_ ? "column " + std::to_string(column + 1) : names_[column];
  file_.fail(name + " " + quoted(fields_[column]) + " should be " + expected);
}

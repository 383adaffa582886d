// Text with a header: the first line names the columns, and every line after it has a field for
// each.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text_file.hpp"

// A field may be quoted: "68fd1e64" and 68fd1e64 are the same token. Between commas, quoted text
// may hold commas; quotes inside it are doubled. Tabs always separate, since titles in
// tab-separated logs hold quotes of their own. A quoted field ends in the line where it starts.
class delimited_file {
 public:
  // `file` stands on the header.
  delimited_file(text_file& file, char delimiter);

  const std::vector<std::string>& names() const { return names_; }

  // A header says `name:type`: keeps the names. Fails when two columns have the same name.
  void drop_types();
  void check_names_differ() const;

  // Steps to the next row. Fails when it has more or fewer fields than the header, or there is no
  // row at all.
  bool next();
  // A field of this row without its quotes; valid until the next row.
  std::string_view field(std::size_t column);

  // Fails with "NAME 'VALUE' should be EXPECTED", for a field of this row or of the header.
  [[noreturn]] void fail_field(std::size_t column, const std::string& expected) const;

 private:
  void split_line();

  text_file& file_;
  char delimiter_;
  std::vector<std::string> names_;
  std::vector<std::string_view> fields_;  // with their quotes
  std::vector<std::string> unquoted_;     // of those fields that hold a doubled quote
  bool in_header_ = true;
  bool any_row_ = false;
};

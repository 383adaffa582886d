// The Criteo display-advertising log as CSV: `Id,Label,I1..I13,C1..C26`. I columns count something
// (integers, now and then negative), C columns are tokens. Columns are found by name, in any order,
// and any subset of them will do.
//
//     Id,Label,I1,I2,C1,C2
//     10000000,0,1,,68fd1e64,
//
// An empty field is a count or a token that is not known.
#include <algorithm>
#include <tuple>

#include "delimited_file.hpp"
#include "formats.hpp"

namespace {

struct feature_column {
  char kind;            // 'I': a count; 'C': a token
  std::size_t number;   // in the name
  std::size_t place;    // in the line
};

struct criteo_header {
  std::size_t label = 0;
  std::vector<feature_column> features;  // I1, I2, ..., C1, C2, ..., wherever they are in the line
};

// The number of I7 or C26: digits without a leading zero, so that a column has one name.
std::optional<std::size_t> column_number(std::string_view name) {
  if (name.size() < 2 || name.size() > 9 || (name[0] != 'I' && name[0] != 'C')) return std::nullopt;
  name.remove_prefix(1);
  if (name.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  if (name[0] == '0' && name.size() > 1) return std::nullopt;
  return static_cast<std::size_t>(*parse_int(name));
}

criteo_header parse_header(const text_file& file, const delimited_file& rows) {
  rows.check_names_differ();
  criteo_header header;
  bool has_label = false;
  for (std::size_t i = 0; i < rows.names().size(); ++i) {
    const std::string& name = rows.names()[i];
    if (name == "Label") {
      header.label = i;
      has_label = true;
    } else if (const auto number = column_number(name)) {
      header.features.push_back({name[0], *number, i});
    } else if (name != "Id") {
      rows.fail_field(i, "Id, Label, I1, I2, ... or C1, C2, ...");
    }
  }
  if (!has_label) file.fail("the header has no column Label");
  if (header.features.empty()) file.fail("the header has no column I1, I2, ... or C1, C2, ...");
  std::sort(header.features.begin(), header.features.end(),
            [](const feature_column& a, const feature_column& b) {
              return std::make_tuple(a.kind == 'C', a.number) <
                     std::make_tuple(b.kind == 'C', b.number);
            });
  return header;
}

}  // namespace

bool looks_like_criteo(std::string_view first_line) {
  std::vector<std::string_view> names;
  split(first_line, ',', names);
  return std::any_of(names.begin(), names.end(),
                     [](std::string_view name) { return name == "Label" || name == "\"Label\""; });
}

std::vector<std::string> read_criteo(text_file& file, sample_sink& sink) {
  delimited_file rows(file, ',');
  const criteo_header header = parse_header(file, rows);
  std::vector<std::string> columns;
  for (const feature_column& column : header.features) {
    columns.push_back(rows.names()[column.place]);
  }

  while (rows.next()) {
    const std::string_view label = rows.field(header.label);
    if (label != "0" && label != "1") rows.fail_field(header.label, "0 or 1");
    const bool clicked = label == "1";
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto& [kind, number, place] = header.features[i];
      const std::string_view field = rows.field(place);
      if (kind == 'C') {
        sink.token(columns[i], field);
        continue;
      }
      const auto count = parse_int(field);
      if (!count && !field.empty()) {
        rows.fail_field(place,
                        "empty or an integer from -9223372036854775808 to 9223372036854775807");
      }
      sink.count(columns[i], count);
    }
    sink.end_sample(clicked);
  }
  return columns;
}

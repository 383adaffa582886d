#include "movielens_ads.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string_view>
#include <utility>

#include "delimited_file.hpp"
#include "hashing.hpp"
#include "text_file.hpp"

namespace {

constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

std::size_t place_of(const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? nowhere : static_cast<std::size_t>(found - names.begin());
}

// A number from 0 to about 1; 0 for what is none.
float scaled(const std::string& text, double least, double span) {
  const auto number = parse_number(text);
  return number ? static_cast<float>((*number - least) / span) : 0.0f;
}

}  // namespace

side_table::side_table(const std::string& log, const char* extension, const std::string& key,
                       const std::vector<std::string>& fields)
    : unknown_(fields.size()) {
  const std::filesystem::path path = std::filesystem::path(log).replace_extension(extension);
  if (path == log || !std::filesystem::is_regular_file(path)) return;
  text_file file(path.string());
  if (!file.next()) throw input_error(path.string() + ": is empty");
  delimited_file rows(file, '\t');
  rows.drop_types();
  rows.check_names_differ();
  const std::size_t key_place = place_of(rows.names(), key);
  if (key_place == nowhere) file.fail("the header has no column " + key);
  std::vector<std::size_t> places;
  for (const std::string& field : fields) places.push_back(place_of(rows.names(), field));
  while (rows.next()) {
    std::vector<std::string> row;
    for (const std::size_t place : places) {
      row.emplace_back(place == nowhere ? std::string_view() : rows.field(place));
    }
    const bool is_new = known_.emplace(rows.field(key_place), std::move(row)).second;
    if (!is_new) rows.fail_field(key_place, "there once");
  }
}

const std::vector<std::string>& side_table::of(const std::string& key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? unknown_ : found->second;
}

movielens_ads::movielens_ads(const std::string& log)
    : users_(log, ".user", "user_id", {"age", "gender", "occupation"}),
      items_(log, ".item", "item_id", {"release_year", "class"}) {}

// user, item, age, gender, occupation, year, genres
ad_layout movielens_ads::layout() { return {2, {16, 16, 8, 4, 8, 8, 8}}; }

void movielens_ads::add(const std::string& user, const std::string& item, ad_log& log) const {
  const std::vector<std::string>& of_user = users_.of(user);
  const std::vector<std::string>& of_item = items_.of(item);
  log.numbers.push_back(scaled(of_user[0], 0, 100));
  log.numbers.push_back(scaled(of_item[0], 1900, 100));
  const std::array<std::pair<const char*, const std::string*>, 6> columns{{
    {"user", &user},
    {"item", &item},
    {"age", &of_user[0]},
    {"gender", &of_user[1]},
    {"occupation", &of_user[2]},
    {"year", &of_item[0]},
  }};
  for (std::size_t c = 0; c < columns.size(); ++c) {
    log.keys[c].push_back(feature_key(columns[c].first, *columns[c].second));
  }
  std::string_view rest = of_item[1];
  for (std::string_view genre = next_word(rest); !genre.empty(); genre = next_word(rest)) {
    log.bags.push_back(feature_key("genres", genre));
  }
}

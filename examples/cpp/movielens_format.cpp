// MovieLens ratings as RecBole's `.inter`: tab-separated with a header of `name:type`, columns
// found by name.
//
//     user_id:token   item_id:token   rating:float   timestamp:float
//     196             242             3              881250949
//
// A rating of 4 or 5 stars is the click. The samples come in time order, whatever the order of the
// lines, so that holding out the last of them asks the question a recommender faces: what happens
// next?
#include <algorithm>

#include "delimited_file.hpp"
#include "formats.hpp"

namespace {

constexpr double clicked_from = 4.0;
constexpr double most_stars = 5.0;

constexpr std::array<std::string_view, 4> wanted{"user_id", "item_id", "rating", "timestamp"};

struct event {
  double time;
  bool clicked;
  std::string user;
  std::string item;
};

// Where the wanted columns are, in their order.
std::array<std::size_t, 4> find_columns(const text_file& file, delimited_file& rows) {
  rows.drop_types();
  rows.check_names_differ();
  std::array<std::size_t, 4> places{};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto found = std::find(rows.names().begin(), rows.names().end(), wanted[i]);
    if (found == rows.names().end()) {
      file.fail("the header has no column " + std::string(wanted[i]) +
                "; it should have user_id, item_id, rating and timestamp, separated by tabs");
    }
    places[i] = static_cast<std::size_t>(found - rows.names().begin());
  }
  return places;
}

std::string id_field(delimited_file& rows, std::size_t place) {
  const std::string_view id = rows.field(place);
  if (id.empty()) rows.fail_field(place, "an id, not empty");
  return std::string(id);
}

}  // namespace

bool looks_like_movielens(std::string_view first_line) {
  if (first_line.find('\t') == std::string_view::npos) return false;
  return std::any_of(wanted.begin(), wanted.end(), [&](std::string_view name) {
    return first_line.find(name) != std::string_view::npos;
  });
}

std::vector<std::string> read_movielens(text_file& file, sample_sink& sink) {
  delimited_file rows(file, '\t');
  const auto [user, item, rating, timestamp] = find_columns(file, rows);
  std::vector<event> events;
  while (rows.next()) {
    event happened;
    happened.user = id_field(rows, user);
    happened.item = id_field(rows, item);
    const auto stars = parse_number(rows.field(rating));
    if (!stars || *stars < 0 || *stars > most_stars) {
      rows.fail_field(rating, "a number from 0 to 5");
    }
    happened.clicked = *stars >= clicked_from;
    const auto time = parse_number(rows.field(timestamp));
    if (!time) rows.fail_field(timestamp, "a number");
    happened.time = *time;
    events.push_back(std::move(happened));
  }

  // Stable, because a user rates several films in the same second and the file's order is all we
  // know of them.
  std::stable_sort(events.begin(), events.end(),
                   [](const event& a, const event& b) { return a.time < b.time; });
  for (const event& happened : events) {
    sink.token("user_id", happened.user);
    sink.token("item_id", happened.item);
    sink.end_sample(happened.clicked);
  }
  return {"user_id", "item_id"};
}

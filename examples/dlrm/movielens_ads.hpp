// MovieLens's samples: the user and the film, and what the tables .user and .item beside the log
// know of them. The bag has the film's genres. The numbers are the user's age and the film's year.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "ad_log.hpp"

// Fields of users or films, from a table beside the log: tabs between, under a header of
// `name:type`.
class side_table {
 public:
  // Reads the columns `fields`, by the column `key`. Without the file nothing is known. Throws
  // input_error.
  side_table(const std::string& log, const char* extension, const std::string& key,
             const std::vector<std::string>& fields);

  // The fields of a user or film; empty texts for what the table does not say.
  const std::vector<std::string>& of(const std::string& key) const;

 private:
  std::unordered_map<std::string, std::vector<std::string>> known_;
  std::vector<std::string> unknown_;
};

class movielens_ads {
 public:
  // Reads the tables beside the log. Throws input_error.
  explicit movielens_ads(const std::string& log);

  static ad_layout layout();

  // Adds the features of a sample to `log`, which has layout().
  void add(const std::string& user, const std::string& item, ad_log& log) const;

 private:
  side_table users_;
  side_table items_;
};

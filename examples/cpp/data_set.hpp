// What to train on and what to hold out.
#pragma once

#include <optional>
#include <string>

#include "click_log.hpp"
#include "options.hpp"

struct data_set {
  click_log train;
  click_log test;                  // held out: never trained on
  std::string description;         // where it came from, for the user
  std::optional<double> best_auc;  // of the true probabilities on `test`, when they are known
};

// Loads the files of the command line. Without any it takes Frappe if that lies beside the
// checkout, otherwise a generated log. Of a single file it holds out the last 20 %. Neither part is
// ever empty.
data_set load_data(const command_line& chosen);

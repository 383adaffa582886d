// The command line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "formats.hpp"

struct command_line {
  std::vector<std::string> files;      // none, TRAIN, or TRAIN and TEST
  const log_format* format = nullptr;  // null: told apart by their first line
  bool generated = false;

  std::int64_t epochs = 5;
  std::size_t batch = 512;
  std::size_t dim = 8;
  std::string optimizer = "adam";
  // Twice the 0.01 that suits PyTorch's SparseAdam. SparseAdam corrects its bias by the step of the
  // whole table, so a row it meets late starts with steps three times too long. damo counts the
  // updates of each row.
  double learning_rate = 0.02;
  std::int64_t seed = 42;

  std::string store;         // empty: a temporary one
  std::string save_weights;  // empty: nowhere
  bool help = false;
};

// Throws input_error for an option that is unknown, lacks its value or has a bad one.
command_line parse_command_line(int argc, const char* const* argv);

std::string usage();

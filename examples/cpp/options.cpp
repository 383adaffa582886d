#include "options.hpp"

#include <algorithm>
#include <limits>

#include "text_file.hpp"

namespace {

struct option_spec {
  const char* name;
  const char* value;  // how --help calls the value; null for a switch, which takes none
  const char* help;
  void (*set)(command_line& chosen, const std::string& value);
};

[[noreturn]] void bad_value(const std::string& name, const std::string& value,
                            const std::string& accepted) {
  throw input_error(name + " " + quoted(value) + " should be " + accepted);
}

std::int64_t integer(const std::string& name, const std::string& value, std::int64_t min,
                     std::int64_t max) {
  const auto number = parse_int(value);
  if (!number || *number < min || *number > max) {
    bad_value(name, value, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return *number;
}

void set_format(command_line& chosen, const std::string& value) {
  chosen.format = find_format(value);
  if (chosen.format == nullptr) bad_value("--format", value, "one of " + format_names());
}

void set_learning_rate(command_line& chosen, const std::string& value) {
  const auto number = parse_number(value);
  if (!number || *number <= 0) bad_value("--learning-rate", value, "a number above 0");
  chosen.learning_rate = *number;
}

// One table for parsing and for --help, so that the two agree. The optimizer's name is not checked
// here: the library knows which ones it has.
const option_spec table[] = {
  {"--format", "NAME",
   "libfm, criteo or movielens (examples/README.md); told from the first line when not given",
   set_format},
  {"--generated", nullptr, "train on a generated click log, whose best possible AUC is known",
   [](command_line& c, const std::string&) { c.generated = true; }},
  {"--epochs", "N", "passes over the training samples (5); 0 only evaluates",
   [](command_line& c, const std::string& v) {
     c.epochs = integer("--epochs", v, 0, 1'000'000);
   }},
  {"--batch", "N", "samples a step (512)",
   [](command_line& c, const std::string& v) {
     c.batch = static_cast<std::size_t>(integer("--batch", v, 1, 1'000'000));
   }},
  {"--dim", "K", "factors a feature (8)",
   [](command_line& c, const std::string& v) {
     c.dim = static_cast<std::size_t>(integer("--dim", v, 1, 1024));
   }},
  {"--optimizer", "NAME", "any optimizer of damo, such as adam, adagrad, ftrl, sgd (adam)",
   [](command_line& c, const std::string& v) { c.optimizer = v; }},
  {"--learning-rate", "RATE", "of the optimizer (0.02, which suits adam; sgd wants 1)",
   set_learning_rate},
  {"--seed", "N", "of the initial factors and of the order of the samples (42)",
   [](command_line& c, const std::string& v) {
     c.seed = integer("--seed", v, 0, std::numeric_limits<std::int64_t>::max());
   }},
  {"--store", "DIR",
   "keep the model there, and go on from the one it holds; otherwise a temporary directory",
   [](command_line& c, const std::string& v) { c.store = v; }},
  {"--save-weights", "FILE",
   "write the trained weights there, sorted by key (layout: weight_file.hpp)",
   [](command_line& c, const std::string& v) { c.save_weights = v; }},
  {"--help", nullptr, "this text", [](command_line& c, const std::string&) { c.help = true; }},
};

const option_spec* find_option(const std::string& name) {
  for (const option_spec& option : table) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

}  // namespace

command_line parse_command_line(int argc, const char* const* argv) {
  command_line chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.empty()) {
      throw input_error("an argument is empty; a file name or an option is needed");
    }
    if (argument[0] != '-') {
      chosen.files.push_back(argument);
      continue;
    }
    // --name value, or --name=value
    const std::size_t equals = argument.find('=');
    const bool joined = equals != std::string::npos;
    const std::string name = argument.substr(0, equals);
    const option_spec* option = find_option(name == "-h" ? "--help" : name);
    if (option == nullptr) {
      throw input_error("unknown option " + quoted(name) + "; --help lists them");
    }

    std::string value = joined ? argument.substr(equals + 1) : "";
    if (option->value == nullptr) {
      if (joined) throw input_error(name + " takes no value");
    } else {
      // `--store --dim 4` lacks a directory; it does not ask for one called --dim.
      if (!joined && i + 1 < argc && std::string(argv[i + 1]).rfind("--", 0) != 0) {
        value = argv[++i];
      }
      if (value.empty()) throw input_error(name + " needs a value: " + name + " " + option->value);
    }
    option->set(chosen, value);
  }
  if (chosen.help) return chosen;

  if (chosen.files.size() > 2) throw input_error("more than two files: " + quoted(chosen.files[2]));
  if (chosen.generated && !chosen.files.empty()) {
    throw input_error("--generated and " + quoted(chosen.files[0]) +
                      ": train on the one or the other");
  }
  if (chosen.format != nullptr && chosen.files.empty()) {
    throw input_error("--format without a TRAIN_FILE");
  }
  return chosen;
}

std::string usage() {
  std::string text =
      "usage: train_fm [TRAIN_FILE [TEST_FILE]] [options]\n"
      "\n"
      "Trains a factorization machine on a click log, with every parameter a row in a damo store.\n"
      "Without TEST_FILE the last 20 % of TRAIN_FILE are held out (the latest, where the log has "
      "times).\n"
      "Without TRAIN_FILE it takes Frappe from ../shared/data, beside the checkout, or else "
      "generates a log.\n"
      "\n";
  for (const option_spec& option : table) {
    std::string left = std::string("  ") + option.name;
    if (option.value != nullptr) left += std::string(" ") + option.value;
    left.resize(std::max<std::size_t>(left.size() + 2, 26), ' ');
    text += left + option.help + "\n";
  }
  return text +
         "\nExit code: 0; 1 when the run failed; 2 when an option or a file is not as it should "
         "be.\n";
}

// libFM text (also SVMlight): a line a sample, `label id:value id:value ...`, label 1 for a click,
// -1 or 0 for none.
//
//     -1 138:1 1296:1 5041:1
//
// Extensions of related formats mean something else and are refused by name: comments, the qid: of
// rankings, the fields of libFFM, classes other than click and no click.
#include <cmath>
#include <limits>

#include "formats.hpp"

namespace {

// The place of a feature in its line, for messages.
struct word_place {
  const text_file& file;
  std::size_t number;

  [[noreturn]] void fail(std::string_view word, const char* expected) const {
    file.fail("feature " + std::to_string(number) + " " + quoted(word) + " should be ID:VALUE" +
              expected);
  }
};

void read_feature(const word_place& place, std::string_view word, sample_sink& sink) {
  if (word.find('#') != std::string_view::npos) {
    place.fail(word, "; comments are not read: remove them");
  }
  if (word.substr(0, 4) == "qid:") {
    place.fail(word, "; a qid is for rankings, not for clicks: remove it");
  }
  const std::size_t colon = word.find(':');
  if (colon != std::string_view::npos && word.find(':', colon + 1) != std::string_view::npos) {
    place.fail(word, ", not the FIELD:ID:VALUE of libFFM");
  }

  const auto id = parse_int(word.substr(0, colon));
  if (colon == std::string_view::npos || !id || word.front() == '-') {
    place.fail(word, " with an ID from 0 to 9223372036854775807");
  }
  const auto value = parse_number(word.substr(colon + 1));
  if (!value || std::abs(*value) > std::numeric_limits<float>::max()) {
    place.fail(word, " with a number as VALUE that fits into a float32");
  }
  sink.id(*id, static_cast<float>(*value));
}

// A log writes no click as 0 or as -1. One with both has three classes, or samples without a label.
class label_reader {
 public:
  bool read(const text_file& file, std::string_view word) {
    const auto label = parse_number(word);
    if (!label || (*label != 1 && *label != 0 && *label != -1)) {
      const bool comment = word.substr(0, 1) == "#";
      file.fail("label " + quoted(word) + " should be 1, or -1 or 0" +
                (comment ? "; comments are not read: remove them" : ""));
    }
    if (*label == 1) return true;
    if (not_clicked_.value_or(*label) != *label) {
      file.fail("label " + quoted(word) + " should be 1 or " + (*label == 0 ? "-1" : "0") +
                ", as the lines above have it for no click");
    }
    not_clicked_ = *label;
    return false;
  }

 private:
  std::optional<double> not_clicked_;
};

}  // namespace

bool looks_like_libfm(std::string_view first_line) {
  const std::string_view label = next_word(first_line);
  if (label.substr(0, 1) == "#") return true;  // an SVMlight file that starts with a comment
  const std::string_view feature = next_word(first_line);
  if (feature.empty()) return parse_number(label).has_value();
  return label.find(':') == std::string_view::npos && feature.find(':') != std::string_view::npos;
}

std::vector<std::string> read_libfm(text_file& file, sample_sink& sink) {
  label_reader labels;
  bool any_feature = false;
  do {
    std::string_view rest = file.line();
    const bool clicked = labels.read(file, next_word(rest));
    std::size_t number = 0;
    for (auto word = next_word(rest); !word.empty(); word = next_word(rest)) {
      read_feature({file, ++number}, word, sink);
    }
    any_feature = any_feature || number > 0;
    sink.end_sample(clicked);
  } while (file.next());
  if (!any_feature) throw input_error(file.path() + ": no sample has a feature");
  return {};
}

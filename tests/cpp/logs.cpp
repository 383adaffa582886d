// The readers of examples/cpp against tests/logs/cases.txt, which also tests the Python readers.
//
//     test_cpp_logs SCRATCH           the cases
//     test_cpp_logs --print FILE...   what each file says, or its error, in the words of cases.txt
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "formats.hpp"

namespace {

struct log_case {
  std::string name;
  std::string file = "case.log";
  std::string format;
  std::string input;
  std::string held_out;
  bool has_held_out = false;
  std::vector<std::string> expected;
};

std::string shown(std::string_view text) {
  std::string result;
  for (const char byte : text) {
    char code[5];
    std::snprintf(code, sizeof(code), "\\x%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(byte)));
    result += byte > ' ' && byte <= '~' && byte != '\\' ? std::string(1, byte) : std::string(code);
  }
  return result;
}

// Writes samples as the lines `sample: 1 C1=68fd1e64`.
class written_samples final : public sample_sink {
 public:
  std::vector<std::string> lines;

  void id(std::int64_t id, float value) override {
    char text[64];
    std::snprintf(text, sizeof(text), " %lld:%.9g", static_cast<long long>(id),
                  static_cast<double>(value));
    features_ += text;
  }
  void count(std::string_view column, std::optional<std::int64_t> count) override {
    features_ += " " + std::string(column) + "=" + (count ? std::to_string(*count) : "");
  }
  void token(std::string_view column, std::string_view token) override {
    features_ += " " + std::string(column) + "=" + shown(token);
  }
  void end_sample(bool clicked) override {
    lines.push_back(std::string("sample: ") + (clicked ? "1" : "0") + features_);
    features_.clear();
  }

 private:
  std::string features_;
};

std::string unescaped(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    switch (text.at(++i)) {
      case 't': bytes += '\t'; break;
      case 'r': bytes += '\r'; break;
      case 'n': bytes += '\n'; break;
      case '\\': bytes += '\\'; break;
      case 'x':
        bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
        i += 2;
        break;
      default: throw std::runtime_error("cases.txt: no such escape: " + std::string(text));
    }
  }
  return bytes;
}

// A line of input ends with LF unless it ends in `\`.
std::string input_line(std::string_view text) {
  const bool open =
      text.size() >= 1 && text.back() == '\\' && (text.size() < 2 || text[text.size() - 2] != '\\');
  return open ? unescaped(text.substr(0, text.size() - 1)) : unescaped(text) + "\n";
}

std::vector<log_case> read_cases(const std::string& path) {
  std::ifstream file(path);
  std::vector<log_case> cases;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) throw std::runtime_error("cases.txt: what is this: " + line);
    const std::string key = line.substr(0, colon);
    const std::string value = line.substr(std::min(colon + 2, line.size()));
    if (key == "case") {
      cases.emplace_back();
      cases.back().name = value;
    } else if (key == "file") {
      cases.back().file = value;
    } else if (key == "format") {
      cases.back().format = value;
    } else if (key == "input") {
      cases.back().input += input_line(value);
    } else if (key == "held-out") {
      cases.back().held_out += input_line(value);
      cases.back().has_held_out = true;
    } else if (key == "sample" || key == "error") {
      cases.back().expected.push_back(line);
    } else {
      throw std::runtime_error("cases.txt: what is this: " + line);
    }
  }
  return cases;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string with_name(std::string text, const std::string& path, const char* name) {
  for (std::size_t at = text.find(path); at != std::string::npos; at = text.find(path)) {
    text.replace(at, path.size(), name);
  }
  return text;
}

std::vector<std::string> outcome(const log_case& tried, const std::string& folder) {
  const std::string path = folder + "/" + tried.file;
  const std::string held_out = folder + "/held-out";
  write_file(path, tried.input);
  write_file(held_out, tried.held_out);
  const log_format* format = tried.format.empty() ? nullptr : find_format(tried.format);
  try {
    written_samples samples;
    const log_shape shape = read_log(path, format, samples);
    if (tried.has_held_out) check_alike(shape, read_log(held_out, format, samples));
    return samples.lines;
  } catch (const input_error& error) {
    return {"error: " + with_name(with_name(error.what(), held_out, "HELD-OUT"), path, "FILE")};
  }
}

void print(const std::string& path) {
  try {
    written_samples samples;
    read_log(path, nullptr, samples);
    for (const std::string& line : samples.lines) std::printf("%s\n", line.c_str());
  } catch (const input_error& error) {
    std::printf("error: %s\n", with_name(error.what(), path, "FILE").c_str());
  }
}

int run_cases(const std::string& scratch) {
  const std::vector<log_case> cases = read_cases(std::string(TESTS_DIR) + "/logs/cases.txt");
  if (cases.empty()) throw std::runtime_error("tests/logs/cases.txt has no cases");
  int failures = 0;
  for (const log_case& tried : cases) {
    const std::vector<std::string> got = outcome(tried, scratch);
    if (!tried.expected.empty() && got == tried.expected) continue;
    ++failures;
    std::printf("case %s\n", tried.name.c_str());
    for (const std::string& line : tried.expected) std::printf("  expected  %s\n", line.c_str());
    for (const std::string& line : got) std::printf("  got       %s\n", line.c_str());
  }
  std::printf("%zu cases, %d failed\n", cases.size(), failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("a scratch folder is needed");
    if (std::strcmp(argv[1], "--print") != 0) return run_cases(argv[1]);
    for (int i = 2; i < argc; ++i) print(argv[i]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

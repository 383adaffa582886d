// Where the model is kept.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <stdlib.h>  // mkdtemp is POSIX, not C++,
#include <unistd.h>  // and in this header on macOS

// The directory that the user named, or a fresh temporary one that is removed with this object, on
// errors too. Make it before the model, so that it outlives the model: the store must be closed
// before its files are removed.
class store_directory {
 public:
  explicit store_directory(const std::string& named) : path_(named), temporary_(named.empty()) {
    if (!temporary_) return;
    const char* const chosen = std::getenv("TMPDIR");
    const std::filesystem::path parent = chosen != nullptr && *chosen != '\0' ? chosen : "/tmp";
    const std::string pattern = (parent / "train_fm.XXXXXX").string();
    std::vector<char> name(pattern.c_str(), pattern.c_str() + pattern.size() + 1);
    if (mkdtemp(name.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), "temporary directory " + pattern);
    }
    path_ = name.data();
  }

  ~store_directory() {
    std::error_code ignored;
    if (temporary_) std::filesystem::remove_all(path_, ignored);
  }

  store_directory(const store_directory&) = delete;
  store_directory& operator=(const store_directory&) = delete;

  const std::string& path() const { return path_; }
  bool temporary() const { return temporary_; }

 private:
  std::string path_;
  bool temporary_;
};

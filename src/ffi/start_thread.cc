//! RocksDB starts its threads with std::thread, which throws when the system has none to give just
//! then. Nothing catches that, and the process would end. The linker puts this in the place of the
//! function that starts threads (build.rs): it tries again for a while. src/storage/open.rs makes
//! sure, before a database is opened, that its threads can be had at all.
#include <chrono>
#include <system_error>
#include <thread>

// Its parameters as the ABI passes them: the object, a reference to what runs, and a pointer that
// nobody needs any more. What runs is still there after a failure.
extern "C" void __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, void *state, void (*depend)());

namespace {
constexpr int kAttempts = 500;
constexpr std::chrono::milliseconds kPause{10};
}  // namespace

extern "C" void __wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, void *state, void (*depend)()) {
  for (int attempt = 1;; attempt++) {
    try {
      __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(thread, state,
                                                                                                    depend);
      return;
    } catch (const std::system_error &) {
      if (attempt == kAttempts) throw;
    }
    std::this_thread::sleep_for(kPause);
  }
}

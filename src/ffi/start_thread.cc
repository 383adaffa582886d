//! Starts RocksDB's threads, and tries again for a while when the system has none to give.
//!
//! RocksDB starts its threads with std::thread, which throws when the system has none just then.
//! Nothing catches that, and the process would end. The linker puts this in the place of the
//! function that starts threads (build.rs). src/storage/open.rs makes sure, before a database is
//! opened, that its threads can be had at all.
#include <chrono>
#include <system_error>
#include <thread>

// The parameters are as the ABI passes them: the thread object, a reference to the state that it
// runs, and a pointer that is no longer used. After a failure the state is still there.
extern "C" void
__real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, void *state, void (*depend)());

namespace {
constexpr int kAttempts = 500;
constexpr std::chrono::milliseconds kPause{10};
}  // namespace

extern "C" void
__wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, void *state, void (*depend)()) {
  for (int attempt = 1;; attempt++) {
    try {
      __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
          thread, state, depend);
      return;
    } catch (const std::system_error &) {
      if (attempt == kAttempts) throw;
    }
    std::this_thread::sleep_for(kPause);
  }
}

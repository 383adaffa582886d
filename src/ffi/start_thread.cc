//! Starts RocksDB's threads, and tries again for a while when the system has none to give. A merge
//! does without.
//!
//! RocksDB starts its threads with std::thread, which throws when the system has none just then.
//! Nothing catches that, and the process would end. The linker puts this in the place of the
//! functions that start threads, wait for them, and merge files (build.rs). src/storage/open.rs
//! makes sure, before a database is opened, that its threads can be had at all.
//!
//! A merge of much data is divided, and starts a thread for each part but one. It does so at any
//! time, long after opening. A part whose thread cannot be made runs on the merge's own thread.
#include <chrono>
#include <new>
#include <system_error>
#include <thread>

// The parameters are as the ABI passes them: the thread object, a reference to the state that it
// runs, and a pointer that is no longer used. After a failure the state is still there.
extern "C" void
__real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, std::thread::_State_ptr *state, void (*depend)());
extern "C" void __real__ZNSt6thread4joinEv(std::thread *thread);

namespace {
constexpr int kAttempts = 500;
constexpr std::chrono::milliseconds kPause{10};

// Whether this thread is merging. Only the parts of the merge then start on it.
thread_local bool is_merging = false;

struct Merging {
  Merging() { is_merging = true; }
  ~Merging() { is_merging = false; }
};
}  // namespace

// Stands for rocksdb::Status. Since it has a destructor, a function returns it through a pointer,
// which is handed on.
struct MergeOutcome {
  MergeOutcome(const MergeOutcome &) = delete;
  ~MergeOutcome() {}
  char content;
};

// rocksdb::CompactionJob::Run, and what takes its place.
MergeOutcome run(void *job) __asm__("__real__ZN7rocksdb13CompactionJob3RunEv");
MergeOutcome run_noted(void *job) __asm__("__wrap__ZN7rocksdb13CompactionJob3RunEv");

extern "C" void
__wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    void *thread, std::thread::_State_ptr *state, void (*depend)()) {
  for (int attempt = 1;; attempt++) {
    try {
      __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
          thread, state, depend);
      return;
    } catch (const std::system_error &) {
      if (attempt == kAttempts && !is_merging) throw;
    }
    if (is_merging) {
      // The C library has written a handle of no thread. Without it there is none to wait for.
      ::new (thread) std::thread;
      (*state)->_M_run();
      return;
    }
    std::this_thread::sleep_for(kPause);
  }
}

// A part that ran on the merge's own thread has none to wait for.
extern "C" void __wrap__ZNSt6thread4joinEv(std::thread *thread) {
  if (!is_merging || thread->joinable()) __real__ZNSt6thread4joinEv(thread);
}

MergeOutcome run_noted(void *job) {
  Merging merging;
  return run(job);
}

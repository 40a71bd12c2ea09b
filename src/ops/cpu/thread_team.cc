#include "ops/cpu/thread_team.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "base/check.h"

namespace weft::ops::cpu {
namespace {

using SpinClock = std::chrono::steady_clock;

/// Between two loops of a step lie a few microseconds, between two steps about as many; whoever
/// waits longer than this sleeps.
constexpr std::chrono::microseconds kSpin{50};

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

/// True when `done` came true within kSpin.
template <typename Condition>
bool SpinUntil(Condition done) {
  const SpinClock::time_point end = SpinClock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      _mm_pause();
    }
  } while (SpinClock::now() < end);
  return false;
}

constexpr uint64_t FirstTask(uint32_t loop) { return static_cast<uint64_t>(loop) << 32; }
constexpr uint64_t kNoTask = 0x7fffffff;

}  // namespace

ThreadTeam::ThreadTeam(int threads, std::string_view name) {
  WEFT_CHECK(threads >= 1);
  for (int thread = 1; thread < threads; ++thread) {
    threads_.emplace_back([this, thread] { Work(thread); });
    const std::string label = std::string(name.substr(0, 12)) + std::to_string(thread);
    pthread_setname_np(threads_.back().native_handle(), label.substr(0, 15).c_str());
  }
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true);
  loop_.fetch_add(1);
  FutexWake(loop_, size());
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::Run(int32_t tasks, void* object, Function function) {
  if (threads_.empty() || tasks <= 1) {
    for (int32_t task = 0; task < tasks; ++task) function(object, task, 0);
    return;
  }
  const uint32_t loop = loop_.load(std::memory_order_relaxed) + 1;
  // First of all the loop before ends: a late thread that sees any of what follows must fail to
  // take a task by the old number.
  state_.store(FirstTask(loop) | kNoTask, std::memory_order_relaxed);
  object_.store(object, std::memory_order_release);
  function_.store(function, std::memory_order_release);
  tasks_.store(tasks, std::memory_order_release);
  done_.store(0, std::memory_order_relaxed);
  caller_sleeps_.store(0, std::memory_order_relaxed);
  state_.store(FirstTask(loop), std::memory_order_release);
  loop_.store(loop, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) FutexWake(loop_, size());

  TakeTasks(FirstTask(loop), 0);
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == tasks; };
  if (SpinUntil(finished)) return;
  // The thread that holds the last task lost its processor: leave it this one.
  while (!finished()) {
    caller_sleeps_.store(1, std::memory_order_seq_cst);
    if (finished()) break;
    FutexWait(caller_sleeps_, 1);
  }
}

void ThreadTeam::TakeTasks(uint64_t state, int thread) {
  void* object = object_.load(std::memory_order_acquire);
  const Function function = function_.load(std::memory_order_acquire);
  const int32_t tasks = tasks_.load(std::memory_order_acquire);
  const uint64_t loop = state >> 32;
  for (;;) {
    if (state >> 32 != loop || static_cast<int32_t>(state & 0xffffffffu) >= tasks) return;
    // Success means that the loop still has tasks, so what was read above is this loop's.
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    function(object, static_cast<int32_t>(state & 0xffffffffu), thread);
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks && thread != 0 &&
        caller_sleeps_.exchange(0, std::memory_order_seq_cst) == 1)
      FutexWake(caller_sleeps_, 1);
    state = state_.load(std::memory_order_acquire);
  }
}

void ThreadTeam::WaitForLoop(uint32_t seen_loop) {
  const auto changed = [&] { return loop_.load(std::memory_order_seq_cst) != seen_loop; };
  if (SpinUntil(changed)) return;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (!changed()) FutexWait(loop_, seen_loop);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void ThreadTeam::Work(int thread) {
  uint32_t seen_loop = 0;
  for (;;) {
    WaitForLoop(seen_loop);
    if (stop_.load()) return;
    seen_loop = loop_.load(std::memory_order_acquire);
    TakeTasks(state_.load(std::memory_order_acquire), thread);
  }
}

}  // namespace weft::ops::cpu

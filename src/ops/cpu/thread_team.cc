#include "ops/cpu/thread_team.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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

/// A range counts its tasks in sixteen bits; a longer loop runs as several.
constexpr int32_t kMostTasks = 0xffff;

constexpr uint64_t Packed(uint32_t loop, int32_t first, int32_t end) {
  return static_cast<uint64_t>(loop) << 32 | static_cast<uint64_t>(first) << 16 |
         static_cast<uint64_t>(end);
}

/// Takes the first or the last task that `left` holds for `loop`; -1 when there is none.
int32_t TakeTask(std::atomic<uint64_t>& left, uint32_t loop, bool from_end) {
  uint64_t state = left.load(std::memory_order_acquire);
  for (;;) {
    const auto first = static_cast<int32_t>(state >> 16 & 0xffff);
    const auto end = static_cast<int32_t>(state & 0xffff);
    if (state >> 32 != loop || first >= end) return -1;
    const uint64_t taken = from_end ? Packed(loop, first, end - 1) : Packed(loop, first + 1, end);
    if (left.compare_exchange_weak(state, taken, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
      return from_end ? end - 1 : first;
  }
}

}  // namespace

ThreadTeam::ThreadTeam(int threads, std::string_view name)
    : ranges_(static_cast<size_t>(std::max(threads, 1))) {
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

void ThreadTeam::Run(int32_t tasks, Sharing sharing, void* object, Function function) {
  if (threads_.empty() || tasks <= 1) {
    for (int32_t task = 0; task < tasks; ++task) function(object, task, 0);
    return;
  }
  for (int32_t base = 0; base < tasks; base += kMostTasks)
    RunLoop(base, std::min(kMostTasks, tasks - base), sharing, object, function);
}

void ThreadTeam::RunLoop(int32_t base, int32_t tasks, Sharing sharing, void* object,
                         Function function) {
  // The loop before has ended, so no range has a task of it: a late thread that sees any of what
  // follows finds nothing to take under the old number.
  const uint32_t loop = loop_.load(std::memory_order_relaxed) + 1;
  object_.store(object, std::memory_order_relaxed);
  function_.store(function, std::memory_order_relaxed);
  base_.store(base, std::memory_order_relaxed);
  tasks_.store(tasks, std::memory_order_relaxed);
  sharing_.store(sharing, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  caller_sleeps_.store(0, std::memory_order_relaxed);
  for (int thread = 0; thread < size(); ++thread) {
    const int32_t first = sharing == Sharing::kRanges ? RangeBegin(tasks, thread) : 0;
    const int32_t end = sharing == Sharing::kRanges ? RangeBegin(tasks, thread + 1)
                        : thread == 0               ? tasks
                                                    : 0;
    ranges_[static_cast<size_t>(thread)].left.store(Packed(loop, first, end),
                                                    std::memory_order_release);
  }
  loop_.store(loop, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) FutexWake(loop_, size());

  TakeTasks(loop, 0);
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == tasks; };
  if (SpinUntil(finished)) return;
  // The thread that holds the last task lost its processor: leave it this one.
  while (!finished()) {
    caller_sleeps_.store(1, std::memory_order_seq_cst);
    if (finished()) break;
    FutexWait(caller_sleeps_, 1);
  }
}

void ThreadTeam::TakeTasks(uint32_t loop, int thread) {
  void* object = object_.load(std::memory_order_acquire);
  const Function function = function_.load(std::memory_order_acquire);
  const int32_t base = base_.load(std::memory_order_acquire);
  const int32_t tasks = tasks_.load(std::memory_order_acquire);
  const bool ranges = sharing_.load(std::memory_order_acquire) == Sharing::kRanges;
  int32_t done = 0;
  for (int i = 0; i < (ranges ? size() : 1); ++i) {
    const int owner = ranges ? (thread + i) % size() : 0;
    std::atomic<uint64_t>& left = ranges_[static_cast<size_t>(owner)].left;
    // Taking a task means that this loop still had some, so what was read above is this loop's.
    for (int32_t task; (task = TakeTask(left, loop, i > 0)) >= 0; ++done)
      function(object, base + task, thread);
  }
  if (done > 0 && done_.fetch_add(done, std::memory_order_acq_rel) + done == tasks && thread != 0 &&
      caller_sleeps_.exchange(0, std::memory_order_seq_cst) == 1)
    FutexWake(caller_sleeps_, 1);
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
    TakeTasks(seen_loop, thread);
  }
}

}  // namespace weft::ops::cpu

#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace weft::ops::cpu {

/// Threads that share the tasks of one loop after another. The calling thread works too. Owned by
/// the operators; one thread at a time calls ParallelFor. Tasks are taken in order, each by whoever
/// is free, and the loop ends when the last task is done, not when every thread has looked: a
/// thread that lost its processor to somebody else delays nobody unless it holds a task. After a
/// short spin an idle thread sleeps in the kernel. A loop costs about a microsecond.
class ThreadTeam {
 public:
  /// `threads` includes the caller's. `name`: at most 12 letters, for top and gdb.
  ThreadTeam(int threads, std::string_view name);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  /// Calls body(task, thread) for each task in [0, tasks), thread in [0, size()). What the bodies
  /// wrote is visible on return.
  template <typename Body>
  void ParallelFor(int32_t tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    Run(tasks, const_cast<void*>(static_cast<const void*>(&body)),
        [](void* object, int32_t task, int thread) {
          (*static_cast<Plain*>(object))(task, thread);
        });
  }

 private:
  using Function = void (*)(void* object, int32_t task, int thread);

  void Run(int32_t tasks, void* object, Function function);
  void Work(int thread);
  /// Takes tasks of the loop that `state` belongs to until none is left.
  void TakeTasks(uint64_t state, int thread);
  void WaitForLoop(uint32_t seen_loop);

  // A loop's number (upper half) and its next task (lower half): a thread that slept through a loop
  // cannot take a task of the next one under the old one's body.
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<void*> object_{nullptr};
  std::atomic<Function> function_{nullptr};
  std::atomic<int32_t> tasks_{0};
  alignas(64) std::atomic<int32_t> done_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  // The number of the newest loop; idle threads sleep on it.
  alignas(64) std::atomic<uint32_t> loop_{0};
  std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace weft::ops::cpu

#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace weft::ops::cpu {

/// Threads that share the tasks of one loop after another. The calling thread works too. Owned by
/// the operators; one thread at a time calls it. A loop ends when its last task is done, not when
/// every thread has looked: a thread that lost its processor to somebody else delays nobody unless
/// it holds a task. After a short spin an idle thread sleeps in the kernel. A loop costs about half
/// a microsecond.
class ThreadTeam {
 public:
  /// `threads` includes the caller's. `name`: at most 12 letters, for top and gdb.
  ThreadTeam(int threads, std::string_view name);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  /// Calls body(task, thread) for each task in [0, tasks), thread in [0, size()). Tasks are taken
  /// in order, each by whoever is free. What the bodies wrote is visible on return.
  template <typename Body>
  void ParallelFor(int32_t tasks, Body&& body) {
    Run(tasks, Sharing::kInOrder, Address(body), Caller<Body>());
  }

  /// The same for tasks that read memory one after the other: each thread walks a range of
  /// neighbours, [RangeBegin(tasks, thread), RangeBegin(tasks, thread + 1)), from its start, and
  /// takes from the others' ends when it is through.
  template <typename Body>
  void ParallelForRanges(int32_t tasks, Body&& body) {
    Run(tasks, Sharing::kRanges, Address(body), Caller<Body>());
  }
  int32_t RangeBegin(int32_t tasks, int thread) const {
    return static_cast<int32_t>(int64_t{tasks} * thread / size());
  }

 private:
  using Function = void (*)(void* object, int32_t task, int thread);
  enum class Sharing : uint8_t { kInOrder, kRanges };

  /// Tasks that nobody has taken yet: the loop's number (upper half), the first (16 bits), the end.
  /// A thread that slept through a loop cannot take a task of the next one under the old one's
  /// body, because the number differs.
  struct alignas(64) Range {
    std::atomic<uint64_t> left{0};
  };

  template <typename Body>
  static void* Address(Body& body) {
    return const_cast<void*>(static_cast<const void*>(&body));
  }
  template <typename Body>
  static Function Caller() {
    using Plain = std::remove_reference_t<Body>;
    return [](void* object, int32_t task, int thread) {
      (*static_cast<Plain*>(object))(task, thread);
    };
  }

  void Run(int32_t tasks, Sharing sharing, void* object, Function function);
  void RunLoop(int32_t base, int32_t tasks, Sharing sharing, void* object, Function function);
  void Work(int thread);
  /// Takes tasks of loop number `loop` until none is left.
  void TakeTasks(uint32_t loop, int thread);
  void WaitForLoop(uint32_t seen_loop);

  std::vector<Range> ranges_;  ///< [thread]
  alignas(64) std::atomic<void*> object_{nullptr};
  std::atomic<Function> function_{nullptr};
  std::atomic<int32_t> base_{0};
  std::atomic<int32_t> tasks_{0};
  std::atomic<Sharing> sharing_{Sharing::kInOrder};
  alignas(64) std::atomic<int32_t> done_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  // The number of the newest loop; idle threads sleep on it.
  alignas(64) std::atomic<uint32_t> loop_{0};
  std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace weft::ops::cpu

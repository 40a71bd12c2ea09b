#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>

#include "base/bytes.h"

namespace weft::device {

/// Pages of the system that are this process's, charged to its control group, but neither cleared
/// nor mapped: the pages of a file in memory that were allocated and never written. Setting a page
/// aside takes a fraction of a microsecond and does not touch it.
class SetAsidePages {
 public:
  /// Null where the system cannot. The caller has made sure that so much is free: like clearing,
  /// setting aside what is not there ends with the system killing processes.
  static std::unique_ptr<SetAsidePages> Create(Bytes size);
  ~SetAsidePages();
  SetAsidePages(const SetAsidePages&) = delete;
  SetAsidePages& operator=(const SetAsidePages&) = delete;

  /// Gives a part back to the system.
  void GiveBack(Bytes at, Bytes size);

 private:
  explicit SetAsidePages(int file) : file_(file) {}
  const int file_;
};

/// Mapped memory whose pages are set aside and become present in the background, piece by piece:
/// a piece of what is set aside is given back, and the mapped one made present at once. So the
/// process holds the whole size from the beginning, and a touch before a page's turn only waits for
/// its clearing. Owns the thread; the destructor ends it. Any thread may touch the memory.
class BackgroundPresence {
 public:
  BackgroundPresence(std::byte* data, Bytes size, std::unique_ptr<SetAsidePages> pages);
  ~BackgroundPresence();
  BackgroundPresence(const BackgroundPresence&) = delete;
  BackgroundPresence& operator=(const BackgroundPresence&) = delete;

  /// Every page is present.
  bool complete() const { return complete_; }

 private:
  void Run();

  std::byte* const data_;
  const Bytes size_;
  std::unique_ptr<SetAsidePages> pages_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> complete_{false};
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace weft::device

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::memory {

/// Which of `size` numbered places are free, and where the long runs of free neighbours lie. A
/// segment tree: setting a place and each question cost O(log size). Everything is taken at first.
class FreeRuns {
 public:
  struct Run {
    int32_t first = 0;
    int32_t count = 0;
  };

  explicit FreeRuns(int32_t size);

  void Set(int32_t place, bool is_free);

  /// Length of the longest run; 0 when nothing is free.
  int32_t longest() const { return nodes_[1].longest; }
  /// The first `count` places of the lowest run of at least that many. `count` <= longest().
  Run LowestRun(int32_t count) const;
  /// The highest free place. Something must be free.
  int32_t Highest() const;

 private:
  /// Free places at the beginning, at the end, and in the longest run of a node's range.
  struct Node {
    int32_t prefix = 0;
    int32_t suffix = 0;
    int32_t longest = 0;
  };

  size_t Leaf(int32_t place) const { return static_cast<size_t>(leaves_ + place); }

  int32_t leaves_ = 1;  ///< A power of two; the root is node 1, the leaves begin here.
  std::vector<Node> nodes_;
};

}  // namespace weft::memory

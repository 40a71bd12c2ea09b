#include "memory/free_runs.h"

#include <algorithm>

#include "base/check.h"

namespace weft::memory {

FreeRuns::FreeRuns(int32_t size) {
  WEFT_CHECK(size > 0);
  while (leaves_ < size) leaves_ *= 2;
  nodes_.resize(static_cast<size_t>(leaves_) * 2);
}

void FreeRuns::Set(int32_t place, bool is_free) {
  WEFT_CHECK(place >= 0 && place < leaves_);
  size_t node = Leaf(place);
  const int32_t one = is_free ? 1 : 0;
  nodes_[node] = Node{one, one, one};
  for (int32_t half = 1; node > 1; half *= 2) {
    node /= 2;
    const Node& left = nodes_[2 * node];
    const Node& right = nodes_[2 * node + 1];
    nodes_[node] = Node{
        left.prefix == half ? half + right.prefix : left.prefix,
        right.suffix == half ? half + left.suffix : right.suffix,
        std::max({left.longest, right.longest, left.suffix + right.prefix}),
    };
  }
}

FreeRuns::Run FreeRuns::LowestRun(int32_t count) const {
  WEFT_CHECK(count > 0 && count <= longest());
  size_t node = 1;
  int32_t first = 0;
  int32_t half = leaves_ / 2;
  while (half > 0) {
    const Node& left = nodes_[2 * node];
    const Node& right = nodes_[2 * node + 1];
    if (left.longest >= count) {
      node = 2 * node;
    } else if (left.suffix + right.prefix >= count) {
      return Run{first + half - left.suffix, count};
    } else {
      node = 2 * node + 1;
      first += half;
    }
    half /= 2;
  }
  return Run{first, count};
}

int32_t FreeRuns::Highest() const {
  WEFT_CHECK(longest() > 0);
  size_t node = 1;
  while (node < static_cast<size_t>(leaves_)) {
    node = nodes_[2 * node + 1].longest > 0 ? 2 * node + 1 : 2 * node;
  }
  return static_cast<int32_t>(node) - leaves_;
}

}  // namespace weft::memory

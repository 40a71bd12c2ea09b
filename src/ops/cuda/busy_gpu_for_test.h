#pragma once

#include <cuda_runtime.h>

#include "ops/cuda/device_bytes_for_test.h"

namespace weft::ops::cuda {

/// Fills every multiprocessor with blocks that wait, from its construction until Release (or a
/// minute), so that whatever else is queued cannot run.
class BusyGpu {
 public:
  BusyGpu();
  ~BusyGpu();
  BusyGpu(const BusyGpu&) = delete;
  BusyGpu& operator=(const BusyGpu&) = delete;

  /// Nothing else runs yet: every block is there and waits.
  bool is_full() const;
  void Release();

 private:
  bool all_wait() const;

  const int blocks_;
  PinnedBytes memory_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace weft::ops::cuda

#pragma once

#include <cuda_runtime_api.h>

namespace weft::ops::cuda {

/// A stream for what may run beside part of another stream's work, also while that is recorded into
/// a graph. Owned by the operators, used by their thread. Create comes first; each Fork is followed
/// by a Join before the next, and before the recording ends.
class SideStream {
 public:
  SideStream() = default;
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  void Create(int priority);
  /// The stream; what is queued on it from now on comes after all that `from` has.
  cudaStream_t Fork(cudaStream_t from);
  /// What is queued on `into` from now on comes after all that this has.
  void Join(cudaStream_t into);

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t fork_ = nullptr;
  cudaEvent_t join_ = nullptr;
};

}  // namespace weft::ops::cuda

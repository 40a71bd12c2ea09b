#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <utility>

namespace weft::ops::cuda {

/// How the layers of a step are given to the GPU.
enum class LaunchMode : uint8_t {
  kEager,    ///< Kernel by kernel.
  kCapture,  ///< The same calls record a graph, which then runs.
  kReplay    ///< The graph runs; the calls do nothing.
};

/// Layers of decode steps as CUDA graphs, one for each number of rows with and without adapters: a
/// launch instead of a dozen for each layer. The first step of a kind runs eagerly, since loading
/// kernels and choosing algorithms cannot be recorded; the second records. Owned by the operators,
/// used by their thread.
class DecodeGraphs {
 public:
  /// Padded rows, and whether any row has an adapter.
  using Kind = std::pair<int32_t, bool>;

  DecodeGraphs() = default;
  ~DecodeGraphs();
  DecodeGraphs(const DecodeGraphs&) = delete;
  DecodeGraphs& operator=(const DecodeGraphs&) = delete;

  /// Begins the layers of a step of this kind. kCapture: the stream records from now on.
  LaunchMode Begin(Kind kind, cudaStream_t stream);
  /// Ends a capture and runs what was recorded.
  void EndCapture(Kind kind, cudaStream_t stream);
  /// After the pages or anything else that kernels' arguments name has moved.
  void Clear();

 private:
  /// Null: seen once, not recorded yet.
  std::map<Kind, cudaGraphExec_t> graphs_;
};

}  // namespace weft::ops::cuda

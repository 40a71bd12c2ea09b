#include "ops/cuda/decode_graphs.h"

#include "device/cuda/cuda_error.h"

namespace weft::ops::cuda {

DecodeGraphs::~DecodeGraphs() { Clear(); }

void DecodeGraphs::Clear() {
  for (const auto& [kind, graph] : graphs_)
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  graphs_.clear();
}

LaunchMode DecodeGraphs::Begin(Kind kind, cudaStream_t stream) {
  const auto [entry, is_new] = graphs_.try_emplace(kind, nullptr);
  if (is_new) return LaunchMode::kEager;
  if (entry->second == nullptr) {
    WEFT_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    return LaunchMode::kCapture;
  }
  WEFT_CUDA_CHECK(cudaGraphLaunch(entry->second, stream));
  return LaunchMode::kReplay;
}

void DecodeGraphs::EndCapture(Kind kind, cudaStream_t stream) {
  cudaGraph_t recorded = nullptr;
  WEFT_CUDA_CHECK(cudaStreamEndCapture(stream, &recorded));
  cudaGraphExec_t& graph = graphs_.at(kind);
  WEFT_CUDA_CHECK(cudaGraphInstantiate(&graph, recorded, 0));
  WEFT_CUDA_CHECK(cudaGraphDestroy(recorded));
  WEFT_CUDA_CHECK(cudaGraphLaunch(graph, stream));
}

}  // namespace weft::ops::cuda

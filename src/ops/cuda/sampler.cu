#include "ops/cuda/sampler.h"

#include "ops/cuda/sampler_choose.cuh"
#include "ops/cuda/sampler_scan.cuh"

namespace weft::ops::cuda {
namespace {

constexpr int64_t kAlignment = 256;
constexpr size_t kListBytes = sampling::kListCapacity * sizeof(uint64_t);

/// Lays the scratch out from `base`; with null, only counts.
int64_t LayOut(int64_t vocabulary, int64_t rows, std::byte* base, sampling::Scratch* scratch) {
  int64_t next = 0;
  const auto place = [&](auto** array, int64_t count) {
    using Element = std::remove_reference_t<decltype(**array)>;
    *array = reinterpret_cast<Element*>(base + next);
    next = (next + count * static_cast<int64_t>(sizeof(Element)) + kAlignment - 1) / kAlignment *
           kAlignment;
  };
  const int64_t chunks = rows * sampling::Chunks(static_cast<int>(vocabulary));
  place(&scratch->warp_best, chunks * sampling::kScanWarps);
  place(&scratch->chunk_first, chunks);
  place(&scratch->chunk_sum, chunks);
  place(&scratch->chunk_raw_sum, chunks);
  place(&scratch->list, rows * sampling::kListCapacity);
  place(&scratch->list_count, rows);
  return next;
}

}  // namespace

int64_t SamplerScratchBytes(int32_t vocabulary, int32_t rows) {
  sampling::Scratch scratch{};
  return LayOut(vocabulary, rows, nullptr, &scratch);
}

cudaError_t PrepareSampler() {
  return cudaFuncSetAttribute(sampling::Choose, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(kListBytes));
}

cudaError_t LaunchSampler(const SamplerParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  sampling::Scratch scratch{};
  LayOut(params.vocabulary, params.rows, params.scratch, &scratch);
  const dim3 grid(static_cast<uint32_t>(sampling::Chunks(params.vocabulary)),
                  static_cast<uint32_t>(params.rows));
  sampling::Scan<<<grid, sampling::kScanThreads, 0, stream>>>(params, scratch);
  sampling::Draw<<<grid, sampling::kScanThreads, 0, stream>>>(params, scratch);
  sampling::
      Choose<<<static_cast<uint32_t>(params.rows), sampling::kChooseThreads, kListBytes, stream>>>(
          params, scratch);
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess || params.host_results == nullptr) return error;
  return cudaMemcpyAsync(params.host_results, params.results,
                         static_cast<size_t>(params.rows * params.result_bytes),
                         cudaMemcpyDeviceToHost, stream);
}

}  // namespace weft::ops::cuda

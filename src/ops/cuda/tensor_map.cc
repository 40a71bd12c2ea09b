#include "ops/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <array>

#include "base/check.h"

namespace weft::ops::cuda {
namespace {

using Encoder = PFN_cuTensorMapEncodeTiled_v12000;

/// The driver's own, found at run time: programs that use no GPU load without it. Null: none.
Encoder FindEncoder() {
  static const Encoder encoder = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                               12000, cudaEnableDefault, &result);
    const bool is_there = error == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return is_there ? reinterpret_cast<Encoder>(found) : nullptr;
  }();
  return encoder;
}

}  // namespace

cudaError_t FindTensorMaps() {
  return FindEncoder() != nullptr ? cudaSuccess : cudaErrorSymbolNotFound;
}

CUtensorMap MakeTensorMap(const MatrixMapping& mapping) {
  WEFT_CHECK(FindEncoder() != nullptr);
  const std::array<cuuint64_t, 3> sizes = {kMapColumns, static_cast<cuuint64_t>(mapping.rows),
                                           static_cast<cuuint64_t>(mapping.columns / kMapColumns)};
  // Columns in their place of 64, rows, and then further columns, which lie before the next row.
  const std::array<cuuint64_t, 2> strides = {static_cast<cuuint64_t>(mapping.stride * 2),
                                             kMapRowBytes};
  const std::array<cuuint32_t, 3> box = {
      kMapColumns, static_cast<cuuint32_t>(mapping.box_rows),
      static_cast<cuuint32_t>(mapping.box_columns / kMapColumns)};
  const std::array<cuuint32_t, 3> steps = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      FindEncoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(mapping.data),
                    sizes.data(), strides.data(), box.data(), steps.data(),
                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  WEFT_CHECK(result == CUDA_SUCCESS);
  return map;
}

}  // namespace weft::ops::cuda

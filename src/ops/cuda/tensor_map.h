#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace weft::ops::cuda {

constexpr int kMapColumns = 64;
constexpr int kMapRowBytes = kMapColumns * 2;  ///< The span of the swizzle.
constexpr int kBoxAlignment = 1024;            ///< Bytes, of a box in shared memory.

/// A row-major matrix of bf16 as the copy engine of a multiprocessor takes it (compute capability
/// 9.0): in boxes of rows by columns, which come to shared memory as [columns / 64][rows][64], with
/// 16 bytes c of a row r at c ^ r % 8. Coordinates of a box: 0, its first row, its first column
/// / 64. What lies outside the matrix comes as zeros.
struct MatrixMapping {
  const void* data = nullptr;  ///< 16-byte aligned.
  int64_t rows = 0;
  int64_t columns = 0;      ///< A multiple of 64.
  int64_t stride = 0;       ///< Elements, a multiple of 8.
  int32_t box_rows = 0;     ///< At most 256.
  int32_t box_columns = 0;  ///< A multiple of 64.
};

/// Whether the driver makes them. Before MakeTensorMap.
cudaError_t FindTensorMaps();
/// Fails a check if the driver refuses it.
CUtensorMap MakeTensorMap(const MatrixMapping& mapping);

}  // namespace weft::ops::cuda

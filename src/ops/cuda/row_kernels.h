#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"

// What is done to single rows of a step. The residual stream x is float, other activations are
// elements of `dtype`. Each launch covers `rows` rows whatever they hold: rows past a step's own
// (padding) are computed and never looked at. A row's result does not depend on other rows.
namespace weft::ops::cuda {

/// x[row] = table[tokens[row]]; where that is ~i, table[chosen[i]].
struct EmbedParams {
  DType dtype = DType::kBFloat16;
  const void* table = nullptr;      ///< [vocabulary, width]
  const int32_t* tokens = nullptr;  ///< [rows]
  const int32_t* chosen = nullptr;  ///< By the step before. Null: tokens has no ~i.
  float* x = nullptr;               ///< [rows, width]
  int32_t rows = 0;
  int32_t width = 0;
};
void LaunchEmbed(const EmbedParams& params, cudaStream_t stream);

/// out[row] = s / rms(s) * weight, with s = x[from] + delta[from] and from = source_rows ?
/// source_rows[row] : row. The delta is what adapters added to the projection before.
struct RmsNormParams {
  DType dtype = DType::kBFloat16;
  float* x = nullptr;           ///< [.., width]; becomes s where `keep_sum`.
  const void* delta = nullptr;  ///< [.., width], or null
  bool keep_sum = false;
  const int32_t* source_rows = nullptr;  ///< [rows], or null
  const float* weight = nullptr;         ///< [width]
  void* out = nullptr;                   ///< [rows, width]
  int32_t rows = 0;
  int32_t width = 0;
  float epsilon = 0.0F;
};
void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream);

/// out = silu(gate) * up, of rows that hold gate and then up, each plus what adapters add to it.
struct SiluMultiplyParams {
  DType dtype = DType::kBFloat16;
  const void* gate_up = nullptr;  ///< [rows, 2 * width]
  const void* delta = nullptr;    ///< [rows, 2 * width], or null
  void* out = nullptr;            ///< [rows, width]
  int32_t rows = 0;
  int32_t width = 0;  ///< A multiple of 8.
};
void LaunchSiluMultiply(const SiluMultiplyParams& params, cudaStream_t stream);

/// x += bias in every row.
struct AddBiasParams {
  const float* bias = nullptr;  ///< [width]
  float* x = nullptr;           ///< [rows, width]
  int32_t rows = 0;
  int32_t width = 0;
};
void LaunchAddBias(const AddBiasParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda

#include "ops/cuda/elements.cuh"
#include "ops/cuda/overlapped_launch.cuh"
#include "ops/cuda/row_kernels.h"

namespace weft::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kNormThreads = 512;
/// Vectors of 8 that a thread keeps of a row: up to 8,192 elements are read once.
constexpr int kKeptByNorm = 2;

template <typename T>
__global__ void Embed(const T* table, const int32_t* tokens, const int32_t* chosen, float* x,
                      int32_t width) {
  int32_t token = tokens[blockIdx.x];
  if (token < 0) token = chosen[~token];
  const T* from = table + int64_t{token} * width;
  float* to = x + int64_t{blockIdx.x} * width;
  for (int i = static_cast<int>(threadIdx.x) * 8; i < width; i += kThreads * 8) {
    float values[8];
    LoadEight(from + i, values);
    StoreEight(values, to + i);
  }
}

/// s = x + delta of a row, eight at a time.
template <typename X, typename T>
__device__ void LoadSum(const X* x, const T* delta, float* values) {
  LoadEight(x, values);
  if (delta == nullptr) return;
  float added[8];
  LoadEight(delta, added);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] += added[i];
}

template <typename T>
__global__ void __launch_bounds__(kNormThreads) RmsNorm(RmsNormParams params) {
  __shared__ float sums[kNormThreads / 32];
  constexpr int kStride = kNormThreads * 8;
  const int width = params.width;
  const int first = static_cast<int>(threadIdx.x) * 8;
  // The weight is nobody's output: on its way while the kernel before ends.
  for (int i = first; i < width; i += kStride)
    asm volatile("prefetch.global.L1 [%0];" ::"l"(params.weight + i));
  AdmitKernelBehind();
  AwaitKernelBefore();
  const int64_t source =
      (params.source_rows != nullptr ? params.source_rows[blockIdx.x] : int64_t{blockIdx.x}) *
      width;
  float* from = params.x + source;
  const T* delta = params.delta != nullptr ? static_cast<const T*>(params.delta) + source : nullptr;
  const auto load = [&](int i, float* values) {
    LoadSum(from + i, delta != nullptr ? delta + i : nullptr, values);
  };
  float kept[kKeptByNorm][8];
  float sum = 0.0F;
  const auto add_squares = [&](const float* values) {
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += values[i] * values[i];
  };
#pragma unroll
  for (int k = 0; k < kKeptByNorm; ++k) {
    if (first + k * kStride >= width) break;
    load(first + k * kStride, kept[k]);
    add_squares(kept[k]);
  }
  for (int i = first + kKeptByNorm * kStride; i < width; i += kStride) {
    float values[8];
    load(i, values);
    add_squares(values);
  }
  sum = SumOfWarp(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0.0F;
#pragma unroll
  for (const float part : sums) sum += part;
  const float inverse = 1.0F / sqrtf(sum / static_cast<float>(width) + params.epsilon);
  T* to = static_cast<T*>(params.out) + int64_t{blockIdx.x} * width;
  const auto finish = [&](int i, float* values) {
    if (params.keep_sum && delta != nullptr) StoreEight(values, from + i);
    float weights[8];
    LoadEight(params.weight + i, weights);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] = values[j] * inverse * weights[j];
    StoreEight(values, to + i);
  };
#pragma unroll
  for (int k = 0; k < kKeptByNorm; ++k) {
    if (first + k * kStride >= width) break;
    finish(first + k * kStride, kept[k]);
  }
  for (int i = first + kKeptByNorm * kStride; i < width; i += kStride) {
    float values[8];
    load(i, values);
    finish(i, values);
  }
}

template <typename T>
__global__ void SiluMultiply(const T* gate_up, const T* delta, T* out, int32_t width) {
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * 8;
  AdmitKernelBehind();
  AwaitKernelBefore();
  if (i >= width) return;
  const int64_t gates = int64_t{blockIdx.x} * 2 * width + i;
  const int64_t ups = gates + width;
  float gate[8];
  float up[8];
  LoadSum(gate_up + gates, delta != nullptr ? delta + gates : nullptr, gate);
  LoadSum(gate_up + ups, delta != nullptr ? delta + ups : nullptr, up);
#pragma unroll
  for (int j = 0; j < 8; ++j) gate[j] = gate[j] / (1.0F + __expf(-gate[j])) * up[j];
  StoreEight(gate, out + int64_t{blockIdx.x} * width + i);
}

__global__ void AddBias(const float* bias, float* x, int32_t width) {
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (i < width) x[int64_t{blockIdx.x} * width + i] += bias[i];
}

unsigned BlocksFor(int32_t width, int per_thread) {
  return static_cast<unsigned>((width + kThreads * per_thread - 1) / (kThreads * per_thread));
}

}  // namespace

void LaunchEmbed(const EmbedParams& params, cudaStream_t stream) {
  WithElement(params.dtype, [&](auto element) {
    using T = decltype(element);
    Embed<T><<<static_cast<unsigned>(params.rows), kThreads, 0, stream>>>(
        static_cast<const T*>(params.table), params.tokens, params.chosen, params.x, params.width);
  });
}

void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream) {
  WithElement(params.dtype, [&](auto element) {
    LaunchOverlapped(RmsNorm<decltype(element)>, dim3(static_cast<unsigned>(params.rows)),
                     dim3(kNormThreads), 0, stream, params);
  });
}

void LaunchSiluMultiply(const SiluMultiplyParams& params, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(params.rows), BlocksFor(params.width, 8));
  WithElement(params.dtype, [&](auto element) {
    using T = decltype(element);
    LaunchOverlapped(SiluMultiply<T>, grid, dim3(kThreads), 0, stream,
                     static_cast<const T*>(params.gate_up), static_cast<const T*>(params.delta),
                     static_cast<T*>(params.out), params.width);
  });
}

void LaunchAddBias(const AddBiasParams& params, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(params.rows), BlocksFor(params.width, 1));
  AddBias<<<grid, kThreads, 0, stream>>>(params.bias, params.x, params.width);
}

}  // namespace weft::ops::cuda

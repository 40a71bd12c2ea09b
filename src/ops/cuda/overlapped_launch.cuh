#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace weft::ops::cuda {

/// In a kernel that was launched by LaunchOverlapped, in every thread that touches what kernels
/// write: waits until the kernel before has ended and what it wrote is there.
__device__ inline void AwaitKernelBefore() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// The kernel behind may start as soon as every block of this one has said so, if it was launched
/// by LaunchOverlapped: its start costs no time then. It still waits for this one's end. It may
/// come before AwaitKernelBefore; then several kernels behind run while several before still do,
/// and each of them must keep two rules. Some thread of it awaits, or its end would not mean the
/// end of those before it. And before it awaits it writes nothing, and reads nothing that a kernel
/// since the last ordinary launch wrote.
__device__ inline void AdmitKernelBehind() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// The major compute capability of this thread's GPU; Hopper's is 9.
inline cudaError_t FindGeneration(int* major) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  return error != cudaSuccess
             ? error
             : cudaDeviceGetAttribute(major, cudaDevAttrComputeCapabilityMajor, device);
}

/// If `overlapped`, its blocks may start while the last of the kernel before
/// still run: it calls AwaitKernelBefore before it reads or writes what that one, or any before it,
/// touches; only what kernels before the last ordinary launch wrote may be read earlier. What comes
/// first on a forked stream is launched ordinarily: it waits for an event. Before Hopper all
/// launches are ordinary.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchAs(bool overlapped, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                     size_t shared, cudaStream_t stream, Arguments... arguments) {
  int major = 0;
  const cudaError_t error = FindGeneration(&major);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute overlap;
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = overlapped && major >= 9 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <typename... Parameters, typename... Arguments>
cudaError_t LaunchOverlapped(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                             cudaStream_t stream, Arguments... arguments) {
  return LaunchAs(true, kernel, grid, block, shared, stream, arguments...);
}

}  // namespace weft::ops::cuda

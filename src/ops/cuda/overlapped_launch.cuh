#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace weft::ops::cuda {

/// Launches a kernel whose blocks may start while the last of the kernel before still run: it calls
/// cudaGridDependencySynchronize (under __CUDA_ARCH__ >= 900) before it reads what that one wrote.
/// Before Hopper an ordinary launch.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchOverlapped(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                             cudaStream_t stream, Arguments... arguments) {
  int device = 0;
  int major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
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
  config.numAttrs = major >= 9 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace weft::ops::cuda

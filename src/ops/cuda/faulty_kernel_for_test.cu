#include <cstdint>

#include "ops/cuda/faulty_kernel_for_test.h"

namespace weft::ops::cuda {
namespace {

__global__ void WriteAt(uintptr_t address) { *reinterpret_cast<volatile int32_t*>(address) = 1; }

}  // namespace

void LaunchFaultyKernel(cudaStream_t stream) { WriteAt<<<1, 1, 0, stream>>>(16); }

}  // namespace weft::ops::cuda

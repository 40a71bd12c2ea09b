#include "base/check.h"
#include "ops/cuda/faulty_kernel_for_test.h"

namespace weft::ops::cuda {
namespace {

__global__ void Trap() { __trap(); }

}  // namespace

void LaunchFaultyKernel(cudaStream_t stream) {
  Trap<<<1, 1, 0, stream>>>();
  WEFT_CHECK(cudaGetLastError() == cudaSuccess);
}

}  // namespace weft::ops::cuda

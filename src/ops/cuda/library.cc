// The entry points of libweft_cuda.so.
#include "device/cuda/cuda_device.h"
#include "device/cuda_library.h"
#include "ops/cuda/cuda_operators.h"
#include "ops/cuda_operators_arguments.h"

extern "C" void WEFT_CUDA_CREATE_DEVICE(weft::device::CudaDeviceArguments* arguments) {
  arguments->device = weft::device::cuda::CreateDevice(arguments->assert_may_block);
}

extern "C" void WEFT_CUDA_CREATE_OPERATORS(weft::ops::CudaOperatorsArguments* arguments) {
  arguments->operators = weft::ops::cuda::CudaOperators::Create(
      *arguments->device, *arguments->config, *arguments->options);
}

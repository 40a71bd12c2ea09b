#include "device/cuda_library.h"
#include "ops/cpu/cpu_operators.h"
#include "ops/cuda_operators_arguments.h"
#include "ops/operators.h"

namespace weft::ops {
namespace {

Result<std::unique_ptr<Operators>> CreateCudaOperators(device::Device& device,
                                                       const ModelConfig& config,
                                                       const OperatorsOptions& options) {
  WEFT_ASSIGN_OR_RETURN(void* const address,
                        device::FindInCudaLibrary(WEFT_CUDA_NAME(WEFT_CUDA_CREATE_OPERATORS)));
  CudaOperatorsArguments arguments{&device, &config, &options};
  reinterpret_cast<void (*)(CudaOperatorsArguments*)>(address)(&arguments);
  return std::move(arguments.operators);
}

}  // namespace

Result<std::unique_ptr<Operators>> CreateOperators(device::Device& device,
                                                   const ModelConfig& config,
                                                   const OperatorsOptions& options) {
  switch (device.kind()) {
    case device::DeviceKind::kCpu:
      return cpu::CpuOperators::Create(device, config, options);
    case device::DeviceKind::kCuda:
      return CreateCudaOperators(device, config, options);
  }
  return MakeError(ErrorCode::kUnsupported, "no operators for {}", device.name());
}

}  // namespace weft::ops

#pragma once

#include <memory>

#include "ops/operators.h"

namespace weft::ops {

/// What libweft_cuda.so's second entry point takes and gives.
struct CudaOperatorsArguments {
  device::Device* device = nullptr;  ///< Of the same library.
  const ModelConfig* config = nullptr;
  const OperatorsOptions* options = nullptr;
  Result<std::unique_ptr<Operators>> operators = Error{ErrorCode::kInternal, "not created"};
};

}  // namespace weft::ops

#include "cli/served_shape.h"

#include <utility>

#include "adapter/image_layout.h"
#include "checkpoint/required_tensors.h"
#include "ops/lora.h"

namespace weft::cli {
namespace {

/// `matrix_bytes`: of a matrix of so many rows and columns. Vectors are kept in float.
template <typename MatrixBytes>
Bytes WeightBytes(const ModelConfig& config, const MatrixBytes& matrix_bytes) {
  Bytes bytes = 0;
  for (const checkpoint::TensorInfo& tensor : checkpoint::RequiredTensors(config)) {
    bytes += tensor.shape.size() == 2 ? matrix_bytes(tensor.shape[0], tensor.shape[1])
                                      : tensor.shape[0] * SizeOf(DType::kFloat32);
  }
  return bytes;
}

}  // namespace

DType ServedDType(const std::string& flag) {
  return flag == "float32" ? DType::kFloat32 : DType::kBFloat16;
}

const char* DTypeFlag(DType dtype) { return dtype == DType::kFloat32 ? "float32" : "bfloat16"; }

ops::KvLayout ServedPages(const ModelConfig& config, DType dtype) {
  return ops::KvLayout::For(config, dtype, adapter::LargestTile(config, dtype));
}

Bytes PlainWeightBytes(const ModelConfig& config, DType dtype) {
  return WeightBytes(config,
                     [&](int64_t out, int64_t in) -> Bytes { return out * in * SizeOf(dtype); });
}

Result<ServedShape> ServedShape::Create(const ModelConfig& config, DType dtype) {
  ServedShape shape;
  shape.config = config;
  shape.pages = ServedPages(config, dtype);
  shape.device = device::CreateCpuDevice();
  ops::OperatorsOptions options;
  options.dtype = dtype;
  options.max_rows = 1;
  options.max_sequences = 1;
  options.max_logits_rows = 1;
  options.max_adapters = 1;
  options.max_lora_rank = ops::kRankTile;
  options.kv = shape.pages;
  WEFT_ASSIGN_OR_RETURN(shape.operators, ops::CreateOperators(*shape.device, config, options));
  return shape;
}

Bytes ServedShape::weight_bytes() const {
  return WeightBytes(config, [this](int64_t out, int64_t in) {
    return operators->MatrixBytes(static_cast<int32_t>(out), static_cast<int32_t>(in));
  });
}

}  // namespace weft::cli

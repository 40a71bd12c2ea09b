#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "device/device.h"
#include "ops/kv_layout.h"
#include "ops/operators.h"

namespace weft::cli {

/// What --dtype says; "auto": bfloat16.
DType ServedDType(const std::string& flag);
/// The other way round.
const char* DTypeFlag(DType dtype);

/// The pages that KV and adapters of the model lie in: one holds the largest adapter tile.
ops::KvLayout ServedPages(const ModelConfig& config, DType dtype);

/// Bytes of the model's weights with matrices as they are in `dtype`, before there are operators.
Bytes PlainWeightBytes(const ModelConfig& config, DType dtype);

/// A base model's shape on the CPU, without weights: whether the backend takes it, and what it
/// would take. Movable, owned by who made it.
struct ServedShape {
  /// Refuses what the backend refuses. Allocates the activations of one row.
  static Result<ServedShape> Create(const ModelConfig& config, DType dtype);

  /// As the backend keeps them, as far as that does not depend on their values.
  Bytes weight_bytes() const;

  ModelConfig config;
  ops::KvLayout pages;
  std::unique_ptr<device::Device> device;
  std::unique_ptr<ops::Operators> operators;
};

}  // namespace weft::cli

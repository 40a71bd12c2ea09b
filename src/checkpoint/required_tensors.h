#pragma once

#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// The tensors that a model of this config consists of, with Hugging Face's names and shapes, in
/// the order embeddings, layers, norm, head. `type` is left at kF32. A tied head is not listed.
std::vector<TensorInfo> RequiredTensors(const ModelConfig& config);

/// Checks that the source has all of them with these shapes. The error names the first that is
/// missing, or whose shape differs, and how many more are.
Status CheckRequiredTensors(const ModelConfig& config, const TensorSource& tensors);

}  // namespace weft::checkpoint

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"

namespace weft::ops {

/// The angle by which each pair of dimensions turns per position: [head_dim / 2], scaled as
/// config.json says (none, linear, llama3 as transformers' modeling_rope_utils.py has them).
std::vector<float> RopeFrequencies(const RopeConfig& rope, int32_t head_dim);

/// cos [head_dim / 2], then sin [head_dim / 2], of one position.
void RopeRow(std::span<const float> frequencies, int32_t position, float* row);

}  // namespace weft::ops

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/peft_adapter.h"

namespace weft::cli {

/// What --max-lora-rank and --lora-target-modules allow. Names that are none allow nothing.
checkpoint::AdapterLimits AdapterLimitsOf(int32_t max_rank, const std::vector<std::string>& names);

/// An error that names the first of --lora-target-modules that is neither a projection nor "all".
Status CheckTargetModules(const std::vector<std::string>& names);

}  // namespace weft::cli

#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "cli/serve_options.h"
#include "engine/engine.h"
#include "ops/kv_layout.h"

namespace weft::cli {

/// What a server's flags come to on a machine: the part of `weft serve` that a plan for a machine
/// which is not there shares with it. Pure.

/// --context-length, or the model's own; refuses more than that.
Result<int32_t> ContextLengthOf(const ServeOptions& options, const ModelConfig& config);

/// The memory of a machine, before the weights are loaded. Where the device is a CPU the host's is
/// the same memory.
struct MachineMemory {
  bool is_gpu = false;
  Bytes device_free = 0;
  Bytes device_total = 0;
  Bytes host_free = 0;
  Bytes host_total = 0;
};

/// What is set aside at the start.
struct MemorySizes {
  ops::KvLayout kv;
  int32_t page_count = 0;       ///< Of the pool; counts page 0.
  int32_t host_page_count = 0;  ///< Of the images in host memory, likewise.
};

/// Refuses flags that ask for more than there is, or leave the pool too small.
Result<MemorySizes> ChooseMemorySizes(const ServeOptions& options, const ModelConfig& config,
                                      int32_t context_length, const MachineMemory& memory);

/// Without arenas.
engine::EngineOptions EngineOptionsOf(const ServeOptions& options, const MemorySizes& sizes,
                                      int32_t context_length, bool is_gpu);

}  // namespace weft::cli

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "checkpoint/model_config.h"
#include "ops/cuda/lora_work.h"
#include "ops/lora.h"

namespace weft::ops::cuda {

/// What the numbers of a model's projections are.
struct LoraShape {
  int32_t layers = 0;
  std::array<int32_t, kProjectionCount> in = {};
  std::array<int32_t, kProjectionCount> out = {};
};
LoraShape LoraShapeOf(const ModelConfig& config);

/// A resident adapter as a step names it. Made when its table is uploaded.
struct ResidentLora {
  uint64_t table = 0;  ///< Device address, 16-byte aligned.
  std::array<uint8_t, kProjectionCount> tiles = {};
  uint8_t table_tiles = 0;
};

/// Bytes of an adapter's table: modules, then tiles [layer][projection][table_tiles]. 32 KiB for
/// rank 128 on 32 layers.
Bytes LoraTableBytes(const AdapterTable& adapter);
/// Writes the table into `into` (LoraTableBytes), to be uploaded as it is.
void WriteLoraTable(const AdapterTable& adapter, std::span<std::byte> into);
ResidentLora DescribeLora(const AdapterTable& adapter, uint64_t table);

/// One sequence's rows of a step.
struct LoraRows {
  int32_t first_row = 0;
  int32_t rows = 0;
  const ResidentLora* adapter = nullptr;  ///< Null: the base model alone.
};

/// Bytes of a LoraStep.
struct LoraStepPart {
  Bytes offset = 0;
  Bytes bytes = 0;
};

/// What the host must know of a step it built.
struct LoraStepPlan {
  bool any = false;      ///< Any row uses an adapter. If not, nothing need be launched.
  bool decode = false;   ///< The decode kernels have work (they also write the zeros).
  bool prefill = false;  ///< The prefill kernels have work.
  /// What kernels read of the LoraStep: to be uploaded.
  std::vector<LoraStepPart> parts;
  int64_t scratch_floats = 0;  ///< What the step's largest operator needs.
};

/// Floats of scratch that no step of `max_rows` rows and ranks up to `max_rank` exceeds.
int64_t LoraScratchFloats(const LoraShape& shape, int32_t max_rows, int32_t max_rank);

/// Groups the step's rows by adapter, wherever they stand, and numbers the work of every operator.
/// `row_numbers`, to be uploaded beside the step, has one entry for each row of `sequences`. At
/// most kMaxLoraGroups - 1 adapters. Neither depends on a layer. `multiprocessors`: as in
/// LoraParams.
LoraStepPlan BuildLoraStep(const LoraShape& shape, std::span<const LoraRows> sequences,
                           int32_t multiprocessors, LoraStep& step, std::span<int32_t> row_numbers);

}  // namespace weft::ops::cuda

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "ops/operators.h"

namespace weft::model {

/// What a step's time goes into: its operators in their order, then what lies between two steps.
enum class StepPart : uint8_t {
  kPrepare,  ///< Operators::BeginStep: pages, rope.
  kEmbed,
  kNorm,  ///< The last norm counts as part of kLogits.
  kQkv,
  kAttention,
  kOutput,
  kGateUp,
  kDown,
  kLogits,
  kSample,
  kHandOver,  ///< From the compute stream to the engine's thread and back.
  kPlan,      ///< The engine's thread: collect tokens, plan, apply.
  kIdle,      ///< Nothing to compute: no requests, or they wait for their adapters.
};
inline constexpr size_t kStepPartCount = 13;

std::string_view StepPartName(StepPart part);
constexpr bool IsOperator(StepPart part) { return part <= StepPart::kSample; }

/// What must move and be computed at least: each weight and tile read once a step, KV of a sequence
/// read once for all rows it has in the step, activations written and read once.
struct Work {
  Bytes weights = 0;
  Bytes kv = 0;
  Bytes adapters = 0;
  Bytes activations = 0;
  double operations = 0;  ///< Multiplications and additions, counted apart.

  Bytes bytes() const { return weights + kv + adapters + activations; }
  Work& operator+=(const Work& other);
  bool operator==(const Work&) const = default;
};

/// A step as far as its cost depends on it.
struct StepShape {
  std::span<const ops::SequenceRows> sequences;
  int32_t logits_rows = 0;
  int32_t logits_calls = 0;  ///< The head's weights are read by each.
  /// Bytes of the matrices in memory over those of their elements: less than 1 where they are
  /// coded.
  double weight_density = 1.0;

  /// A sequence that computes one token decodes; one that computes more prefills.
  bool has_prefill() const;
  bool has_decode() const;
};

/// Elements of all of a model's matrices.
int64_t MatrixElements(const ModelConfig& config);

using StepWork = std::array<Work, kStepPartCount>;

/// What each operator has to do in the whole step, all layers together. Pure.
StepWork WorkOf(const ModelConfig& config, DType dtype, const StepShape& shape);

}  // namespace weft::model

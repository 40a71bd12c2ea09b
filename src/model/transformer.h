#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"
#include "device/device.h"
#include "model/forward_batch.h"
#include "ops/kv_layout.h"
#include "ops/operators.h"

namespace weft::model {

struct ModelWeights;
class StepProfiler;
enum class StepPart : uint8_t;

struct TransformerOptions {
  DType dtype = DType::kBFloat16;
  int threads = 1;               ///< Of the compute team, the calling thread among them.
  int32_t max_rows = 512;        ///< Most tokens of one step.
  int32_t max_sequences = 256;   ///< Most sequences of one step.
  int32_t max_logits_rows = 64;  ///< Logits kept at once; a step that wants more is done in pieces.
  Bytes min_page_bytes = 0;      ///< A page must hold this much (an adapter's largest tile).
  int32_t max_adapters = 64;     ///< Most different adapters of one step.
  int32_t max_lora_rank = 512;   ///< Of any module of any adapter (--max-lora-rank).
  bool deterministic = false;    ///< See ops::OperatorsOptions.
  std::string measured_folder;   ///< See ops::OperatorsOptions.
  uint64_t seed = 0;             ///< Of dummy weights.
};

/// A step that was begun, between Transformer::Start and Finish.
struct StartedStep {
  StartedStep() = default;
  StartedStep(StartedStep&&) = default;
  StartedStep& operator=(StartedStep&&) = default;

  std::vector<ops::SequenceRows> sequences;
  std::vector<int32_t> logits_rows;        ///< Of the step's rows, those with logits.
  std::vector<size_t> order;               ///< The batch's samples by their rows of logits.
  std::vector<ops::SampledToken> sampled;  ///< In that order; the operators fill it.
};

/// The base model with its weights, as a sequence of operators. Owned by the executor; one thread
/// at a time runs it (the compute stream's). All memory of size is allocated in Create.
class Transformer {
 public:
  /// Reads and packs the weights with `options.threads` threads; blocks for as long as the files
  /// take. `weights` null: dummy weights drawn from `options.seed` (--load-format dummy). Errors
  /// name the tensor that is missing or has the wrong shape.
  static Result<std::unique_ptr<Transformer>> Create(const ModelConfig& config,
                                                     const checkpoint::TensorSource* weights,
                                                     device::Device& device,
                                                     const TransformerOptions& options);
  ~Transformer();

  /// Before the first Run: page i lies at arena + i * kv_layout().page_bytes.
  void BindPages(std::byte* arena, int32_t page_count);
  /// Before the first Run: times its parts. Outlives this.
  void SetProfiler(StepProfiler& profiler) { profiler_ = &profiler; }
  /// Runs steps that nobody waits for, so that none later pays for what a backend does once for a
  /// number of rows. They write to page 0. After BindPages; nothing to do on CPUs.
  void WarmUp();
  /// Runs the step on the calling thread and its team. At most max_rows tokens; pages, adapters and
  /// tokens of the batch stay valid until it returns. One result for each of batch.samples, in
  /// order. Every sequence's KV for its rows is written when it returns.
  std::vector<ops::SampledToken> Run(const ForwardBatch& batch);
  /// The same in two halves, of which up to steps_at_once() steps may be begun. Where that is more
  /// than one, Start only gives the device its work, and takes batch.carried from the step that was
  /// started before. The batch stays valid until Finish has returned. Finish may be called on
  /// another thread, once for each step in their order; `times`, if any, is filled.
  StartedStep Start(const ForwardBatch& batch);
  std::vector<ops::SampledToken> Finish(StartedStep step, ops::StepTimes* times = nullptr);
  int32_t steps_at_once() const { return operators_->steps_at_once(); }

  /// Orders adapter tiles for this backend; loader threads use it. Lives as long as this.
  const ops::TilePacker& tile_packer() const { return operators_->tile_packer(); }
  const ops::KvLayout& kv_layout() const { return kv_; }
  const ModelConfig& config() const { return config_; }
  Bytes weight_bytes() const;
  Bytes workspace_bytes() const { return operators_->workspace_bytes(); }

 private:
  Transformer(const ModelConfig& config, const TransformerOptions& options);
  void RunLayers();
  void Lap(StepPart part) const;
  /// The batch's tokens; for a carried one, its number among what the step before sampled.
  std::vector<TokenId> TokensOf(const ForwardBatch& batch) const;
  /// Logits and samples, as many rows at a time as are kept.
  void SampleInPieces(std::span<const ops::SampleRow> samples, StartedStep& step);

  const ModelConfig config_;
  const TransformerOptions options_;
  ops::KvLayout kv_;
  std::byte* arena_ = nullptr;
  std::unique_ptr<ops::Operators> operators_;
  std::unique_ptr<ModelWeights> weights_;
  double weight_density_ = 1.0;       ///< See StepShape.
  StepProfiler* profiler_ = nullptr;  ///< Null: nobody asks.
  std::vector<size_t> places_;        ///< In `sampled`, of the samples of the step started last.
};

}  // namespace weft::model

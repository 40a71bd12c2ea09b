#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bfloat16.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/dtype.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/model_config.h"
#include "device/device.h"
#include "ops/kv_layout.h"
#include "ops/lora.h"
#include "ops/sampling.h"

namespace weft::ops {

/// A weight [out, in] in the order a backend's kernels read. Made by Operators::CreateMatrix.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual Bytes bytes() const = 0;
  /// `values`: rows [first, first + count) of the weight, row-major float. `first` is a multiple of
  /// kMatrixRowGranule; threads may set different rows at once.
  virtual void SetRows(int32_t first, int32_t count, std::span<const float> values) = 0;
  /// The same from bfloat16, to the same weight as from the values widened. What a backend that
  /// keeps bfloat16 overrides; here it widens.
  virtual void SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values);
};

inline constexpr int32_t kMatrixRowGranule = 16;

/// The attention half of a layer. Vectors are float; empty when the model has none. Every vector
/// that an operator is given stays where and as it is for as long as the operators live: a backend
/// may keep a copy by its address.
struct AttentionWeights {
  std::unique_ptr<Matrix> q, k, v, output;
  std::vector<float> q_bias, k_bias, v_bias, output_bias;
  std::vector<float> q_norm, k_norm;  ///< [head_dim], Qwen3's.
  bool rope = true;
};

/// The feed-forward half of a layer.
struct MlpWeights {
  std::unique_ptr<Matrix> gate, up, down;
};

/// One sequence's rows of a step.
struct SequenceRows {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t position = 0;  ///< Of its first row; counted in tokens from the sequence's start.
  std::span<const PageIndex> pages;
  const AdapterTable* adapter = nullptr;  ///< Null: the base model alone.
};

/// What BeginStep takes. Lives until the step's last operator returned.
struct StepRows {
  /// [rows]. A backend that takes several steps at once also takes ~i: the token that the step
  /// before chose as the i-th of all that it sampled.
  std::span<const TokenId> tokens;
  std::span<const SequenceRows> sequences;
};

/// A step on a device that keeps times of its own; zero elsewhere.
struct StepTimes {
  Duration computing{};
  Duration idle{};  ///< Of the device: from the step before until what it must know of this one is
                    ///< there.
};

struct OperatorsOptions {
  DType dtype = DType::kBFloat16;
  int threads = 1;               ///< CPU only: the caller's thread and threads - 1 of its own.
  int32_t max_rows = 512;        ///< Most rows of one step.
  int32_t max_sequences = 256;   ///< Most sequences of one step.
  int32_t max_logits_rows = 64;  ///< Most rows of one Logits call.
  int32_t max_adapters = 64;     ///< Most different adapters of one step.
  int32_t max_lora_rank = 512;   ///< Of any module of any adapter.
  /// A row's result does not depend on the other rows of its step, nor on how its sequence was cut
  /// into steps. Always so on CPUs; on a GPU it costs speed (--deterministic).
  bool deterministic = false;
  /// Where a backend keeps what it measured of the machine, for its next start. Empty: it measures
  /// nothing. Not used when deterministic.
  std::string measured_folder;
  KvLayout kv;
};

/// What a backend offers: the coarse operators of a decoder layer. An instance holds the
/// activations of one step, all allocated when it is created: `x` the residual stream [rows,
/// hidden], `h` the input of the next projection, `queries` [rows, heads, head_dim], and `logits`
/// [logits rows, vocabulary] in float. One thread at a time calls it (the compute stream's).
/// Sums run in a fixed order (promise P4; OperatorsOptions::deterministic). Where a module of a
/// sequence's adapter has tiles, its projection adds scaling * B (A h) in float before anything is
/// rounded.
class Operators {
 public:
  virtual ~Operators() = default;

  virtual const TilePacker& tile_packer() const = 0;
  /// Activations and scratch held.
  virtual Bytes workspace_bytes() const = 0;
  /// Any thread.
  virtual Result<std::unique_ptr<Matrix>> CreateMatrix(int32_t out, int32_t in) = 0;
  /// What a matrix of CreateMatrix takes, as far as that does not depend on its values.
  virtual Bytes MatrixBytes(int32_t out, int32_t in) const {
    return Bytes{out} * in * SizeOf(tile_packer().dtype());
  }
  /// Whether matrices want to be created one at a time in the model's order, by a backend that lays
  /// those that share an input side by side. Otherwise several threads create them, in any order.
  virtual bool CreatesMatricesInOrder() const { return false; }
  /// Where KV lies: page i at arena + i * options.kv.page_bytes, for i < page_count.
  virtual void BindPages(std::byte* arena, int32_t page_count) = 0;

  /// Numbers of decoding sequences with which steps are to be run twice, with and without adapters,
  /// before requests come and until EndWarmUp: a backend chooses, measures and records what it
  /// needs for them, and may spoil their results. None on CPUs.
  virtual std::vector<int32_t> BeginWarmUp() { return {}; }
  virtual void EndWarmUp() {}

  /// How many steps may be begun before the first of them has been awaited. Where it is more than
  /// one, Sample and FinishStep only queue: what Sample fills stays where it is, and a step's
  /// results are there and FinishStep's promise is kept, when AwaitStep has returned.
  virtual int32_t steps_at_once() const { return 1; }

  virtual void BeginStep(const StepRows& step) = 0;
  /// x = rows of `table` [vocabulary, hidden].
  virtual void Embed(const Matrix& table) = 0;
  /// h = x / rms(x) * weight, `weight` [hidden].
  virtual void RmsNorm(std::span<const float> weight) = 0;
  /// queries, K and V = projections of h, plus bias, adapters, q/k norm, rope; K and V go to pages.
  virtual void ProjectQkv(LayerIndex layer, const AttentionWeights& weights) = 0;
  /// h [rows, heads * head_dim] = causal attention of queries over the sequences' pages.
  virtual void Attend(LayerIndex layer) = 0;
  /// x += output projection of h, plus bias, adapters.
  virtual void ProjectOutput(LayerIndex layer, const AttentionWeights& weights) = 0;
  /// h [rows, intermediate] = silu(gate h) * (up h), plus adapters in both.
  virtual void ProjectGateUp(LayerIndex layer, const MlpWeights& weights) = 0;
  /// x += down projection of h, plus adapters.
  virtual void ProjectDown(LayerIndex layer, const MlpWeights& weights) = 0;
  /// logits[i] = head [vocabulary, hidden] * rms_norm(x[rows[i]]), at most max_logits_rows rows.
  virtual void Logits(std::span<const int32_t> rows, std::span<const float> norm,
                      const Matrix& head) = 0;
  /// `samples` name rows of logits as of the last Logits call. One result for each, in order.
  virtual void Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) = 0;
  /// Blocks until everything since BeginStep is done: K and V are in their pages, and nothing reads
  /// adapters any more. The last call of a step.
  virtual void FinishStep() = 0;
  /// Once for each step, in their order, after its FinishStep: blocks until it is done. May be
  /// called on another thread than the rest.
  virtual StepTimes AwaitStep() { return {}; }
};

/// The backend for `device`. Allocates activations from it. Errors: the machine lacks AVX2 and FMA,
/// a shape no kernel takes (head_dim not a multiple of 16 up to 256), memory.
Result<std::unique_ptr<Operators>> CreateOperators(device::Device& device,
                                                   const ModelConfig& config,
                                                   const OperatorsOptions& options);

}  // namespace weft::ops

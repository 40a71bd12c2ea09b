#include "model/transformer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "model/step_profiler.h"
#include "model/weights.h"

namespace weft::model {

Transformer::Transformer(const ModelConfig& config, const TransformerOptions& options)
    : config_(config),
      options_(options),
      kv_(ops::KvLayout::For(config, options.dtype, options.min_page_bytes)) {}

Transformer::~Transformer() = default;

Result<std::unique_ptr<Transformer>> Transformer::Create(const ModelConfig& config,
                                                         const checkpoint::TensorSource* weights,
                                                         device::Device& device,
                                                         const TransformerOptions& options) {
  std::unique_ptr<Transformer> transformer(new Transformer(config, options));
  ops::OperatorsOptions operators;
  operators.dtype = options.dtype;
  operators.threads = options.threads;
  operators.max_rows = options.max_rows;
  operators.max_sequences = options.max_sequences;
  operators.max_logits_rows = options.max_logits_rows;
  operators.deterministic = options.deterministic;
  operators.measured_folder = options.measured_folder;
  operators.max_adapters = options.max_adapters;
  operators.max_lora_rank = options.max_lora_rank;
  operators.kv = transformer->kv_;
  WEFT_ASSIGN_OR_RETURN(transformer->operators_, ops::CreateOperators(device, config, operators));
  const std::unique_ptr<WeightReader> reader =
      weights != nullptr ? ReadFrom(*weights) : DrawFrom(options.seed);
  WEFT_ASSIGN_OR_RETURN(ModelWeights loaded,
                        LoadWeights(config, *reader, *transformer->operators_, options.threads));
  transformer->weights_ = std::make_unique<ModelWeights>(std::move(loaded));
  transformer->weight_density_ =
      static_cast<double>(transformer->weights_->matrix_bytes()) /
      static_cast<double>(MatrixElements(config) * SizeOf(options.dtype));
  return transformer;
}

void Transformer::BindPages(std::byte* arena, int32_t page_count) {
  arena_ = arena;
  operators_->BindPages(arena, page_count);
}

void Transformer::WarmUp() {
  // A page holds the largest tile of 16; whatever page 0 holds will do.
  const ops::LoraTile tile = {arena_, arena_, ops::kRankTileGranule};
  ops::AdapterTable table;
  table.modules.assign(static_cast<size_t>(config_.layers) * kProjectionCount,
                       ops::LoraModule{std::span(&tile, 1), 1.0F});
  const auto adapter = std::make_shared<const ops::AdapterTable>(std::move(table));
  const auto params = std::make_shared<const ops::SamplingParams>();
  for (const int32_t rows : operators_->BeginWarmUp()) {
    for (const bool adapted : {false, true}) {
      ForwardBatch batch;
      batch.tokens.resize(static_cast<size_t>(rows));
      for (int32_t row = 0; row < rows; ++row) {
        batch.slices.push_back({1, 0, {PageIndex(0)}, adapted ? adapter : nullptr, 0});
        batch.samples.push_back({.logits_row = row, .params = params});
      }
      Run(batch);
      Run(batch);
    }
  }
  operators_->EndWarmUp();
}

Bytes Transformer::weight_bytes() const { return weights_->bytes(); }

void Transformer::Lap(StepPart part) const {
  if (profiler_ != nullptr) profiler_->Lap(part);
}

std::vector<ops::SampledToken> Transformer::Run(const ForwardBatch& batch) {
  return Finish(Start(batch));
}

StartedStep Transformer::Start(const ForwardBatch& batch) {
  if (profiler_ != nullptr) profiler_->Begin();
  StartedStep step;
  step.sequences.reserve(batch.slices.size());
  int32_t row = 0;
  for (const SequenceSlice& slice : batch.slices) {
    step.sequences.push_back({row, slice.rows, slice.position, slice.pages, slice.adapter.get()});
    for (int32_t r = slice.first_logits_row; r < slice.rows; ++r)
      step.logits_rows.push_back(row + r);
    row += slice.rows;
  }
  WEFT_CHECK(row == std::ssize(batch.tokens));
  std::vector<TokenId> tokens;
  if (!batch.carried.empty()) tokens = TokensOf(batch);
  operators_->BeginStep({batch.carried.empty() ? batch.tokens : tokens, step.sequences});
  Lap(StepPart::kPrepare);
  RunLayers();
  SampleInPieces(batch.samples, step);
  operators_->FinishStep();
  return step;
}

std::vector<ops::SampledToken> Transformer::Finish(StartedStep step, ops::StepTimes* times) {
  const ops::StepTimes measured = operators_->AwaitStep();
  if (times != nullptr) *times = measured;
  std::vector<ops::SampledToken> results(step.sampled.size());
  for (size_t i = 0; i < results.size(); ++i) results[step.order[i]] = std::move(step.sampled[i]);
  if (profiler_ != nullptr) {
    const auto rows = static_cast<int32_t>(step.logits_rows.size());
    const int32_t calls = (rows + options_.max_logits_rows - 1) / options_.max_logits_rows;
    profiler_->End({step.sequences, rows, calls, weight_density_});
  }
  return results;
}

std::vector<TokenId> Transformer::TokensOf(const ForwardBatch& batch) const {
  WEFT_CHECK(steps_at_once() > 1);  // Else whoever runs steps has taken them already.
  std::vector<TokenId> tokens = batch.tokens;
  for (const CarriedToken& carry : batch.carried)
    tokens[static_cast<size_t>(carry.row)] =
        ~static_cast<TokenId>(places_.at(static_cast<size_t>(carry.sample)));
  return tokens;
}

void Transformer::RunLayers() {
  operators_->Embed(*weights_->embedding);
  Lap(StepPart::kEmbed);
  for (int32_t i = 0; i < config_.layers; ++i) {
    const LayerIndex number(i);
    const LayerWeights& layer = weights_->layers[static_cast<size_t>(i)];
    operators_->RmsNorm(layer.attention_norm);
    Lap(StepPart::kNorm);
    operators_->ProjectQkv(number, layer.attention);
    Lap(StepPart::kQkv);
    operators_->Attend(number);
    Lap(StepPart::kAttention);
    operators_->ProjectOutput(number, layer.attention);
    Lap(StepPart::kOutput);
    operators_->RmsNorm(layer.mlp_norm);
    Lap(StepPart::kNorm);
    operators_->ProjectGateUp(number, layer.mlp);
    Lap(StepPart::kGateUp);
    operators_->ProjectDown(number, layer.mlp);
    Lap(StepPart::kDown);
  }
}

void Transformer::SampleInPieces(std::span<const ops::SampleRow> samples, StartedStep& step) {
  const std::span<const int32_t> logits_rows(step.logits_rows);
  const auto count = static_cast<int32_t>(logits_rows.size());
  step.sampled.resize(samples.size());
  step.order.resize(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) step.order[i] = i;
  std::stable_sort(step.order.begin(), step.order.end(), [&](size_t a, size_t b) {
    return samples[a].logits_row < samples[b].logits_row;
  });
  places_.resize(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) places_[step.order[i]] = i;
  std::vector<ops::SampleRow> piece;
  size_t next = 0;
  for (int32_t first = 0; first < count && next < samples.size();
       first += options_.max_logits_rows) {
    const int32_t rows = std::min(options_.max_logits_rows, count - first);
    const size_t begin = next;
    piece.clear();
    for (; next < samples.size() && samples[step.order[next]].logits_row < first + rows; ++next) {
      piece.push_back(samples[step.order[next]]);
      piece.back().logits_row -= first;
    }
    if (piece.empty()) continue;
    operators_->Logits(logits_rows.subspan(static_cast<size_t>(first), static_cast<size_t>(rows)),
                       weights_->final_norm, weights_->head());
    Lap(StepPart::kLogits);
    operators_->Sample(piece, std::span(step.sampled).subspan(begin, next - begin));
    Lap(StepPart::kSample);
  }
  WEFT_CHECK(next == samples.size());
}

}  // namespace weft::model

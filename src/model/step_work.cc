#include "model/step_work.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace weft::model {
namespace {

/// Rows of a step that use one adapter, wherever they are.
struct AdapterRows {
  const ops::AdapterTable* adapter;
  int64_t rows;
};

std::vector<AdapterRows> RowsByAdapter(std::span<const ops::SequenceRows> sequences) {
  std::vector<AdapterRows> all;
  for (const ops::SequenceRows& sequence : sequences) {
    if (sequence.adapter == nullptr) continue;
    const auto same = std::find_if(all.begin(), all.end(), [&](const AdapterRows& known) {
      return known.adapter == sequence.adapter;
    });
    if (same == all.end()) {
      all.push_back({sequence.adapter, sequence.rows});
    } else {
      same->rows += sequence.rows;
    }
  }
  return all;
}

StepPart PartOf(Projection projection) {
  switch (projection) {
    case Projection::kQ:
    case Projection::kK:
    case Projection::kV:
      return StepPart::kQkv;
    case Projection::kO:
      return StepPart::kOutput;
    case Projection::kGate:
    case Projection::kUp:
      return StepPart::kGateUp;
    case Projection::kDown:
      break;
  }
  return StepPart::kDown;
}

class Counter {
 public:
  Counter(const ModelConfig& config, DType dtype, const StepShape& shape)
      : config_(config),
        element_(SizeOf(dtype)),
        shape_(shape),
        query_(Bytes{config.heads} * config.head_dim),
        kv_(Bytes{config.kv_heads} * config.head_dim) {
    for (const ops::SequenceRows& sequence : shape.sequences) rows_ += sequence.rows;
  }

  StepWork Count() {
    Embed();
    Norms();
    Projections();
    Attention();
    Logits();
    Adapters();
    return work_;
  }

 private:
  Bytes WeightBytes(Bytes elements) const {
    return static_cast<Bytes>(
        std::llround(static_cast<double>(elements * element_) * shape_.weight_density));
  }
  Work& At(StepPart part) { return work_[static_cast<size_t>(part)]; }

  void Embed() {
    Work& embed = At(StepPart::kEmbed);
    embed.weights = WeightBytes(rows_ * config_.hidden);
    embed.activations = rows_ * config_.hidden * kFloat;
  }

  void Norms() {
    const Bytes norms = 2 * Bytes{config_.layers};
    Work& norm = At(StepPart::kNorm);
    norm.weights = norms * config_.hidden * kFloat;
    norm.activations = norms * rows_ * config_.hidden * (kFloat + element_);
    // The square and its sum, the two factors.
    norm.operations = 4.0 * static_cast<double>(norms * rows_ * config_.hidden);
  }

  void Projections() {
    for (const Projection projection : kAllProjections) {
      const Bytes elements = Bytes{config_.InputSize(projection)} * config_.OutputSize(projection);
      Work& work = At(PartOf(projection));
      work.weights += WeightBytes(config_.layers * elements);
      work.operations += 2.0 * static_cast<double>(config_.layers * rows_ * elements);
    }
    const Bytes layer_rows = config_.layers * rows_;
    const Bytes residual = 2 * config_.hidden * kFloat;  // Read, added to, written.
    At(StepPart::kQkv).activations = layer_rows * (config_.hidden + query_) * element_;
    At(StepPart::kQkv).kv = layer_rows * 2 * kv_ * element_;
    At(StepPart::kOutput).activations = layer_rows * (query_ * element_ + residual);
    At(StepPart::kGateUp).activations =
        layer_rows * (config_.hidden + config_.intermediate) * element_;
    At(StepPart::kDown).activations = layer_rows * (config_.intermediate * element_ + residual);
  }

  void Attention() {
    Work& attention = At(StepPart::kAttention);
    attention.activations = config_.layers * rows_ * 2 * query_ * element_;
    for (const ops::SequenceRows& sequence : shape_.sequences) {
      const Bytes tokens = Bytes{sequence.position} + sequence.rows;
      attention.kv += config_.layers * tokens * 2 * kv_ * element_;
      // Row r looks at position + r + 1 tokens: a product with K and one with V.
      const double pairs =
          static_cast<double>(sequence.rows) * (sequence.position + (sequence.rows + 1) / 2.0);
      attention.operations += 4.0 * static_cast<double>(config_.layers * query_) * pairs;
    }
  }

  void Logits() {
    const Bytes head = Bytes{config_.vocabulary} * config_.hidden;
    const Bytes rows = shape_.logits_rows;
    Work& logits = At(StepPart::kLogits);
    logits.weights = shape_.logits_calls * (WeightBytes(head) + config_.hidden * kFloat);
    logits.activations = rows * (config_.hidden + config_.vocabulary) * kFloat;
    logits.operations = 2.0 * static_cast<double>(rows * head);
    At(StepPart::kSample).activations = rows * config_.vocabulary * kFloat;
  }

  void Adapters() {
    for (const auto& [adapter, rows] : RowsByAdapter(shape_.sequences)) {
      for (int32_t layer = 0; layer < config_.layers; ++layer) {
        for (const Projection projection : kAllProjections) {
          Bytes width = 0;
          for (const ops::LoraTile& tile : adapter->Module(LayerIndex(layer), projection).tiles)
            width += tile.width;
          const Bytes elements =
              width * (config_.InputSize(projection) + config_.OutputSize(projection));
          Work& work = At(PartOf(projection));
          work.adapters += elements * element_;
          work.operations += 2.0 * static_cast<double>(rows * elements);
        }
      }
    }
  }

  static constexpr Bytes kFloat = 4;

  const ModelConfig& config_;
  const Bytes element_;
  const StepShape& shape_;
  const Bytes query_;
  const Bytes kv_;
  Bytes rows_ = 0;
  StepWork work_{};
};

}  // namespace

std::string_view StepPartName(StepPart part) {
  constexpr std::array<std::string_view, kStepPartCount> kNames = {
      "prepare", "embed",  "norm",   "qkv",       "attention", "output", "gate-up",
      "down",    "logits", "sample", "hand-over", "plan",      "idle"};
  return kNames[static_cast<size_t>(part)];
}

Work& Work::operator+=(const Work& other) {
  weights += other.weights;
  kv += other.kv;
  adapters += other.adapters;
  activations += other.activations;
  operations += other.operations;
  return *this;
}

bool StepShape::has_prefill() const {
  return std::any_of(sequences.begin(), sequences.end(),
                     [](const ops::SequenceRows& sequence) { return sequence.rows > 1; });
}

bool StepShape::has_decode() const {
  return std::any_of(sequences.begin(), sequences.end(),
                     [](const ops::SequenceRows& sequence) { return sequence.rows == 1; });
}

int64_t MatrixElements(const ModelConfig& config) {
  int64_t layer = 0;
  for (const Projection projection : kAllProjections)
    layer += int64_t{config.InputSize(projection)} * config.OutputSize(projection);
  const int64_t head = int64_t{config.vocabulary} * config.hidden;
  return config.layers * layer + (config.tied_embeddings ? 1 : 2) * head;
}

StepWork WorkOf(const ModelConfig& config, DType dtype, const StepShape& shape) {
  return Counter(config, dtype, shape).Count();
}

}  // namespace weft::model

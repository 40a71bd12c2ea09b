#include "model/naive_transformer.h"

#include <algorithm>
#include <cmath>

#include "base/bfloat16.h"
#include "base/check.h"
#include "device/device_for_test.h"
#include "ops/rope.h"

namespace weft::model::naive {
namespace {

using Row = std::vector<double>;

float Round(DType dtype, float value) {
  return dtype == DType::kFloat32 ? value : ToFloat(ToBFloat16(value));
}

std::vector<float> Random(std::mt19937& generator, int64_t count, float deviation, float mean,
                          DType dtype) {
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = Round(dtype, distribution(generator));
  return values;
}

Row Multiply(const std::vector<float>& weight, int32_t out, const Row& x) {
  Row y(static_cast<size_t>(out));
  for (size_t n = 0; n < y.size(); ++n)
    for (size_t k = 0; k < x.size(); ++k) y[n] += weight[n * x.size() + k] * x[k];
  return y;
}

Row Norm(const Row& x, const std::vector<float>& weight, double epsilon) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + epsilon);
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * inverse * weight[i];
  return y;
}

/// A whole sequence at once, layer by layer.
class Pass {
 public:
  Pass(const ModelConfig& config, const MemoryTensors& tensors, const Adapter* adapter)
      : config_(config), tensors_(tensors), adapter_(adapter) {}

  void RunLayer(int32_t layer, std::vector<Row>& x) const {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    std::vector<Row> q, k, v;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row h = Norm(x[t], Get(prefix + "input_layernorm.weight"), config_.rms_epsilon);
      q.push_back(Heads(layer, Projection::kQ, h, t));
      k.push_back(Heads(layer, Projection::kK, h, t));
      v.push_back(Heads(layer, Projection::kV, h, t));
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Add(x[t], Project(layer, Projection::kO, Attend(q[t], k, v, t)));
      const Row h =
          Norm(x[t], Get(prefix + "post_attention_layernorm.weight"), config_.rms_epsilon);
      Row gate = Project(layer, Projection::kGate, h);
      const Row up = Project(layer, Projection::kUp, h);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1.0 + std::exp(-gate[i]));
      Add(x[t], Project(layer, Projection::kDown, gate));
    }
  }

 private:
  const std::vector<float>& Get(const std::string& name) const { return tensors_.Values(name); }

  static void Add(Row& x, const Row& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  std::string Name(int32_t layer, Projection projection) const {
    const bool mlp = projection == Projection::kGate || projection == Projection::kUp ||
                     projection == Projection::kDown;
    return "model.layers." + std::to_string(layer) + (mlp ? ".mlp." : ".self_attn.") +
           std::string(ProjectionName(projection));
  }

  Row Project(int32_t layer, Projection projection, const Row& x) const {
    const std::string name = Name(layer, projection);
    Row y = Multiply(Get(name + ".weight"), config_.OutputSize(projection), x);
    if (tensors_.Find(name + ".bias") != nullptr)
      for (size_t i = 0; i < y.size(); ++i) y[i] += Get(name + ".bias")[i];
    const Module* module = adapter_ != nullptr ? adapter_->Find(layer, projection) : nullptr;
    if (module != nullptr) {
      const Row low = Multiply(module->a, module->rank, x);
      const Row delta = Multiply(module->b, config_.OutputSize(projection), low);
      for (size_t i = 0; i < y.size(); ++i) y[i] += module->scaling * delta[i];
    }
    return y;
  }

  Row Heads(int32_t layer, Projection projection, const Row& h, size_t position) const {
    Row y = Project(layer, projection, h);
    if (projection == Projection::kV) return y;
    const auto size = static_cast<size_t>(config_.head_dim);
    const std::string norm = "model.layers." + std::to_string(layer) + ".self_attn." +
                             (projection == Projection::kQ ? "q_norm.weight" : "k_norm.weight");
    const std::vector<float> frequencies = ops::RopeFrequencies(config_.rope, config_.head_dim);
    const auto& without = config_.layer_without_rope;
    for (size_t first = 0; first < y.size(); first += size) {
      Row head(y.begin() + static_cast<int64_t>(first),
               y.begin() + static_cast<int64_t>(first + size));
      if (config_.qk_norm) head = Norm(head, Get(norm), config_.rms_epsilon);
      if (without.empty() || !without[static_cast<size_t>(layer)])
        Turn(head, frequencies, position);
      std::copy(head.begin(), head.end(), y.begin() + static_cast<int64_t>(first));
    }
    return y;
  }

  static void Turn(Row& head, const std::vector<float>& frequencies, size_t position) {
    const size_t half = frequencies.size();
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies[i];
      const double a = head[i];
      const double b = head[i + half];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  }

  Row Attend(const Row& q, const std::vector<Row>& k, const std::vector<Row>& v,
             size_t position) const {
    Row out(q.size());
    const auto size = static_cast<size_t>(config_.head_dim);
    for (size_t head = 0; head < static_cast<size_t>(config_.heads); ++head) {
      const size_t kv = head / static_cast<size_t>(config_.heads / config_.kv_heads) * size;
      Row weights(position + 1);
      double max = -1e300;
      for (size_t t = 0; t <= position; ++t) {
        for (size_t d = 0; d < size; ++d) weights[t] += q[head * size + d] * k[t][kv + d];
        weights[t] /= std::sqrt(static_cast<double>(size));
        max = std::max(max, weights[t]);
      }
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - max);
      for (size_t t = 0; t <= position; ++t)
        for (size_t d = 0; d < size; ++d) out[head * size + d] += weights[t] / total * v[t][kv + d];
    }
    return out;
  }

  const ModelConfig& config_;
  const MemoryTensors& tensors_;
  const Adapter* adapter_;
};

}  // namespace

void MemoryTensors::Add(const std::string& name, std::vector<int64_t> shape,
                        std::vector<float> values) {
  infos_[name] = {name, checkpoint::StoredType::kF32, std::move(shape)};
  values_[name] = std::move(values);
}

void MemoryTensors::Remove(const std::string& name) {
  infos_.erase(name);
  values_.erase(name);
}

const checkpoint::TensorInfo* MemoryTensors::Find(std::string_view name) const {
  const auto found = infos_.find(name);
  return found == infos_.end() ? nullptr : &found->second;
}

std::vector<std::string_view> MemoryTensors::Names() const {
  std::vector<std::string_view> names;
  for (const auto& [name, info] : infos_) names.push_back(name);
  return names;
}

Status MemoryTensors::ReadRows(const checkpoint::TensorInfo& tensor, int64_t first_row,
                               int64_t rows, std::span<float> into) const {
  const std::vector<float>& values = values_.at(tensor.name);
  const int64_t columns = tensor.shape.back();
  WEFT_CHECK(std::ssize(into) == rows * columns);
  std::copy_n(values.begin() + first_row * columns, rows * columns, into.begin());
  return OkStatus();
}

Status MemoryTensors::ReadBFloat16Rows(const checkpoint::TensorInfo&, int64_t, int64_t,
                                       std::span<BFloat16>) const {
  WEFT_CHECK(false);  // Every tensor is kF32.
}

std::unique_ptr<MemoryTensors> RandomModel(const ModelConfig& config, DType dtype, uint32_t seed) {
  auto tensors = std::make_unique<MemoryTensors>();
  std::mt19937 generator(seed);
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns, float gain) {
    const float deviation = gain / std::sqrt(static_cast<float>(columns));
    tensors->Add(name, {rows, columns}, Random(generator, rows * columns, deviation, 0, dtype));
  };
  const auto vector = [&](const std::string& name, int64_t size, float deviation, float mean) {
    tensors->Add(name, {size}, Random(generator, size, deviation, mean, DType::kFloat32));
  };
  matrix("model.embed_tokens.weight", config.vocabulary, config.hidden,
         std::sqrt(static_cast<float>(config.hidden)) * 0.5F);
  if (!config.tied_embeddings) matrix("lm_head.weight", config.vocabulary, config.hidden, 2.0F);
  vector("model.norm.weight", config.hidden, 0.1F, config.tied_embeddings ? 0.2F : 1.0F);
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    vector(prefix + "input_layernorm.weight", config.hidden, 0.1F, 1);
    vector(prefix + "post_attention_layernorm.weight", config.hidden, 0.1F, 1);
    for (const Projection projection : kAllProjections) {
      const bool mlp = projection >= Projection::kGate;
      const std::string name =
          prefix + (mlp ? "mlp." : "self_attn.") + std::string(ProjectionName(projection));
      const int32_t out = config.OutputSize(projection);
      matrix(name + ".weight", out, config.InputSize(projection), 1.0F);
      const bool bias = projection < Projection::kO
                            ? config.qkv_bias
                            : projection == Projection::kO && config.output_bias;
      if (bias) vector(name + ".bias", out, 0.3F, 0);
    }
    if (config.qk_norm) {
      vector(prefix + "self_attn.q_norm.weight", config.head_dim, 0.1F, 1);
      vector(prefix + "self_attn.k_norm.weight", config.head_dim, 0.1F, 1);
    }
  }
  return tensors;
}

const Module* Adapter::Find(int32_t layer, Projection projection) const {
  const auto found = modules.find({layer, projection});
  return found == modules.end() ? nullptr : &found->second;
}

void Adapter::Pack(const ModelConfig& config, const ops::TilePacker& packer) {
  table = std::make_shared<ops::AdapterTable>();
  size_t bytes = 0;
  size_t tiles = 0;
  const auto element = static_cast<size_t>(SizeOf(packer.dtype()));
  for (const auto& [place, module] : modules)
    for (const int32_t width : ops::RankTileWidths(module.rank)) {
      const int32_t sizes = config.InputSize(place.second) + config.OutputSize(place.second);
      bytes += static_cast<size_t>(width) * static_cast<size_t>(sizes) * element;
      ++tiles;
    }
  device = device::CreateDeviceForTest();
  memory = std::move(device->AllocateHost(static_cast<Bytes>(bytes))).value();
  // NaN: whatever the packer leaves out would be seen.
  std::fill_n(memory.data(), bytes, std::byte{0xFF});
  table->tiles.reserve(tiles);
  std::byte* next = memory.data();
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (const Projection projection : kAllProjections) {
      const size_t begin = table->tiles.size();
      const Module* module = Find(layer, projection);
      int32_t first = 0;
      for (const int32_t width : ops::RankTileWidths(module != nullptr ? module->rank : 0)) {
        const int32_t in = config.InputSize(projection);
        const int32_t out = config.OutputSize(projection);
        const int32_t rows = std::min(width, module->rank - first);
        std::byte* a = next;
        std::byte* b = a + static_cast<size_t>(width) * static_cast<size_t>(in) * element;
        next = b + static_cast<size_t>(width) * static_cast<size_t>(out) * element;
        packer.PackA(
            std::span(module->a).subspan(static_cast<size_t>(first) * static_cast<size_t>(in),
                                         static_cast<size_t>(rows) * static_cast<size_t>(in)),
            rows, width, in, a);
        packer.PackB(module->b, module->rank, first, rows, width, out, b);
        table->tiles.push_back({a, b, width});
        first += rows;
      }
      table->modules.push_back(
          {std::span(table->tiles).subspan(begin), module != nullptr ? module->scaling : 0.0F});
    }
  }
}

Adapter RandomAdapter(const ModelConfig& config, DType dtype, int32_t rank,
                      const std::vector<Projection>& projections, uint32_t seed) {
  Adapter adapter;
  std::mt19937 generator(seed);
  for (int32_t layer = 0; layer < config.layers; ++layer)
    for (const Projection projection : projections) {
      Module module;
      module.rank = rank;
      module.scaling = 2.0F / std::sqrt(static_cast<float>(rank));
      const int32_t in = config.InputSize(projection);
      module.a =
          Random(generator, int64_t{rank} * in, 1.0F / std::sqrt(static_cast<float>(in)), 0, dtype);
      module.b = Random(generator, int64_t{rank} * config.OutputSize(projection), 0.3F, 0, dtype);
      adapter.modules[{layer, projection}] = std::move(module);
    }
  return adapter;
}

std::vector<std::vector<double>> LogProbabilities(const ModelConfig& config,
                                                  const MemoryTensors& tensors,
                                                  const Adapter* adapter,
                                                  const std::vector<TokenId>& tokens) {
  const std::vector<float>& embedding = tensors.Values("model.embed_tokens.weight");
  std::vector<Row> x;
  for (const TokenId token : tokens) {
    const auto begin = embedding.begin() + int64_t{token} * config.hidden;
    x.emplace_back(begin, begin + config.hidden);
  }
  const Pass pass(config, tensors, adapter);
  for (int32_t layer = 0; layer < config.layers; ++layer) pass.RunLayer(layer, x);
  const std::vector<float>& head =
      config.tied_embeddings ? embedding : tensors.Values("lm_head.weight");
  for (Row& row : x) {
    row = Multiply(head, config.vocabulary,
                   Norm(row, tensors.Values("model.norm.weight"), config.rms_epsilon));
    const double max = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double value : row) sum += std::exp(value - max);
    for (double& value : row) value -= max + std::log(sum);
  }
  return x;
}

}  // namespace weft::model::naive

#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "base/thread_role.h"

namespace weft::model {
namespace {

/// Elements that one thread reads and packs at once: half a megabyte of bfloat16, which stays in
/// its second-level cache from reading to packing.
constexpr int64_t kElementsAtOnce = 256 * 1024;

/// Does every job, several threads each taking the next. The answer is the first error; later jobs
/// are then left out.
template <typename Job, typename Do>
Status ForEach(const std::vector<Job>& jobs, int threads, const Do& work) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  Status first_error;
  const auto run = [&] {
    WeightStaging staging;
    for (size_t i = next++; i < jobs.size() && !failed; i = next++) {
      Status status = work(jobs[i], staging);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (!failed.exchange(true)) first_error = std::move(status);
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  return first_error;
}

struct MatrixJob {
  std::string name;
  std::unique_ptr<ops::Matrix>* into = nullptr;
  int32_t rows = 0;
  int32_t columns = 0;
};

/// Some rows of one matrix.
struct RowsJob {
  const MatrixJob* matrix = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
};

/// Collects what is to be read, then creates and fills it with several threads. Used by one
/// LoadWeights.
class WeightLoader {
 public:
  WeightLoader(const ModelConfig& config, const WeightReader& reader, ops::Operators& operators)
      : config_(config), reader_(reader), operators_(operators) {}

  Status AddMatrix(const std::string& name, int32_t rows, int32_t columns,
                   std::unique_ptr<ops::Matrix>& into) {
    WEFT_RETURN_IF_ERROR(reader_.Check(name, rows, columns));
    matrices_.push_back({name, &into, rows, columns});
    return OkStatus();
  }

  Status ReadVector(const std::string& name, int32_t size, std::vector<float>& into) {
    WEFT_RETURN_IF_ERROR(reader_.Check(name, 0, size));
    into.resize(static_cast<size_t>(size));
    return reader_.Read(name, 0, 1, size, into);
  }

  Status AddLayer(int32_t number, LayerWeights& layer);

  Status Run(int threads) {
    const int creators = operators_.CreatesMatricesInOrder() ? 1 : threads;
    WEFT_RETURN_IF_ERROR(
        ForEach(matrices_, creators, [this](const MatrixJob& job, WeightStaging&) -> Status {
          auto matrix = operators_.CreateMatrix(job.rows, job.columns);
          if (!matrix.ok()) return matrix.error().WithContext(job.name);
          *job.into = std::move(matrix).value();
          return OkStatus();
        }));
    std::vector<RowsJob> parts;
    for (const MatrixJob& job : matrices_) {
      constexpr int64_t kGranule = ops::kMatrixRowGranule;
      const int64_t at_once = std::max<int64_t>(1, kElementsAtOnce / job.columns / kGranule);
      for (int64_t first = 0; first < job.rows; first += at_once * kGranule)
        parts.push_back({&job, first, std::min<int64_t>(at_once * kGranule, job.rows - first)});
    }
    return ForEach(parts, threads, [this](const RowsJob& part, WeightStaging& staging) {
      const MatrixJob& job = *part.matrix;
      return reader_.Fill(job.name, part.first_row, part.rows, job.columns, staging, **job.into);
    });
  }

 private:
  Status AddProjection(const std::string& prefix, Projection projection,
                       std::unique_ptr<ops::Matrix>& into) {
    return AddMatrix(prefix + std::string(ProjectionName(projection)) + ".weight",
                     config_.OutputSize(projection), config_.InputSize(projection), into);
  }

  Status ReadBias(const std::string& prefix, Projection projection, std::vector<float>& into) {
    return ReadVector(prefix + std::string(ProjectionName(projection)) + ".bias",
                      config_.OutputSize(projection), into);
  }

  const ModelConfig& config_;
  const WeightReader& reader_;
  ops::Operators& operators_;
  std::vector<MatrixJob> matrices_;
};

Status WeightLoader::AddLayer(int32_t number, LayerWeights& layer) {
  const std::string prefix = fmt::format("model.layers.{}.", number);
  const std::string self = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  ops::AttentionWeights& attention = layer.attention;
  WEFT_RETURN_IF_ERROR(
      ReadVector(prefix + "input_layernorm.weight", config_.hidden, layer.attention_norm));
  WEFT_RETURN_IF_ERROR(
      ReadVector(prefix + "post_attention_layernorm.weight", config_.hidden, layer.mlp_norm));
  WEFT_RETURN_IF_ERROR(AddProjection(self, Projection::kQ, attention.q));
  WEFT_RETURN_IF_ERROR(AddProjection(self, Projection::kK, attention.k));
  WEFT_RETURN_IF_ERROR(AddProjection(self, Projection::kV, attention.v));
  WEFT_RETURN_IF_ERROR(AddProjection(self, Projection::kO, attention.output));
  if (config_.qkv_bias) {
    WEFT_RETURN_IF_ERROR(ReadBias(self, Projection::kQ, attention.q_bias));
    WEFT_RETURN_IF_ERROR(ReadBias(self, Projection::kK, attention.k_bias));
    WEFT_RETURN_IF_ERROR(ReadBias(self, Projection::kV, attention.v_bias));
  }
  if (config_.output_bias)
    WEFT_RETURN_IF_ERROR(ReadBias(self, Projection::kO, attention.output_bias));
  if (config_.qk_norm) {
    WEFT_RETURN_IF_ERROR(ReadVector(self + "q_norm.weight", config_.head_dim, attention.q_norm));
    WEFT_RETURN_IF_ERROR(ReadVector(self + "k_norm.weight", config_.head_dim, attention.k_norm));
  }
  const auto& without_rope = config_.layer_without_rope;
  attention.rope = without_rope.empty() || !without_rope[static_cast<size_t>(number)];
  WEFT_RETURN_IF_ERROR(AddProjection(mlp, Projection::kGate, layer.mlp.gate));
  WEFT_RETURN_IF_ERROR(AddProjection(mlp, Projection::kUp, layer.mlp.up));
  return AddProjection(mlp, Projection::kDown, layer.mlp.down);
}

}  // namespace

Bytes ModelWeights::matrix_bytes() const {
  Bytes sum = embedding->bytes() + (separate_head ? separate_head->bytes() : 0);
  for (const LayerWeights& layer : layers)
    for (const auto* matrix :
         {&layer.attention.q, &layer.attention.k, &layer.attention.v, &layer.attention.output,
          &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down})
      sum += (*matrix)->bytes();
  return sum;
}

Bytes ModelWeights::bytes() const {
  constexpr Bytes kFloat = sizeof(float);
  Bytes sum = matrix_bytes() + std::ssize(final_norm) * kFloat;
  for (const LayerWeights& layer : layers)
    for (const auto* vector :
         {&layer.attention_norm, &layer.mlp_norm, &layer.attention.q_bias, &layer.attention.k_bias,
          &layer.attention.v_bias, &layer.attention.output_bias, &layer.attention.q_norm,
          &layer.attention.k_norm})
      sum += std::ssize(*vector) * kFloat;
  return sum;
}

Result<ModelWeights> LoadWeights(const ModelConfig& config, const WeightReader& reader,
                                 ops::Operators& operators, int threads) {
  AssertMayBlock("LoadWeights");
  ModelWeights weights;
  WeightLoader loader(config, reader, operators);
  WEFT_RETURN_IF_ERROR(loader.AddMatrix("model.embed_tokens.weight", config.vocabulary,
                                        config.hidden, weights.embedding));
  if (!config.tied_embeddings)
    WEFT_RETURN_IF_ERROR(loader.AddMatrix("lm_head.weight", config.vocabulary, config.hidden,
                                          weights.separate_head));
  WEFT_RETURN_IF_ERROR(loader.ReadVector("model.norm.weight", config.hidden, weights.final_norm));
  weights.layers.resize(static_cast<size_t>(config.layers));
  for (int32_t i = 0; i < config.layers; ++i)
    WEFT_RETURN_IF_ERROR(loader.AddLayer(i, weights.layers[static_cast<size_t>(i)]));
  WEFT_RETURN_IF_ERROR(loader.Run(threads));
  return weights;
}

}  // namespace weft::model

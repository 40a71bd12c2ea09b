#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bfloat16.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"
#include "ops/operators.h"

namespace weft::model {

struct LayerWeights {
  std::vector<float> attention_norm, mlp_norm;
  ops::AttentionWeights attention;
  ops::MlpWeights mlp;
};

/// Every weight of a model, as operators take them.
struct ModelWeights {
  std::unique_ptr<ops::Matrix> embedding;
  std::unique_ptr<ops::Matrix> separate_head;  ///< Null when the embedding is the head as well.
  std::vector<float> final_norm;
  std::vector<LayerWeights> layers;

  const ops::Matrix& head() const { return separate_head ? *separate_head : *embedding; }
  Bytes bytes() const;
  Bytes matrix_bytes() const;
};

/// Memory that a thread reuses from one Fill to the next.
struct WeightStaging {
  std::vector<float> floats;
  std::vector<BFloat16> halves;
};

/// Where values of tensors come from: a model's files, or a generator of dummy values. Any thread.
class WeightReader {
 public:
  virtual ~WeightReader() = default;
  /// An error that names the tensor unless it is there as [rows, columns] (rows 0: a vector of
  /// `columns`).
  virtual Status Check(const std::string& name, int64_t rows, int64_t columns) const = 0;
  virtual Status Read(const std::string& name, int64_t first_row, int64_t rows, int64_t columns,
                      std::span<float> into) const = 0;
  /// Reads rows of `name` into the same rows of `matrix`, without a detour over float where both
  /// are bfloat16.
  virtual Status Fill(const std::string& name, int64_t first_row, int64_t rows, int64_t columns,
                      WeightStaging& staging, ops::Matrix& matrix) const;
};

/// Reads a model's own tensors.
std::unique_ptr<WeightReader> ReadFrom(const checkpoint::TensorSource& source);
/// Draws values from `seed`: matrices uniform with deviation 0.02, norms 1, biases 0. The same for
/// every thread count.
std::unique_ptr<WeightReader> DrawFrom(uint64_t seed);

/// Creates every matrix of `config` with `operators` and fills them with `threads` threads, reading
/// and packing at once.
Result<ModelWeights> LoadWeights(const ModelConfig& config, const WeightReader& reader,
                                 ops::Operators& operators, int threads);

}  // namespace weft::model

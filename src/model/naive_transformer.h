#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"
#include "device/device.h"
#include "ops/lora.h"

// For tests: random models and adapters, and a transformer so plain that it is right by reading.
namespace weft::model::naive {

/// Tensors in memory. Values are rounded to `dtype` once, so that both sides compute with the same.
class MemoryTensors final : public checkpoint::TensorSource {
 public:
  void Add(const std::string& name, std::vector<int64_t> shape, std::vector<float> values);
  const std::vector<float>& Values(const std::string& name) const { return values_.at(name); }
  void Remove(const std::string& name);

  const checkpoint::TensorInfo* Find(std::string_view name) const override;
  std::vector<std::string_view> Names() const override;
  Bytes file_bytes() const override { return 0; }
  Status ReadRows(const checkpoint::TensorInfo& tensor, int64_t first_row, int64_t rows,
                  std::span<float> into) const override;
  Status ReadBFloat16Rows(const checkpoint::TensorInfo& tensor, int64_t first_row, int64_t rows,
                          std::span<BFloat16> into) const override;

 private:
  std::map<std::string, checkpoint::TensorInfo, std::less<>> infos_;
  std::map<std::string, std::vector<float>, std::less<>> values_;
};

/// A model with random weights of a size that makes every part matter.
std::unique_ptr<MemoryTensors> RandomModel(const ModelConfig& config, DType dtype, uint32_t seed);

/// One module of a LoRA in plain form: A [rank, in], B [out, rank].
struct Module {
  int32_t rank = 0;
  float scaling = 0.0F;
  std::vector<float> a, b;
};

/// A LoRA in plain form, and as kernels take it, in memory of its own.
struct Adapter {
  std::map<std::pair<int32_t, Projection>, Module> modules;
  std::unique_ptr<device::Device> device;  ///< Whose memory it is.
  device::Buffer memory;                   ///< On the host, where kernels of a GPU can read it too.
  std::shared_ptr<ops::AdapterTable> table;

  const Module* Find(int32_t layer, Projection projection) const;
  void Pack(const ModelConfig& config, const ops::TilePacker& packer);
};

/// Random A and B with `rank` in the given projections of every layer.
Adapter RandomAdapter(const ModelConfig& config, DType dtype, int32_t rank,
                      const std::vector<Projection>& projections, uint32_t seed);

/// Log-probabilities [tokens][vocabulary] in double precision.
std::vector<std::vector<double>> LogProbabilities(const ModelConfig& config,
                                                  const MemoryTensors& tensors,
                                                  const Adapter* adapter,
                                                  const std::vector<TokenId>& tokens);

}  // namespace weft::model::naive

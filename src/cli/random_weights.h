#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "checkpoint/tensor_source.h"
#include "checkpoint/write_safetensors.h"

namespace weft::cli {

/// Writes tensors of normally distributed weights into a safetensors file. An element depends on
/// the seed, its tensor's name and its index alone, so the same seed gives the same file with any
/// number of threads. Memory: two pieces of 8 MiB and a table of 256 KiB for each distinct
/// deviation. One thread calls; `threads` more compute.
class RandomWeights {
 public:
  RandomWeights(uint64_t seed, int threads);

  /// Appends all of `tensor`, whose elements have the standard deviation `deviation`.
  Status Append(checkpoint::SafetensorsWriter& writer, const checkpoint::TensorInfo& tensor,
                double deviation);
  /// Appends all of `tensor` with every element `value`, as norms start.
  Status AppendConstant(checkpoint::SafetensorsWriter& writer, const checkpoint::TensorInfo& tensor,
                        float value);

 private:
  /// Quantiles of the normal distribution in the stored type: 16 random bits pick one.
  const std::vector<std::byte>& Table(checkpoint::StoredType type, double deviation);

  uint64_t seed_;
  int threads_;
  std::vector<float> quantiles_;
  std::map<std::pair<checkpoint::StoredType, double>, std::vector<std::byte>> tables_;
};

/// Bytes of one element of kF32, kF16 or kBF16.
Bytes ElementBytes(checkpoint::StoredType type);

}  // namespace weft::cli

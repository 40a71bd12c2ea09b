#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bfloat16.h"
#include "base/bytes.h"
#include "base/result.h"

namespace weft::checkpoint {

/// How a tensor's elements lie in its file. The block types are GGUF's.
enum class StoredType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct TensorInfo {
  std::string name;  ///< Hugging Face's name, also for tensors of a GGUF.
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;  ///< Row-major, outermost first: [out, in] for a matrix.
};

inline int64_t ElementsOf(const TensorInfo& tensor) {
  int64_t elements = 1;
  for (const int64_t extent : tensor.shape) elements *= extent;
  return elements;
}

/// The tensors of a model, whatever files they lie in. Names are Hugging Face's ("model.layers.0.
/// self_attn.q_proj.weight"); a GGUF's are translated, and its q and k rows of Llama models are put
/// back in Hugging Face's order. Any thread may read; calls block.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// Null when there is none of that name. The pointer lives as long as the source.
  virtual const TensorInfo* Find(std::string_view name) const = 0;
  virtual std::vector<std::string_view> Names() const = 0;
  /// Of the files that the tensors lie in, whole.
  virtual Bytes file_bytes() const = 0;
  /// Rows [first_row, first_row + rows) of a tensor of one or two dimensions (one dimension counts
  /// as a single row) widened to float, `into` = rows x columns.
  virtual Status ReadRows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                          std::span<float> into) const = 0;
  /// The same rows of a tensor that is stored as kBF16, as they are stored.
  virtual Status ReadBFloat16Rows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                                  std::span<BFloat16> into) const = 0;
};

}  // namespace weft::checkpoint

#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/gguf.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// The tensors of a GGUF file under Hugging Face's names, q and k rows of Llama models back in
/// Hugging Face's order. Holds the file open. Immutable; any thread may read.
class GgufSource final : public TensorSource {
 public:
  /// `permuted`: HasPermutedRows of that header. Shapes of q and k must fit the config, which
  /// CheckRequiredTensors makes sure of before the first read.
  GgufSource(std::unique_ptr<File> file, const GgufHeader& header, const ModelConfig& config,
             bool permuted);

  const TensorInfo* Find(std::string_view name) const override;
  std::vector<std::string_view> Names() const override;
  Bytes file_bytes() const override { return file_->size(); }
  Status ReadRows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                  std::span<float> into) const override {
    return Read(tensor, first_row, rows, into);
  }
  Status ReadBFloat16Rows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                          std::span<BFloat16> into) const override {
    return Read(tensor, first_row, rows, into);
  }

 private:
  struct Entry {
    TensorInfo info;
    Bytes offset = 0;
    bool permuted = false;
  };
  /// `Element`: float or BFloat16.
  template <typename Element>
  Status Read(const TensorInfo& tensor, int64_t first_row, int64_t rows,
              std::span<Element> into) const;
  template <typename Element>
  Status ReadPermuted(const Entry& entry, int64_t columns, int64_t first_row, int64_t rows,
                      std::span<Element> into) const;
  template <typename Element>
  Status ReadPermutedBias(const Entry& entry, std::span<Element> into) const;
  /// Where the row of Hugging Face's order lies.
  int64_t StoredRow(int64_t row) const;

  const std::unique_ptr<File> file_;
  const int64_t head_dim_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace weft::checkpoint

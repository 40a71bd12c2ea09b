#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// The tensors of a Hugging Face folder: model.safetensors, or the files that
/// model.safetensors.index.json names. Holds the files open. Immutable; any thread may read.
class SafetensorsSource final : public TensorSource {
 public:
  /// Reads and checks the index and every header. An index that names an absent file, or a tensor
  /// that its file does not have, is an error. Blocks.
  static Result<std::unique_ptr<SafetensorsSource>> Open(FileSystem& files,
                                                         const std::string& folder);

  const TensorInfo* Find(std::string_view name) const override;
  std::vector<std::string_view> Names() const override;
  Bytes file_bytes() const override;
  Status ReadRows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                  std::span<float> into) const override {
    return Read(tensor, first_row, rows, into);
  }
  Status ReadBFloat16Rows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                          std::span<BFloat16> into) const override {
    return Read(tensor, first_row, rows, into);
  }

  /// An error that names the first of `wanted` that is there, but in a dtype that cannot be read.
  Status CheckReadable(const std::vector<TensorInfo>& wanted) const;

 private:
  struct Entry {
    TensorInfo info;
    const File* file = nullptr;
    Bytes offset = 0;
  };
  SafetensorsSource() = default;
  /// `Element`: float or BFloat16.
  template <typename Element>
  Status Read(const TensorInfo& tensor, int64_t first_row, int64_t rows,
              std::span<Element> into) const;
  Status AddFile(FileSystem& files, const std::string& path,
                 const std::map<std::string, std::string>* index, const std::string& file_name);

  std::vector<std::unique_ptr<File>> files_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> unreadable_;  ///< Name -> dtype.
};

}  // namespace weft::checkpoint

#pragma once

#include <cstddef>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// Writes a safetensors file as a stream: the header from a list of tensors, then each tensor's
/// elements in that order, in pieces of any size. It writes beside the path and renames when
/// finished, so a reader never sees half a file; what is not finished is removed. One thread.
class SafetensorsWriter {
 public:
  /// Types kF32, kF16 and kBF16. `metadata` is the header's "__metadata__".
  static Result<SafetensorsWriter> Create(const std::string& path, std::vector<TensorInfo> tensors,
                                          const std::map<std::string, std::string>& metadata);
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  /// The next stored bytes. More than the header announced is a program error.
  Status Append(std::span<const std::byte> raw);
  /// The next elements, converted to the type of the tensor that they belong to. They must not
  /// reach beyond that tensor's end.
  Status AppendFloats(std::span<const float> values);
  /// Flushes and renames. Fewer bytes than announced is a program error.
  Status Finish();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weft::checkpoint

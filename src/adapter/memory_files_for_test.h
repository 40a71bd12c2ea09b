#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "adapter/model_shapes_for_test.h"
#include "base/bfloat16.h"
#include "base/file.h"
#include "checkpoint/half_float.h"
#include "checkpoint/tensor_source.h"
#include "ops/lora.h"

namespace weft::adapter {

/// Files in memory that can be changed, cut, removed, and made slow. Any thread.
class MemoryFiles final : public FileSystem {
 public:
  /// Called before each read of a file, without a lock; may change the files or sleep.
  using ReadHook = std::function<void(const std::string& path, Bytes offset)>;

  void Write(const std::string& path, std::string content) {
    std::lock_guard lock(mutex_);
    files_[path] = {std::make_shared<std::string>(std::move(content)), ++changes_};
  }
  void Remove(const std::string& path) {
    std::lock_guard lock(mutex_);
    files_.erase(path);
  }
  /// Changes what open files see too, as truncate(2) does; the stamp only if told so.
  void Cut(const std::string& path, size_t size, bool stamp) {
    std::lock_guard lock(mutex_);
    files_.at(path).content->resize(size);
    if (stamp) files_.at(path).modified = ++changes_;
  }
  /// As if the file had been written again with the same bytes.
  void Touch(const std::string& path) {
    std::lock_guard lock(mutex_);
    files_.at(path).modified = ++changes_;
  }
  void OnRead(ReadHook hook) {
    std::lock_guard lock(mutex_);
    hook_ = std::make_shared<const ReadHook>(std::move(hook));
  }

  Result<std::unique_ptr<File>> Open(const std::string& path) override {
    std::lock_guard lock(mutex_);
    if (!files_.contains(path)) return Missing(path);
    return std::unique_ptr<File>(new OpenFile(*this, path, files_.at(path).content));
  }
  Result<FileStamp> Stat(const std::string& path) override {
    std::lock_guard lock(mutex_);
    if (IsFolder(path)) return FileStamp{};
    if (!files_.contains(path)) return Missing(path);
    const Entry& entry = files_.at(path);
    return FileStamp{
        sizes_.contains(path) ? sizes_.at(path) : static_cast<Bytes>(entry.content->size()),
        entry.modified};
  }
  Result<std::vector<std::string>> ListFolders(const std::string&) override {
    return std::vector<std::string>();
  }
  Result<std::string> Resolve(const std::string& path) override { return path; }
  /// What Stat says, whatever the content: a cut that nobody notices but the read.
  void FreezeSize(const std::string& path) {
    std::lock_guard lock(mutex_);
    sizes_[path] = static_cast<Bytes>(files_.at(path).content->size());
  }

 private:
  struct Entry {
    std::shared_ptr<std::string> content;
    int64_t modified = 0;
  };
  class OpenFile final : public File {
   public:
    OpenFile(MemoryFiles& files, std::string path, std::shared_ptr<std::string> content)
        : files_(files),
          path_(std::move(path)),
          content_(std::move(content)),
          size_(static_cast<Bytes>(content_->size())) {}
    Bytes size() const override { return size_; }
    Status Read(Bytes offset, std::span<std::byte> into) const override {
      if (const auto hook = files_.hook()) (*hook)(path_, offset);
      std::lock_guard lock(files_.mutex_);
      if (static_cast<size_t>(offset) + into.size() > content_->size()) {
        return MakeError(ErrorCode::kIo, "'{}': the file is cut short", path_);
      }
      std::memcpy(into.data(), content_->data() + offset, into.size());
      return OkStatus();
    }

   private:
    MemoryFiles& files_;
    const std::string path_;
    const std::shared_ptr<std::string> content_;
    const Bytes size_;
  };

  static Error Missing(const std::string& path) {
    return MakeError(ErrorCode::kNotFound, "cannot open '{}': no such file", path);
  }
  bool IsFolder(const std::string& path) const {
    const auto next = files_.lower_bound(path + "/");
    return next != files_.end() && next->first.starts_with(path + "/");
  }
  std::shared_ptr<const ReadHook> hook() {
    std::lock_guard lock(mutex_);
    return hook_;
  }

  std::mutex mutex_;
  std::map<std::string, Entry> files_;
  std::map<std::string, Bytes> sizes_;
  std::shared_ptr<const ReadHook> hook_;
  int64_t changes_ = 0;
};

/// Tiles in plain order: A [width, in], B [out, width].
class PlainPacker final : public ops::TilePacker {
 public:
  explicit PlainPacker(DType dtype) : dtype_(dtype) {}
  DType dtype() const override { return dtype_; }
  void PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
             std::byte* tile) const override {
    for (int32_t row = 0; row < width; ++row) {
      for (int32_t column = 0; column < in; ++column) {
        Put(tile, Int(row, in, column), row < rows ? a[Int(row, in, column)] : 0.0F);
      }
    }
  }
  void PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns, int32_t width,
             int32_t out, std::byte* tile) const override {
    for (int32_t row = 0; row < out; ++row) {
      for (int32_t column = 0; column < width; ++column) {
        Put(tile, Int(row, width, column),
            column < columns ? b[Int(row, rank, first + column)] : 0.0F);
      }
    }
  }
  /// The element that Put wrote.
  float Get(const std::byte* tile, size_t index) const {
    if (dtype_ == DType::kFloat32) {
      float value = 0;
      std::memcpy(&value, tile + index * 4, 4);
      return value;
    }
    BFloat16 value;
    std::memcpy(&value, tile + index * 2, 2);
    return ToFloat(value);
  }

 private:
  static size_t Int(int32_t row, int32_t columns, int32_t column) {
    return static_cast<size_t>(row) * static_cast<size_t>(columns) + static_cast<size_t>(column);
  }
  void Put(std::byte* tile, size_t index, float value) const {
    if (dtype_ == DType::kFloat32) {
      std::memcpy(tile + index * 4, &value, 4);
    } else {
      const BFloat16 narrow = ToBFloat16(value);
      std::memcpy(tile + index * 2, &narrow, 2);
    }
  }
  const DType dtype_;
};

/// A small model that adapters in tests are for.
inline ModelConfig SmallModel() {
  ModelConfig config = ShapeOf(64, 96, 4, 4, 2, 16);
  config.name = "small";
  return config;
}

/// A PEFT adapter of all projections whose element i of tensor t is a small number that depends on
/// both, exact in every type.
class AdapterFolder {
 public:
  AdapterFolder(const ModelConfig& model, int32_t rank, checkpoint::StoredType type, uint64_t seed)
      : rank_(rank), type_(type) {
    std::mt19937_64 random(seed);
    for (int32_t layer = 0; layer < model.layers; ++layer) {
      for (const Projection projection : kAllProjections) {
        const std::string name = Name(layer, projection);
        tensors_[name + ".lora_A.weight"] = {
            {rank, model.InputSize(projection)},
            Values(random, static_cast<size_t>(rank) * model.InputSize(projection))};
        tensors_[name + ".lora_B.weight"] = {
            {model.OutputSize(projection), rank},
            Values(random, static_cast<size_t>(rank) * model.OutputSize(projection))};
      }
    }
  }

  static std::string Name(int32_t layer, Projection projection) {
    const bool mlp = projection >= Projection::kGate;
    return "base_model.model.model.layers." + std::to_string(layer) +
           (mlp ? ".mlp." : ".self_attn.") + std::string(ProjectionName(projection));
  }
  std::vector<float>& Matrix(int32_t layer, Projection projection, char which) {
    return tensors_.at(Name(layer, projection) + ".lora_" + which + ".weight").values;
  }

  /// Writes both files under `path`.
  void WriteTo(MemoryFiles& files, const std::string& path) const {
    files.Write(path + "/adapter_config.json",
                R"({"peft_type": "LORA", "r": )" + std::to_string(rank_) +
                    R"(, "lora_alpha": 32, "target_modules": "all-linear"})");
    files.Write(path + "/adapter_model.safetensors", Safetensors());
  }

 private:
  struct Tensor {
    std::vector<int32_t> shape;
    std::vector<float> values;
  };
  static std::vector<float> Values(std::mt19937_64& random, size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(random() % 255) / 16.0F - 8.0F;
    return values;
  }
  std::string Safetensors() const {
    const char* dtype = type_ == checkpoint::StoredType::kF32   ? "F32"
                        : type_ == checkpoint::StoredType::kF16 ? "F16"
                                                                : "BF16";
    std::string header = "{";
    std::string data;
    for (const auto& [name, tensor] : tensors_) {
      const size_t begin = data.size();
      for (const float value : tensor.values) AppendValue(data, value);
      if (header.size() > 1) header += ",";
      header += '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" +
                std::to_string(tensor.shape[0]) + "," + std::to_string(tensor.shape[1]) +
                R"(],"data_offsets":[)" + std::to_string(begin) + "," +
                std::to_string(data.size()) + "]}";
    }
    header += "}";
    while (header.size() % 8 != 0) header += ' ';
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data;
  }
  void AppendValue(std::string& data, float value) const {
    if (type_ == checkpoint::StoredType::kF32) {
      data.append(reinterpret_cast<const char*>(&value), 4);
      return;
    }
    const uint16_t bits = type_ == checkpoint::StoredType::kF16 ? checkpoint::FloatToHalf(value)
                                                                : ToBFloat16(value).bits;
    data.append(reinterpret_cast<const char*>(&bits), 2);
  }

  const int32_t rank_;
  const checkpoint::StoredType type_;
  std::map<std::string, Tensor> tensors_;
};

/// Pages full of NaN, as whoever held them before might leave them.
class TestPages {
 public:
  TestPages(int32_t count, Bytes page_bytes) : page_bytes_(page_bytes) {
    for (int32_t page = 0; page < count; ++page) {
      memory_.emplace_back(static_cast<size_t>(page_bytes), std::byte{0xFF});
    }
  }
  std::vector<std::byte*> addresses() {
    std::vector<std::byte*> result;
    for (auto& page : memory_) result.push_back(page.data());
    return result;
  }
  std::vector<std::vector<std::byte>>& memory() { return memory_; }
  const std::byte* At(ImageOffset place) const {
    return memory_[static_cast<size_t>(place.page)].data() + place.offset;
  }

 private:
  const Bytes page_bytes_;
  std::vector<std::vector<std::byte>> memory_;
};

}  // namespace weft::adapter

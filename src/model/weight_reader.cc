#include <array>
#include <functional>
#include <string_view>

#include "base/philox.h"
#include "model/weights.h"

namespace weft::model {
namespace {

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

template <typename T>
std::span<T> Sized(std::vector<T>& values, int64_t size) {
  values.resize(static_cast<size_t>(size));
  return values;
}

class SourceReader final : public WeightReader {
 public:
  explicit SourceReader(const checkpoint::TensorSource& source) : source_(source) {}

  Status Check(const std::string& name, int64_t rows, int64_t columns) const override {
    const checkpoint::TensorInfo* tensor = source_.Find(name);
    std::vector<int64_t> wanted = {columns};
    if (rows > 0) wanted.insert(wanted.begin(), rows);
    if (tensor == nullptr)
      return MakeError(ErrorCode::kInvalidArgument,
                       "the model has no tensor '{}'; its config asks for one of shape {}", name,
                       ShapeText(wanted));
    if (tensor->shape != wanted)
      return MakeError(ErrorCode::kInvalidArgument,
                       "tensor '{}' has shape {}, but the model's config asks for {}", name,
                       ShapeText(tensor->shape), ShapeText(wanted));
    return OkStatus();
  }

  Status Read(const std::string& name, int64_t first_row, int64_t rows, int64_t,
              std::span<float> into) const override {
    return source_.ReadRows(*source_.Find(name), first_row, rows, into);
  }

  Status Fill(const std::string& name, int64_t first_row, int64_t rows, int64_t columns,
              WeightStaging& staging, ops::Matrix& matrix) const override {
    const checkpoint::TensorInfo& tensor = *source_.Find(name);
    if (tensor.type != checkpoint::StoredType::kBF16)
      return WeightReader::Fill(name, first_row, rows, columns, staging, matrix);
    const std::span<BFloat16> values = Sized(staging.halves, rows * columns);
    WEFT_RETURN_IF_ERROR(source_.ReadBFloat16Rows(tensor, first_row, rows, values));
    matrix.SetBFloat16Rows(static_cast<int32_t>(first_row), static_cast<int32_t>(rows), values);
    return OkStatus();
  }

 private:
  const checkpoint::TensorSource& source_;
};

class DummyReader final : public WeightReader {
 public:
  explicit DummyReader(uint64_t seed) : seed_(seed) {}

  Status Check(const std::string&, int64_t, int64_t) const override { return OkStatus(); }

  Status Read(const std::string& name, int64_t first_row, int64_t rows, int64_t columns,
              std::span<float> into) const override {
    if (name.ends_with("norm.weight")) {
      std::fill(into.begin(), into.end(), 1.0F);
    } else if (name.ends_with(".bias")) {
      std::fill(into.begin(), into.end(), 0.0F);
    } else {
      Draw(name, first_row * columns, static_cast<size_t>(rows * columns), into);
    }
    return OkStatus();
  }

 private:
  void Draw(const std::string& name, int64_t first, size_t count, std::span<float> into) const {
    constexpr float kRange = 0.02F * 3.4641016F;  // Uniform over this has deviation 0.02.
    const auto tensor = static_cast<uint32_t>(std::hash<std::string_view>{}(name));
    const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed_),
                                         static_cast<uint32_t>(seed_ >> 32)};
    std::array<uint32_t, 4> words = {};
    for (size_t i = 0; i < count; ++i) {
      const auto index = static_cast<uint64_t>(first) + i;
      if (i == 0 || index % 4 == 0)
        words = Philox(
            {static_cast<uint32_t>(index / 4), static_cast<uint32_t>(index >> 34), tensor, 0}, key);
      into[i] = (OpenUnitInterval(words[index % 4]) - 0.5F) * kRange;
    }
  }

  const uint64_t seed_;
};

}  // namespace

Status WeightReader::Fill(const std::string& name, int64_t first_row, int64_t rows, int64_t columns,
                          WeightStaging& staging, ops::Matrix& matrix) const {
  const std::span<float> values = Sized(staging.floats, rows * columns);
  WEFT_RETURN_IF_ERROR(Read(name, first_row, rows, columns, values));
  matrix.SetRows(static_cast<int32_t>(first_row), static_cast<int32_t>(rows), values);
  return OkStatus();
}

std::unique_ptr<WeightReader> ReadFrom(const checkpoint::TensorSource& source) {
  return std::make_unique<SourceReader>(source);
}

std::unique_ptr<WeightReader> DrawFrom(uint64_t seed) {
  return std::make_unique<DummyReader>(seed);
}

}  // namespace weft::model

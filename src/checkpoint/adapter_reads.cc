#include "checkpoint/adapter_reads.h"

#include <algorithm>

#include "base/check.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

Status CheckFinite(const TensorRef& tensor, std::span<const std::byte> raw,
                   std::optional<int64_t> bad, std::string_view target) {
  if (!bad) return OkStatus();
  const std::optional<int64_t> stored = FirstNotFinite(tensor.type, raw);
  if (stored == bad) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "tensor '{}' has NaN or infinity at row {}, column {} (element {}); the "
                     "adapter's training diverged or its file is corrupt",
                     tensor.name, *bad / tensor.columns, *bad % tensor.columns, *bad);
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "tensor '{}' has a value at row {}, column {} (element {}) that {} cannot hold; "
                   "serve it with --dtype float32",
                   tensor.name, *bad / tensor.columns, *bad % tensor.columns, *bad, target);
}

}  // namespace

std::vector<ReadRange> PlanLayerReads(const AdapterFiles& adapter, LayerIndex layer) {
  const auto first = std::lower_bound(
      adapter.modules.begin(), adapter.modules.end(), layer,
      [](const AdapterModule& module, LayerIndex wanted) { return module.layer < wanted; });
  std::vector<RangePart> parts;
  for (auto module = first; module != adapter.modules.end() && module->layer == layer; ++module) {
    const auto index = static_cast<int32_t>(module - adapter.modules.begin());
    // The offset is the file's until the part has its range.
    parts.push_back(RangePart{index, false, module->a.offset});
    parts.push_back(RangePart{index, true, module->b.offset});
  }
  std::sort(parts.begin(), parts.end(),
            [](const RangePart& x, const RangePart& y) { return x.offset < y.offset; });
  std::vector<ReadRange> ranges;
  for (RangePart& part : parts) {
    const Bytes size = PartTensor(adapter, part).size;
    const bool near =
        !ranges.empty() && part.offset - (ranges.back().offset + ranges.back().size) <= kMergeGap;
    if (!near) ranges.push_back(ReadRange{part.offset, 0, {}});
    ReadRange& range = ranges.back();
    range.size = part.offset + size - range.offset;
    part.offset -= range.offset;
    range.parts.push_back(part);
  }
  return ranges;
}

Status ReadRaw(const File& file, const ReadRange& range, std::span<std::byte> into) {
  WEFT_CHECK(static_cast<Bytes>(into.size()) >= range.size);
  return file.Read(range.offset, into.first(static_cast<size_t>(range.size)));
}

const TensorRef& PartTensor(const AdapterFiles& adapter, const RangePart& part) {
  const AdapterModule& module = adapter.modules[static_cast<size_t>(part.module)];
  return part.is_b ? module.b : module.a;
}

std::span<const std::byte> PartBytes(const AdapterFiles& adapter, const RangePart& part,
                                     std::span<const std::byte> buffer) {
  return buffer.subspan(static_cast<size_t>(part.offset),
                        static_cast<size_t>(PartTensor(adapter, part).size));
}

Status ConvertTensor(const TensorRef& tensor, std::span<const std::byte> raw,
                     std::span<BFloat16> into) {
  WEFT_CHECK(static_cast<int64_t>(into.size()) == tensor.rows * tensor.columns);
  return CheckFinite(tensor, raw, NarrowToBFloat16(tensor.type, raw, into), "bfloat16");
}

Status ConvertTensor(const TensorRef& tensor, std::span<const std::byte> raw,
                     std::span<float> into) {
  WEFT_CHECK(static_cast<int64_t>(into.size()) == tensor.rows * tensor.columns);
  WidenToFloat(tensor.type, raw, into);
  return CheckFinite(tensor, raw, FirstNotFinite(tensor.type, raw), "float32");
}

}  // namespace weft::checkpoint

#include "cli/inspect_adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "adapter/image_read.h"
#include "checkpoint/widen.h"
#include "server/json_writer.h"

namespace weft::cli {
namespace {

using checkpoint::AdapterFiles;
using checkpoint::AdapterModule;

/// "0-3, 7" of ascending numbers.
std::string Ranges(const std::vector<int32_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", numbers[i]);
    if (last > i) text += fmt::format("-{}", numbers[last]);
    i = last + 1;
  }
  return text;
}

void DescribeRanks(const AdapterFiles& adapter, Inspection& inspection) {
  std::map<int32_t, int64_t> ranks;
  for (const AdapterModule& module : adapter.modules) ++ranks[module.rank];
  inspection.AddNumber("max_rank", ranks.size() == 1 ? "rank" : "", adapter.max_rank);
  std::string json;
  std::vector<std::string> texts;
  server::JsonWriter writer(json);
  writer.BeginObject();
  for (const auto& [rank, count] : ranks) {
    writer.Key(std::to_string(rank)).Integer(count);
    texts.push_back(fmt::format("{} in {} module{}", rank, count, count == 1 ? "" : "s"));
  }
  writer.EndObject();
  inspection.facts.push_back({"ranks", std::move(json), ranks.size() == 1 ? "" : "ranks",
                              fmt::format("{}", fmt::join(texts, ", "))});
}

void DescribeScaling(const AdapterFiles& adapter, Inspection& inspection) {
  const auto [least, most] = std::minmax_element(
      adapter.modules.begin(), adapter.modules.end(),
      [](const AdapterModule& x, const AdapterModule& y) { return x.scaling < y.scaling; });
  const auto number = [&inspection](const char* key, const char* name, double value,
                                    std::string text) {
    std::string json;
    server::AppendJsonNumber(value, json);
    inspection.facts.push_back({key, std::move(json), name, std::move(text)});
  };
  number("alpha", "alpha", adapter.config.alpha, fmt::format("{:g}", adapter.config.alpha));
  number("min_scaling", "", least->scaling, "");
  number("max_scaling", "scaling", most->scaling,
         least->scaling == most->scaling
             ? fmt::format("{:g}", most->scaling)
             : fmt::format("{:g} to {:g}", least->scaling, most->scaling));
  inspection.AddYesOrNo("rslora", "rsLoRA", adapter.config.use_rslora);
}

/// What it changes of a base model.
void DescribeModules(const AdapterFiles& adapter, Inspection& inspection) {
  std::vector<int32_t> layers;
  std::array<bool, kProjectionCount> adapted{};
  for (const AdapterModule& module : adapter.modules) {
    if (layers.empty() || layers.back() != module.layer.value())
      layers.push_back(module.layer.value());
    adapted[static_cast<size_t>(module.projection)] = true;
  }
  std::string json;
  std::vector<std::string_view> names;
  server::JsonWriter writer(json);
  writer.BeginArray();
  for (const Projection projection : kAllProjections) {
    if (!adapted[static_cast<size_t>(projection)]) continue;
    names.push_back(ProjectionName(projection));
    writer.String(names.back());
  }
  writer.EndArray();
  inspection.facts.push_back({"target_modules", std::move(json), "target modules",
                              fmt::format("{}", fmt::join(names, ", "))});
  inspection.facts.push_back(
      {"layers", fmt::format("[{}]", fmt::join(layers, ",")), "layers", Ranges(layers)});
  inspection.AddNumber("modules", "modules", std::ssize(adapter.modules));
}

void Describe(const AdapterFiles& adapter, Inspection& inspection) {
  inspection.AddText("base_model", "base model", adapter.config.base_model_name_or_path);
  DescribeRanks(adapter, inspection);
  DescribeScaling(adapter, inspection);
  DescribeModules(adapter, inspection);
  std::map<std::string, Bytes> types;
  for (const AdapterModule& module : adapter.modules) {
    for (const checkpoint::TensorRef* tensor : {&module.a, &module.b}) {
      types[std::string(checkpoint::StoredTypeName(tensor->type))] += tensor->size;
    }
  }
  inspection.AddStoredTypes(types);
  inspection.AddBytes("file_bytes", "files", adapter.config_stamp.size + adapter.file_bytes);
}

void DescribeImage(const adapter::ImageLayout& layout, const ServedShape& base,
                   Inspection& inspection) {
  const Bytes bytes = layout.pages * base.pages.page_bytes;
  inspection.AddText("checked_against", "checked against", base.config.name);
  inspection.AddText("dtype", "served in", DTypeFlag(base.pages.dtype));
  inspection.AddNumber("pages", "pages", layout.pages);
  inspection.AddBytes("page_bytes", "page", base.pages.page_bytes);
  inspection.AddBytes("host_bytes", "host memory", bytes);
  inspection.AddBytes("device_bytes", "device memory", bytes);
  const double empty = 1 - static_cast<double>(layout.used_bytes) / static_cast<double>(bytes);
  inspection.facts.push_back({"empty_share", fmt::format("{:.4f}", empty), "of that empty",
                              fmt::format("{:.1f} %", 100 * empty)});
}

/// Nobody waits for this read.
class NoMonitor final : public adapter::ReadMonitor {
 public:
  Status BeforePiece(Bytes) override { return OkStatus(); }
  void Done(adapter::LoadSpan::Kind, Moment, Moment, Bytes) override {}
};

/// Reads, converts and packs the whole adapter into memory that is then given back.
Status ReadImage(FileSystem& files, const adapter::ImageFormat& format, const ServedShape& base,
                 const std::shared_ptr<const adapter::OpenedAdapter>& opened) {
  WEFT_ASSIGN_OR_RETURN(const device::Buffer memory,
                        base.device->AllocateHost(opened->layout.pages * format.page_bytes));
  std::vector<std::byte*> pages;
  pages.reserve(static_cast<size_t>(opened->layout.pages));
  for (int32_t page = 0; page < opened->layout.pages; ++page) {
    pages.push_back(memory.data() + page * format.page_bytes);
  }
  const SteadyClock clock;
  WEFT_ASSIGN_OR_RETURN(const auto read,
                        adapter::ImageRead::Begin(files, format, clock, opened, pages));
  adapter::ReadStaging staging;
  NoMonitor monitor;
  for (const LayerIndex layer : read->layers()) {
    WEFT_RETURN_IF_ERROR(read->ReadLayer(layer, staging, monitor));
  }
  return read->Finish();
}

/// Against its base model, as a server's loader does it.
Status Check(FileSystem& files, const ServedShape& base, const checkpoint::AdapterLimits& limits,
             bool full, Inspection& inspection) {
  const adapter::ImageFormat format = {base.operators->tile_packer(), base.pages.page_bytes};
  WEFT_ASSIGN_OR_RETURN(const auto opened,
                        adapter::OpenForImage(files, inspection.path, base.config, limits, format));
  inspection.warnings = opened->warnings;
  DescribeImage(opened->layout, base, inspection);
  return full ? ReadImage(files, format, base, opened) : OkStatus();
}

}  // namespace

Inspection InspectAdapter(FileSystem& files, const std::string& path, const ServedShape* base,
                          const checkpoint::AdapterLimits& limits, bool full) {
  Inspection inspection;
  inspection.path = path;
  inspection.kind = "adapter";
  const Result<AdapterFiles> by_itself = checkpoint::OpenAdapterByItself(files, path, limits);
  if (by_itself.ok()) Describe(*by_itself, inspection);
  if (base != nullptr) {
    const Status checked = Check(files, *base, limits, full, inspection);
    if (!checked.ok()) inspection.Refuse(checked.error());
  } else if (by_itself.ok()) {
    inspection.warnings = by_itself->warnings;
    inspection.verdict = Verdict::kNotKnown;
  } else {
    inspection.Refuse(by_itself.error());
  }
  if (inspection.verdict == Verdict::kNo) return inspection;
  if (base == nullptr) {
    inspection.not_checked.push_back("shapes and weights, which need --model-path");
  } else if (!full) {
    inspection.not_checked.push_back("the weights for NaN and infinity, which --full does");
  }
  return inspection;
}

}  // namespace weft::cli

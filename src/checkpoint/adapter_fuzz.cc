// Any bytes as adapter_config.json and, after a zero byte, a safetensors header: an error, or
// modules that fit the base model.
#include <cstdint>
#include <set>

#include "base/check.h"
#include "checkpoint/adapter_reads.h"
#include "checkpoint/peft_adapter.h"

namespace {

weft::ModelConfig TinyModel() {
  weft::ModelConfig model;
  model.name = "tiny";
  model.vocabulary = 272;
  model.hidden = 64;
  model.intermediate = 96;
  model.layers = 2;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 16;
  return model;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::checkpoint;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t zero = text.find('\0');
  const auto config = ParseAdapterConfig(text.substr(0, zero));
  if (!config.ok() || zero == text.npos) return 0;
  // As many bytes of data as the header asks for, when it asks for few.
  const std::string_view json = text.substr(zero + 1);
  weft::Bytes data_bytes = 0;
  const size_t last = json.rfind("\"data_offsets\":[");
  if (last != json.npos) {
    const size_t comma = json.find(',', last);
    if (comma != json.npos) data_bytes = std::atoi(std::string(json.substr(comma + 1, 8)).c_str());
  }
  if (data_bytes < 0) return 0;
  const auto header = ParseSafetensorsHeader(json, data_bytes, "fuzz");
  if (!header.ok()) return 0;
  const weft::ModelConfig model = TinyModel();
  const auto adapter = CheckAdapter(*config, *header, model, AdapterLimits{}, "fuzz");
  const auto by_itself = CheckAdapterByItself(*config, *header, AdapterLimits{}, "fuzz");
  if (!adapter.ok()) return 0;
  WEFT_CHECK(by_itself.ok());
  size_t parts = 0;
  for (int32_t layer = 0; layer < model.layers; ++layer) {
    for (const ReadRange& range : PlanLayerReads(*adapter, weft::LayerIndex(layer))) {
      WEFT_CHECK(range.offset >= 0 && range.offset + range.size <= data_bytes);
      parts += range.parts.size();
    }
  }
  WEFT_CHECK(parts == 2 * adapter->modules.size());
  for (const AdapterModule& module : adapter->modules) {
    WEFT_CHECK(module.a.columns == model.InputSize(module.projection));
    WEFT_CHECK(module.b.rows == model.OutputSize(module.projection));
    WEFT_CHECK(module.a.rows == module.rank && module.b.columns == module.rank);
  }
  return 0;
}

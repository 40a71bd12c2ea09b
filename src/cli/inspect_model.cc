#include "cli/inspect_model.h"

#include <fmt/format.h>

#include <map>
#include <thread>
#include <utility>

#include "checkpoint/model_files.h"
#include "checkpoint/required_tensors.h"
#include "checkpoint/widen.h"
#include "cli/model_text.h"
#include "cli/served_shape.h"
#include "model/transformer.h"

namespace weft::cli {
namespace {

/// "134.5 million" of a large number.
std::string Rounded(int64_t number) {
  const auto real = static_cast<double>(number);
  if (real >= 1e9) return fmt::format("{:.2f} billion", real * 1e-9);
  if (real >= 1e6) return fmt::format("{:.1f} million", real * 1e-6);
  return std::to_string(number);
}

void DescribeShape(const ModelConfig& config, Inspection& inspection) {
  int64_t parameters = 0;
  for (const checkpoint::TensorInfo& tensor : checkpoint::RequiredTensors(config)) {
    parameters += ElementsOf(tensor);
  }
  inspection.AddText("architecture", "architecture", ArchitectureName(config.architecture));
  inspection.facts.push_back(
      {"parameters", std::to_string(parameters), "parameters", Rounded(parameters)});
  inspection.AddNumber("layers", "layers", config.layers);
  inspection.AddNumber("hidden", "hidden size", config.hidden);
  inspection.AddNumber("intermediate", "intermediate size", config.intermediate);
  inspection.AddNumber("heads", "heads", config.heads);
  inspection.AddNumber("kv_heads", "kv heads", config.kv_heads);
  inspection.AddNumber("head_dim", "head dim", config.head_dim);
  inspection.AddNumber("vocabulary", "vocabulary", config.vocabulary);
  inspection.AddNumber("context_length", "context length", config.context_length);
}

void DescribeFiles(const checkpoint::ModelFiles& model, Inspection& inspection) {
  if (model.tensors != nullptr) {
    std::map<std::string, Bytes> types;
    for (const std::string_view name : model.tensors->Names()) {
      const checkpoint::TensorInfo& tensor = *model.tensors->Find(name);
      types[std::string(checkpoint::StoredTypeName(tensor.type))] +=
          checkpoint::StoredBytes(tensor.type, ElementsOf(tensor));
    }
    inspection.AddStoredTypes(types);
    inspection.AddBytes("file_bytes", "files", model.tensors->file_bytes());
  }
  inspection.AddYesOrNo("tokenizer", "tokenizer",
                        !model.tokenizer_json.empty() || !model.tokenizer_model.empty() ||
                            model.gguf_vocabulary.has_value());
}

void DescribeMemory(const ServedShape& shape, Inspection& inspection) {
  const ops::KvLayout& pages = shape.pages;
  inspection.AddText("dtype", "served in", DTypeFlag(pages.dtype));
  inspection.AddBytes("weight_bytes", "weights", shape.weight_bytes());
  inspection.AddBytes("kv_bytes_per_token", "kv of a token",
                      pages.page_bytes / pages.tokens_per_page);
  inspection.AddBytes("page_bytes", "page", pages.page_bytes);
  inspection.AddNumber("tokens_per_page", "tokens in a page", pages.tokens_per_page);
  inspection.AddNumber("tokens_per_gib", "tokens in 1 GiB",
                       kGiB / pages.page_bytes * pages.tokens_per_page);
}

/// Reads and packs every weight.
Status LoadWeights(const checkpoint::ModelFiles& model, const ServedShape& shape,
                   Inspection& inspection) {
  model::TransformerOptions options;
  options.dtype = shape.pages.dtype;
  options.threads = static_cast<int>(std::thread::hardware_concurrency());
  options.max_rows = 1;
  options.max_sequences = 1;
  options.max_logits_rows = 1;
  options.max_adapters = 1;
  options.max_lora_rank = ops::kRankTile;
  options.min_page_bytes = shape.pages.page_bytes;
  auto loaded =
      model::Transformer::Create(model.config, model.tensors.get(), *shape.device, options);
  if (!loaded.ok()) return loaded.error();
  inspection.AddBytes("loaded_weight_bytes", "weights as loaded", (*loaded)->weight_bytes());
  return OkStatus();
}

/// Everything that serving does with the model before it has memory of its size.
Status Check(FileSystem& files, const checkpoint::ModelFiles& model, DType dtype, bool full,
             Inspection& inspection) {
  inspection.warnings = model.config.notes;
  DescribeShape(model.config, inspection);
  DescribeFiles(model, inspection);
  const Result<ModelText> text = LoadModelText(files, model, "", "");
  if (text.ok()) {
    inspection.AddYesOrNo("chat_template", "chat template", text->chat_template != nullptr);
    if (!text->warning.empty()) inspection.warnings.push_back(text->warning);
  }
  // Sizes are worth knowing without a tokenizer too.
  const Result<ServedShape> shape = ServedShape::Create(model.config, dtype);
  if (shape.ok()) DescribeMemory(*shape, inspection);
  if (!text.ok()) return text.error();
  if (!shape.ok()) return shape.error();
  return full ? LoadWeights(model, *shape, inspection) : OkStatus();
}

}  // namespace

Inspection InspectModel(FileSystem& files, const std::string& path, DType dtype, bool full) {
  Inspection inspection;
  inspection.path = path;
  inspection.kind = "model";
  inspection.AddText("format", "format", path.ends_with(".gguf") ? "gguf" : "safetensors");
  const Result<checkpoint::ModelFiles> opened = checkpoint::OpenModel(files, path);
  if (opened.ok()) {
    const Status checked = Check(files, *opened, dtype, full, inspection);
    if (!checked.ok()) inspection.Refuse(checked.error());
    if (inspection.verdict == Verdict::kNo) return inspection;
    if (!full) inspection.not_checked.push_back("the weights, which --full reads");
    inspection.not_checked.push_back("whether there is memory for it");
    return inspection;
  }
  inspection.Refuse(opened.error());
  const Result<checkpoint::ModelFiles> config = checkpoint::OpenModelConfigOnly(files, path);
  if (config.ok()) DescribeShape(config->config, inspection);
  return inspection;
}

}  // namespace weft::cli

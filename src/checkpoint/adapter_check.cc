#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/check.h"
#include "checkpoint/module_selection.h"
#include "checkpoint/peft_adapter.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

using ModuleKey = std::pair<int32_t, Projection>;

/// The two tensors of a module; null until seen.
struct Pair {
  const SafetensorsTensor* a = nullptr;
  const SafetensorsTensor* b = nullptr;
};

std::optional<Projection> FindProjection(std::string_view name) {
  for (Projection projection : kAllProjections) {
    if (ProjectionName(projection) == name) return projection;
  }
  return std::nullopt;
}

/// "model.layers.3.self_attn.q_proj" -> (3, kQ).
std::optional<ModuleKey> ParseModule(std::string_view module) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!module.starts_with(kLayers)) return std::nullopt;
  const std::string_view rest = module.substr(kLayers.size());
  int32_t layer = -1;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const size_t dot = module.rfind('.');
  const std::optional<Projection> projection = FindProjection(module.substr(dot + 1));
  if (error != std::errc() || layer < 0 || !projection) return std::nullopt;
  // Writing it out again catches what else would be taken for it: "layers.03", "mlp.q_proj".
  if (ModuleName(LayerIndex(layer), *projection) != module) return std::nullopt;
  return ModuleKey(layer, *projection);
}

/// Why a tensor is not an A or a B of a projection, when its name says so.
Error ExplainTensor(std::string_view tensor) {
  struct Kind {
    std::string_view part;
    std::string_view what;
    std::string_view remedy;
  };
  constexpr Kind kKinds[] = {
      {"lora_magnitude_vector", "a DoRA magnitude",
       "train with use_dora=False, or merge the adapter into the base model"},
      {"lora_embedding_", "a trained embedding", "train without 'embed_tokens' in target_modules"},
      {"trainable_tokens", "trained token embeddings", "train without trainable_token_indices"},
      {"lora_B.bias", "a bias of lora_B", "train with lora_bias=False"},
      {"modules_to_save", "a whole trained module",
       "train without modules_to_save, or merge the adapter into the base model"},
      {"embed_tokens", "a whole embedding matrix",
       "save with save_embedding_layers=False and without resizing the vocabulary"},
      {"lm_head.lora_", "an adapter of lm_head", "train without 'lm_head' in target_modules"},
      {"lm_head", "a whole output matrix",
       "save with save_embedding_layers=False and without modules_to_save"},
      {".experts.", "an adapter of a mixture of experts", "this base model has none"},
      {"base_layer", "a weight of the base model", "save the adapter with save_pretrained"},
  };
  for (const Kind& kind : kKinds) {
    if (tensor.find(kind.part) == tensor.npos) continue;
    return MakeError(ErrorCode::kUnsupported, "tensor '{}' is {}, which is not supported; {}",
                     tensor, kind.what, kind.remedy);
  }
  if (tensor.ends_with(".bias")) {
    return MakeError(ErrorCode::kUnsupported,
                     "tensor '{}' is a trained bias, which is not supported; train with "
                     "bias=\"none\"",
                     tensor);
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "tensor '{}' is unexpected: names look like "
                   "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', and modules "
                   "are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj",
                   tensor);
}

/// Checks one adapter against one base model, or by itself where `model` is null; a call of Run is
/// its whole life.
class Checker {
 public:
  Checker(const AdapterConfig& config, const SafetensorsHeader& header, const ModelConfig* model,
          const AdapterLimits& limits)
      : config_(config), header_(header), model_(model), limits_(limits) {}

  Result<AdapterFiles> Run() {
    WEFT_RETURN_IF_ERROR(CheckTargetNames());
    WEFT_RETURN_IF_ERROR(Collect());
    WEFT_ASSIGN_OR_RETURN(const TargetSelection targets, TargetSelection::Compile(config_));
    WEFT_RETURN_IF_ERROR(CompareWithTargets(targets));
    WEFT_ASSIGN_OR_RETURN(const PatternKeys ranks, Compile(config_.rank_pattern, "rank_pattern"));
    WEFT_ASSIGN_OR_RETURN(const PatternKeys alphas,
                          Compile(config_.alpha_pattern, "alpha_pattern"));
    adapter_.config = config_;
    adapter_.warnings.insert(adapter_.warnings.begin(), config_.warnings.begin(),
                             config_.warnings.end());
    for (const auto& [key, pair] : pairs_) {
      WEFT_ASSIGN_OR_RETURN(AdapterModule module, MakeModule(key, pair, ranks, alphas));
      adapter_.max_rank = std::max(adapter_.max_rank, module.rank);
      adapter_.modules.push_back(std::move(module));
    }
    WarnOfOtherBase();
    return std::move(adapter_);
  }

 private:
  template <typename T>
  static Result<PatternKeys> Compile(const std::vector<std::pair<std::string, T>>& pattern,
                                     std::string_view field) {
    std::vector<std::string> keys;
    keys.reserve(pattern.size());
    for (const auto& [key, value] : pattern) keys.push_back(key);
    return PatternKeys::Compile(keys, field);
  }

  /// What target_modules and layers_to_transform say by themselves.
  Status CheckTargetNames() {
    bool any = config_.target_modules.kind != ModuleSelector::Kind::kList;
    for (const std::string& name : config_.target_modules.names) {
      const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
      if (last == "lm_head" || last == "embed_tokens") {
        return MakeError(ErrorCode::kUnsupported,
                         "'target_modules' has '{}': adapters of the {} are not supported; train "
                         "without it",
                         name, last == "lm_head" ? "output layer" : "embeddings");
      }
      if (FindProjection(last)) {
        any = true;
      } else {
        adapter_.warnings.push_back(
            fmt::format("'target_modules' has '{}', which is no module of this base model", name));
      }
    }
    if (!any) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "'target_modules' names no module of this base model ({}); it has q_proj, "
                       "k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj",
                       fmt::join(config_.target_modules.names, ", "));
    }
    return CheckLayerNumbers();
  }

  /// PEFT passes over numbers that are too large; when all are, it is an error there too.
  Status CheckLayerNumbers() {
    if (!config_.layers_to_transform || config_.layers_to_transform->empty()) return OkStatus();
    const std::vector<int32_t>& layers = *config_.layers_to_transform;
    const int32_t greatest = *std::max_element(layers.begin(), layers.end());
    if (model_ == nullptr || greatest < model_->layers) return OkStatus();
    std::string text =
        fmt::format("'layers_to_transform' names layer {}, but the base model has layers 0 to {}",
                    greatest, model_->layers - 1);
    if (*std::min_element(layers.begin(), layers.end()) >= model_->layers) {
      return Error{ErrorCode::kInvalidArgument,
                   std::move(text) + ": the adapter was made for another base model" + MadeFor()};
    }
    adapter_.warnings.push_back(std::move(text));
    return OkStatus();
  }

  /// Sorts the header's tensors into pairs.
  Status Collect() {
    for (const SafetensorsTensor& tensor : header_.tensors) {
      std::string_view name = tensor.name;
      const bool is_a = name.ends_with(".lora_A.weight");
      const bool is_b = name.ends_with(".lora_B.weight");
      if (!name.starts_with(kPrefix) || (!is_a && !is_b)) return ExplainTensor(tensor.name);
      name.remove_prefix(kPrefix.size());
      name.remove_suffix(std::string_view(".lora_A.weight").size());
      const std::optional<ModuleKey> key = ParseModule(name);
      if (!key) return ExplainTensor(tensor.name);
      if (model_ != nullptr && key->first >= model_->layers) {
        return MakeError(ErrorCode::kInvalidArgument,
                         "tensor '{}' is of layer {}, but the base model has {} layers: the "
                         "adapter was made for another base model{}",
                         tensor.name, key->first, model_->layers, MadeFor());
      }
      if (!tensor.type) {
        return MakeError(ErrorCode::kUnsupported,
                         "tensor '{}' is stored as {}, which is not supported; supported: F32, "
                         "F16, BF16",
                         tensor.name, tensor.dtype);
      }
      Pair& pair = pairs_[*key];
      (is_a ? pair.a : pair.b) = &tensor;
    }
    if (pairs_.empty()) {
      return MakeError(
          ErrorCode::kInvalidArgument,
          "the weights file has no tensors; save the adapter again with PEFT's save_pretrained");
    }
    return OkStatus();
  }

  /// The base model's layers; without one, those that the weights are of.
  std::vector<int32_t> Layers() const {
    std::vector<int32_t> layers;
    if (model_ != nullptr) {
      for (int32_t layer = 0; layer < model_->layers; ++layer) layers.push_back(layer);
      return layers;
    }
    for (const auto& [key, pair] : pairs_) {
      if (layers.empty() || layers.back() != key.first) layers.push_back(key.first);
    }
    return layers;
  }

  /// Every module that the config chooses has both tensors, and no other module has any.
  Status CompareWithTargets(const TargetSelection& targets) {
    const bool inferred = config_.target_modules.kind == ModuleSelector::Kind::kNone;
    for (const int32_t layer : Layers()) {
      for (Projection projection : kAllProjections) {
        const std::string module = ModuleName(LayerIndex(layer), projection);
        const auto pair = pairs_.find(ModuleKey(layer, projection));
        const bool there = pair != pairs_.end();
        WEFT_ASSIGN_OR_RETURN(const bool wanted, targets.Adapts(module));
        if (there && !wanted) {
          return MakeError(ErrorCode::kInvalidArgument,
                           "tensor '{}' is unexpected: adapter_config.json does not choose module "
                           "'{}' (target_modules, exclude_modules, layers_to_transform)",
                           (pair->second.a != nullptr ? pair->second.a : pair->second.b)->name,
                           module);
        }
        if (there ? pair->second.a != nullptr && pair->second.b != nullptr : !wanted || inferred) {
          continue;
        }
        return MakeError(ErrorCode::kInvalidArgument,
                         "tensor '{}{}.lora_{}.weight' is missing, although adapter_config.json "
                         "chooses that module; save the adapter again",
                         kPrefix, module, there && pair->second.a != nullptr ? 'B' : 'A');
      }
    }
    return OkStatus();
  }

  Result<AdapterModule> MakeModule(const ModuleKey& key, const Pair& pair, const PatternKeys& ranks,
                                   const PatternKeys& alphas) const {
    AdapterModule module;
    module.layer = LayerIndex(key.first);
    module.projection = key.second;
    const std::string name = ModuleName(module.layer, module.projection);
    if (!limits_.allowed[static_cast<size_t>(key.second)]) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "module '{}' is adapted, but the server was not started to serve adapters "
                       "of {}; add it to --lora-target-modules",
                       name, ProjectionName(key.second));
    }
    WEFT_ASSIGN_OR_RETURN(const auto rank_key, ranks.FirstMatch(name));
    WEFT_ASSIGN_OR_RETURN(const auto alpha_key, alphas.FirstMatch(name));
    module.rank = rank_key ? config_.rank_pattern[*rank_key].second : config_.rank;
    const double alpha = alpha_key ? config_.alpha_pattern[*alpha_key].second : config_.alpha;
    const double rank = module.rank;
    module.scaling =
        static_cast<float>(config_.use_rslora ? alpha / std::sqrt(rank) : alpha / rank);
    const std::string_view source = rank_key ? "rank_pattern" : "r";
    WEFT_ASSIGN_OR_RETURN(const int64_t in, SizeBesideRank(*pair.a, key.second, 0));
    WEFT_ASSIGN_OR_RETURN(const int64_t out, SizeBesideRank(*pair.b, key.second, 1));
    WEFT_RETURN_IF_ERROR(CheckShape(*pair.a, {module.rank, in}, 0, source));
    WEFT_RETURN_IF_ERROR(CheckShape(*pair.b, {out, module.rank}, 1, source));
    if (module.rank > limits_.max_rank) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "module '{}' has rank {}, but the server takes at most {}; start it with "
                       "--max-lora-rank {}",
                       name, module.rank, limits_.max_rank, module.rank);
    }
    module.a = MakeRef(*pair.a);
    module.b = MakeRef(*pair.b);
    return module;
  }

  /// What A takes in (`rank_axis` 0), or B puts out (1): as the base model has it; without one, as
  /// it is stored.
  Result<int64_t> SizeBesideRank(const SafetensorsTensor& tensor, Projection projection,
                                 size_t rank_axis) const {
    if (model_ != nullptr) {
      return int64_t{rank_axis == 0 ? model_->InputSize(projection)
                                    : model_->OutputSize(projection)};
    }
    if (tensor.shape.size() == 2) return tensor.shape[1 - rank_axis];
    return MakeError(ErrorCode::kInvalidArgument,
                     "tensor '{}' has shape [{}]: lora_A and lora_B of a projection are matrices",
                     tensor.name, fmt::join(tensor.shape, ", "));
  }

  /// `rank_axis`: which of the two sizes is the rank.
  Status CheckShape(const SafetensorsTensor& tensor, const std::vector<int64_t>& wanted,
                    size_t rank_axis, std::string_view source) const {
    if (tensor.shape == wanted) return OkStatus();
    const bool two = tensor.shape.size() == 2;
    if (two && tensor.shape[1 - rank_axis] == wanted[1 - rank_axis]) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "tensor '{}' has rank {}, but adapter_config.json says {} ('{}')",
                       tensor.name, tensor.shape[rank_axis], wanted[rank_axis], source);
    }
    WEFT_CHECK(model_ != nullptr);  // Without one, only the rank can differ.
    const bool transposed = two && tensor.shape[0] == wanted[1] && tensor.shape[1] == wanted[0];
    return MakeError(ErrorCode::kInvalidArgument,
                     "tensor '{}' has shape [{}], but must have [{}]: {}", tensor.name,
                     fmt::join(tensor.shape, ", "), fmt::join(wanted, ", "),
                     transposed ? std::string("it is transposed; save it as PEFT does")
                     : two ? fmt::format("the adapter was made for another base model than '{}'{}",
                                         model_->name, MadeFor())
                           : std::string("lora_A and lora_B of a projection are matrices"));
  }

  TensorRef MakeRef(const SafetensorsTensor& tensor) const {
    return TensorRef{tensor.name,
                     *tensor.type,
                     tensor.shape[0],
                     tensor.shape[1],
                     header_.data_offset + tensor.offset,
                     tensor.size};
  }

  std::string MadeFor() const {
    const std::string& base = config_.base_model_name_or_path;
    return base.empty() ? std::string() : fmt::format(" ('{}')", base);
  }

  /// Names are compared without folder and case, and "X.Q4_1.gguf" counts as X.
  void WarnOfOtherBase() {
    if (model_ == nullptr) return;
    const auto last_part = [](std::string_view path) {
      while (path.ends_with('/')) path.remove_suffix(1);
      std::string name(path.substr(path.rfind('/') + 1));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      return name;
    };
    const std::string theirs = last_part(config_.base_model_name_or_path);
    const std::string ours = last_part(model_->name);
    if (theirs.empty() || ours.empty() || ours == theirs) return;
    if (ours.starts_with(theirs) && ours.ends_with(".gguf")) return;
    adapter_.warnings.push_back(
        fmt::format("it was made for the base model '{}', but this is '{}'; shapes fit, so it is "
                    "served",
                    config_.base_model_name_or_path, model_->name));
  }

  const AdapterConfig& config_;
  const SafetensorsHeader& header_;
  const ModelConfig* const model_;  ///< Null: the adapter by itself.
  const AdapterLimits& limits_;
  std::map<ModuleKey, Pair> pairs_;
  AdapterFiles adapter_;
};

}  // namespace

Result<AdapterFiles> CheckAdapter(const AdapterConfig& config, const SafetensorsHeader& header,
                                  const ModelConfig& model, const AdapterLimits& limits,
                                  std::string_view name) {
  Result<AdapterFiles> adapter = Checker(config, header, &model, limits).Run();
  if (!adapter.ok()) return adapter.error().WithContext(name);
  return adapter;
}

Result<AdapterFiles> CheckAdapterByItself(const AdapterConfig& config,
                                          const SafetensorsHeader& header,
                                          const AdapterLimits& limits, std::string_view name) {
  Result<AdapterFiles> adapter = Checker(config, header, nullptr, limits).Run();
  if (!adapter.ok()) return adapter.error().WithContext(name);
  return adapter;
}

}  // namespace weft::checkpoint

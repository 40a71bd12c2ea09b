#include "cli/make_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "cli/make_adapter.h"
#include "cli/make_model.h"
#include "cli/number_range.h"

namespace weft::cli {
namespace {

using checkpoint::StoredType;

constexpr int kFailed = 1;
constexpr int kWrongFlags = 2;
constexpr int kLargest = 1 << 24;

const std::map<std::string, StoredType>& Dtypes() {
  static const std::map<std::string, StoredType> dtypes = {{"float32", StoredType::kF32},
                                                           {"float16", StoredType::kF16},
                                                           {"bfloat16", StoredType::kBF16}};
  return dtypes;
}

CLI::CheckedTransformer DtypeTransformer() {
  CLI::CheckedTransformer transformer(Dtypes());
  transformer.description("{float32,float16,bfloat16}");
  return transformer;
}

/// The shape's flags: what is absent comes from --like.
struct ModelFlags {
  MakeModelOptions options;
  std::string like;
  std::string architecture;
  std::optional<int32_t> hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, context;
  std::optional<bool> tied;
};

Result<Architecture> ArchitectureNamed(const std::string& name) {
  for (const Architecture architecture : kAllArchitectures) {
    if (ArchitectureName(architecture) == name) return architecture;
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "--architecture {}: must be llama, mistral, qwen2 or qwen3", name);
}

/// A model of the given sizes alone.
Result<ModelConfig> UnknownModel(const ModelFlags& flags) {
  if (!flags.hidden || !flags.layers || !flags.heads || !flags.intermediate || !flags.vocab) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "name --like ({}), or all of --hidden --layers --heads --intermediate --vocab",
                     fmt::join(KnownModelNames(), ", "));
  }
  ModelConfig config;
  WEFT_ASSIGN_OR_RETURN(
      config.architecture,
      ArchitectureNamed(flags.architecture.empty() ? "llama" : flags.architecture));
  config.qkv_bias = config.architecture == Architecture::kQwen2;
  config.qk_norm = config.architecture == Architecture::kQwen3;
  config.kv_heads = *flags.heads;
  config.head_dim = *flags.hidden / *flags.heads;
  config.context_length = 4096;
  return config;
}

Result<ModelConfig> ShapeOf(const ModelFlags& flags) {
  if (!flags.like.empty() && !flags.architecture.empty()) {
    return Error{ErrorCode::kInvalidArgument, "--architecture: --like already says it; leave one"};
  }
  WEFT_ASSIGN_OR_RETURN(ModelConfig config,
                        flags.like.empty() ? UnknownModel(flags) : KnownModel(flags.like));
  const bool same_heads = !flags.heads && !flags.hidden;
  config.hidden = flags.hidden.value_or(config.hidden);
  config.layers = flags.layers.value_or(config.layers);
  config.heads = flags.heads.value_or(config.heads);
  config.kv_heads = flags.kv_heads.value_or(config.kv_heads);
  config.head_dim =
      flags.head_dim.value_or(same_heads ? config.head_dim : config.hidden / config.heads);
  config.intermediate = flags.intermediate.value_or(config.intermediate);
  config.vocabulary = flags.vocab.value_or(config.vocabulary);
  config.context_length = flags.context.value_or(config.context_length);
  config.tied_embeddings = flags.tied.value_or(config.tied_embeddings);
  // A smaller vocabulary may not have the special tokens of the model it is like.
  if (config.begin_token >= config.vocabulary) config.begin_token = -1;
  std::erase_if(config.end_tokens, [&](TokenId id) { return id >= config.vocabulary; });
  return config;
}

void AddModelFlags(CLI::App& app, ModelFlags& flags) {
  app.add_option("DIR", flags.options.folder, "Where to write it")->required();
  app.add_option("--like", flags.like, "The shape of a known model")
      ->check(CLI::IsMember(KnownModelNames()))
      ->group("Shape");
  const auto size = [&app](const char* name, std::optional<int32_t>& into, const char* what) {
    app.add_option(name, into, what)->check(NumberRange(1, kLargest))->group("Shape");
  };
  app.add_option("--architecture", flags.architecture, "llama (default), mistral, qwen2 or qwen3")
      ->group("Shape");
  size("--hidden", flags.hidden, "Width of the model");
  size("--layers", flags.layers, "Decoder layers");
  size("--heads", flags.heads, "Attention heads");
  size("--kv-heads", flags.kv_heads, "Heads of keys and values");
  size("--head-dim", flags.head_dim, "Width of a head");
  size("--intermediate", flags.intermediate, "Width of the MLP");
  size("--vocab", flags.vocab, "Tokens in the vocabulary");
  size("--context-length", flags.context, "Longest context");
  app.add_option("--tie-embeddings", flags.tied, "true: no lm_head of its own")->group("Shape");
  app.add_option("--dtype", flags.options.dtype, "bfloat16 (default), float16 or float32")
      ->transform(DtypeTransformer());
  app.add_option("--seed", flags.options.seed, "The same seed makes the same weights")
      ->capture_default_str();
  app.add_option("--tokenizer", flags.options.tokenizer,
                 "A directory or file: its tokenizer is copied into DIR");
}

struct AdapterFlags {
  MakeAdapterOptions options;
  std::vector<std::string> targets = {"all-linear"};
};

void AddAdapterFlags(CLI::App& app, AdapterFlags& flags) {
  MakeAdapterOptions& options = flags.options;
  app.add_option("DIR", options.folder, "Where to write it")->required();
  app.add_option("--model", options.model, "The base: a directory, its config.json, or a .gguf")
      ->required();
  app.add_option("--rank", options.rank, "r")->check(NumberRange(1, 4096))->capture_default_str();
  app.add_option("--alpha", options.alpha, "lora_alpha")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--rslora", options.use_rslora, "Scale by alpha / sqrt(r)");
  app.add_option("--target-modules", flags.targets, "q_proj ... down_proj, or all-linear")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "float32 (default), float16 or bfloat16")
      ->transform(DtypeTransformer());
  app.add_option("--seed", options.seed, "Adapter i of --count has seed + i")
      ->capture_default_str();
  app.add_option("--scale", options.strength,
                 "How much it changes a projection's output, as a share of it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--count", options.count, "Write DIR/NAME-0 to DIR/NAME-(N-1)")
      ->check(NumberRange(1, 1'000'000));
  app.add_option("--name", options.name, "NAME")->capture_default_str();
}

int Finish(const char* command, const Result<Bytes>& written, const std::string& folder,
           std::chrono::steady_clock::time_point start) {
  if (!written) {
    fmt::print(stderr, "weft make {}: {}\n", command, written.error().message);
    return kFailed;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}: {} in {:.1f} s\n", folder, FormatBytes(*written), seconds);
  return 0;
}

int Refuse(const char* command, const Error& error) {
  fmt::print(stderr, "weft make {}: {}\n", command, error.message);
  return kWrongFlags;
}

int RunModel(ModelFlags& flags) {
  const auto start = std::chrono::steady_clock::now();
  auto shape = ShapeOf(flags);
  if (!shape) return Refuse("model", shape.error());
  flags.options.config = std::move(*shape);
  return Finish("model", MakeModel(flags.options), flags.options.folder, start);
}

int RunAdapter(AdapterFlags& flags) {
  const auto start = std::chrono::steady_clock::now();
  auto targets = ParseTargets(flags.targets);
  if (!targets) return Refuse("adapter", targets.error());
  flags.options.targets = std::move(*targets);
  return Finish("adapter", MakeAdapters(flags.options), flags.options.folder, start);
}

}  // namespace

void RegisterMakeCommand(CLI::App& weft, int& exit_code) {
  CLI::App* make = weft.add_subcommand("make", "Make synthetic models and adapters");
  make->require_subcommand(1);
  CLI::App* model = make->add_subcommand("model", "A model directory with random weights");
  const auto model_flags = std::make_shared<ModelFlags>();
  AddModelFlags(*model, *model_flags);
  model->callback([model_flags, &exit_code] { exit_code = RunModel(*model_flags); });
  CLI::App* adapter = make->add_subcommand("adapter", "A PEFT directory with random weights");
  const auto adapter_flags = std::make_shared<AdapterFlags>();
  AddAdapterFlags(*adapter, *adapter_flags);
  adapter->callback([adapter_flags, &exit_code] { exit_code = RunAdapter(*adapter_flags); });
}

}  // namespace weft::cli

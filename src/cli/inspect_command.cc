#include "cli/inspect_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/model_files.h"
#include "cli/adapter_limits.h"
#include "cli/inspect_adapter.h"
#include "cli/inspect_model.h"
#include "cli/number_range.h"
#include "cli/served_shape.h"

namespace weft::cli {
namespace {

constexpr int kRefused = 1;
constexpr int kWrongFlags = 2;

struct Flags {
  std::vector<std::string> paths;
  std::string model_path;
  std::string dtype = "auto";
  int32_t max_lora_rank = checkpoint::AdapterLimits{}.max_rank;
  std::vector<std::string> lora_target_modules;
  bool full = false;
  bool json = false;
};

Result<std::string> Resolve(const std::string& path) {
  return checkpoint::ResolveModelPath(LocalFiles(), path, checkpoint::HuggingFaceCacheRoot());
}

/// The shape of --model-path. Its weights need not be there.
Result<ServedShape> OpenBase(const Flags& flags) {
  WEFT_ASSIGN_OR_RETURN(const std::string path, Resolve(flags.model_path));
  WEFT_ASSIGN_OR_RETURN(const checkpoint::ModelFiles model,
                        checkpoint::OpenModelConfigOnly(LocalFiles(), path));
  return ServedShape::Create(model.config, ServedDType(flags.dtype));
}

enum class Kind { kModel, kAdapter };

/// By what is there. One that lacks a file is what the others say it should be.
Result<Kind> KindOf(const std::string& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (path.ends_with(".gguf") && !folder) return Kind::kModel;
  if (!folder) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'{}' is neither a folder nor a file whose name ends with .gguf; name a "
                     "model's or an adapter's folder, or a .gguf file",
                     path);
  }
  constexpr std::pair<const char*, Kind> kSigns[] = {
      {"adapter_config.json", Kind::kAdapter},       {"config.json", Kind::kModel},
      {"adapter_model.safetensors", Kind::kAdapter}, {"adapter_model.bin", Kind::kAdapter},
      {"model.safetensors", Kind::kModel},           {"model.safetensors.index.json", Kind::kModel},
  };
  for (const auto& [name, kind] : kSigns) {
    const Result<FileStamp> stamp = LocalFiles().Stat(fmt::format("{}/{}", path, name));
    if (stamp.ok()) return kind;
    if (stamp.error().code != ErrorCode::kNotFound) return stamp.error();
  }
  return MakeError(ErrorCode::kNotFound,
                   "'{}' has neither config.json, as a model has, nor adapter_config.json, as an "
                   "adapter has; name the folder that has one, or a .gguf file in it",
                   path);
}

Inspection Inspect(const std::string& given, const Flags& flags, const ServedShape* base) {
  Result<std::string> path = Resolve(given);
  const Result<Kind> kind = path.ok() ? KindOf(*path) : Result<Kind>(path.error());
  if (!kind.ok()) {
    Inspection inspection;
    inspection.path = given;
    inspection.Refuse(kind.error());
    return inspection;
  }
  if (*kind == Kind::kModel)
    return InspectModel(LocalFiles(), *path, ServedDType(flags.dtype), flags.full);
  return InspectAdapter(LocalFiles(), *path, base,
                        AdapterLimitsOf(flags.max_lora_rank, flags.lora_target_modules),
                        flags.full);
}

int Refuse(const Error& error) {
  fmt::print(stderr, "weft inspect: {}\n", error.message);
  return kWrongFlags;
}

int Run(const Flags& flags) {
  if (flags.paths.empty()) {
    return Refuse({ErrorCode::kInvalidArgument,
                   "PATH is missing: name a model or an adapter, before --lora-target-modules (see "
                   "weft inspect --help)"});
  }
  const Status targets = CheckTargetModules(flags.lora_target_modules);
  if (!targets.ok()) return Refuse(targets.error());
  std::optional<ServedShape> base;
  if (!flags.model_path.empty()) {
    Result<ServedShape> opened = OpenBase(flags);
    if (!opened.ok()) return Refuse(opened.error().WithContext("--model-path"));
    base = *std::move(opened);
  }
  int exit_code = 0;
  bool first = true;
  for (const std::string& path : flags.paths) {
    const Inspection inspection = Inspect(path, flags, base ? &*base : nullptr);
    if (inspection.verdict == Verdict::kNo) exit_code = kRefused;
    if (flags.json) {
      fmt::print("{}\n", InspectionJson(inspection));
    } else {
      fmt::print("{}{}", first ? "" : "\n", InspectionText(inspection));
    }
    if (std::fflush(stdout) != 0) {
      fmt::print(stderr, "weft inspect: the output cannot be written: {}\n", std::strerror(errno));
      return kRefused;
    }
    first = false;
  }
  return exit_code;
}

}  // namespace

void RegisterInspectCommand(CLI::App& weft, int& exit_code) {
  CLI::App* app = weft.add_subcommand(
      "inspect", "What is in models and adapters, and whether they would be served");
  const auto flags = std::make_shared<Flags>();
  app->add_option("PATH", flags->paths,
                  "One or more of: a model's folder, a .gguf file, a folder that PEFT wrote, "
                  "org/name in the local Hugging Face cache");
  app->add_option("--model-path", flags->model_path,
                  "The base model that adapters are checked against; its weights need not be there")
      ->type_name("PATH");
  app->add_option("--dtype", flags->dtype, "As for weft serve; auto: bfloat16")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}))
      ->capture_default_str();
  app->add_option("--max-lora-rank", flags->max_lora_rank, "As for weft serve")
      ->check(NumberRange(1, 4096))
      ->capture_default_str();
  app->add_option("--lora-target-modules", flags->lora_target_modules,
                  "As for weft serve: q_proj ..., or all");
  app->add_flag("--full", flags->full,
                "Read all weights too, as loading does: finds NaN in adapters, files cut short "
                "later than their headers, and the exact bytes of a model's weights");
  app->add_flag("--json", flags->json, "One JSON object a line for each PATH (docs/inspect.md)");
  app->footer(
      "Exit code: 0, 1 if one of them would not load, 2 if flags are wrong. Sizes are those of\n"
      "weft serve --device cpu on this machine.\n"
      "Examples:\n"
      "  weft inspect MODEL\n"
      "  weft inspect ADAPTER ADAPTER --model-path MODEL --full");
  app->callback([flags, &exit_code] { exit_code = Run(*flags); });
}

}  // namespace weft::cli

#include "cli/serve_options.h"

#include <simdjson.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/file.h"
#include "bench/workload.h"
#include "cli/adapter_limits.h"
#include "cli/given_flags.h"
#include "cli/number_range.h"

namespace weft::cli {
namespace {

constexpr Bytes kMostConfig = kMiB;

/// Adds an option that WEFT_<NAME> sets as well.
template <typename T>
CLI::Option* Flag(CLI::App& app, const char* group, const std::string& name, T& into,
                  const char* help) {
  std::string variable = "WEFT_" + name.substr(2);
  for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
  CLI::Option* option = nullptr;
  if constexpr (std::is_same_v<T, bool>) {
    option = app.add_flag(name, into, help);
  } else {
    option = app.add_option(name, into, help);
    if constexpr (!std::is_same_v<T, std::vector<std::string>>) option->capture_default_str();
  }
  return option->group(group)->envname(variable);
}

void AddConfigFlag(CLI::App& app, ServeOptions& options) {
  app.add_option("--config", options.config,
                 "Take flags that are given neither here nor by the environment from this TOML "
                 "file: `port = 8000`, at its top or under [serve]")
      ->type_name("FILE")
      ->envname("WEFT_CONFIG");
}

void AddModelFlags(CLI::App& app, ServeOptions& o) {
  constexpr const char* kGroup = "Model";
  Flag(app, kGroup, "--model-path", o.model_path,
       "Required. Folder in Hugging Face's format, a .gguf file, or org/name in the local Hugging "
       "Face cache")
      ->type_name("PATH");
  Flag(app, kGroup, "--served-model-name", o.served_model_name,
       "The base model's name in the APIs; empty: the name of its folder or file")
      ->type_name("NAME");
  Flag(app, kGroup, "--tokenizer-path", o.tokenizer_path,
       "Folder with tokenizer.json, if elsewhere")
      ->type_name("PATH");
  Flag(app, kGroup, "--chat-template", o.chat_template, "File with a Jinja chat template")
      ->type_name("FILE");
  Flag(app, kGroup, "--load-format", o.load_format,
       "dummy: random weights; config.json and a tokenizer are enough")
      ->check(CLI::IsMember({"auto", "safetensors", "gguf", "dummy"}));
  Flag(app, kGroup, "--dtype", o.dtype, "What weights, KV and adapters are kept in; auto: bfloat16")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  Flag(app, kGroup, "--context-length", o.context_length,
       "Tokens of a sequence at most; 0: the model's")
      ->check(CLI::NonNegativeNumber);
  Flag(app, kGroup, "--random-seed", o.random_seed,
       "Seeds requests that bring no seed, and dummy weights");
}

void AddServerFlags(CLI::App& app, ServeOptions& o) {
  constexpr const char* kGroup = "Server";
  Flag(app, kGroup, "--host", o.host, "Address to listen on; 0.0.0.0: every one")
      ->type_name("ADDRESS");
  Flag(app, kGroup, "--port", o.port, "Port to listen on; 0: any free one")
      ->check(NumberRange(0, 65535));
  Flag(app, kGroup, "--api-key", o.api_key, "Key that every request must bring")->type_name("KEY");
  Flag(app, kGroup, "--admin-api-key", o.admin_api_key,
       "Key for loading, unloading, flushing, aborting")
      ->type_name("KEY");
  Flag(app, kGroup, "--max-body-size", o.max_body_size, "Larger request bodies are refused unread")
      ->type_name("SIZE");
  Flag(app, kGroup, "--io-threads", o.io_threads, "Threads that serve sockets")
      ->check(NumberRange(1, 64));
  Flag(app, kGroup, "--trace", o.trace, "Write a trace for ui.perfetto.dev to this file at exit")
      ->type_name("FILE");
  Flag(app, kGroup, "--profile", o.profile,
       "On CPUs: time the parts of steps beside this machine's ceilings: a table at exit, and at "
       "any time at GET /profile (as JSON with Accept: application/json)");
  Flag(app, kGroup, "--log-level", o.log_level, "trace, debug, info, warning, error or off");
  Flag(app, kGroup, "--log-format", o.log_format, "How log lines are written")
      ->check(CLI::IsMember({"text", "json"}));
}

void AddEngineFlags(CLI::App& app, ServeOptions& o) {
  constexpr const char* kGroup = "Engine";
  Flag(app, kGroup, "--device", o.device, "Where to compute; auto: a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  Flag(app, kGroup, "--threads", o.threads, "Compute threads; 0: one a processor")
      ->check(NumberRange(0, 1024));
  Flag(app, kGroup, "--max-running-requests", o.max_running_requests, "Sequences in a step at most")
      ->check(NumberRange(1, 4096));
  Flag(app, kGroup, "--max-queued-requests", o.max_queued_requests, "More are answered with 429")
      ->check(NumberRange(1, 1000000));
  Flag(app, kGroup, "--chunked-prefill-size", o.chunked_prefill_size,
       "Prompt tokens in a step at most")
      ->check(NumberRange(16, 65536));
  Flag(app, kGroup, "--kv-memory", o.kv_memory,
       "Size of the pool that KV and adapters share, such as 4GiB; empty: chosen from the free "
       "memory")
      ->type_name("SIZE");
  Flag(app, kGroup, "--mem-fraction-static", o.mem_fraction_static,
       "Share of the free memory for the pool, instead of --kv-memory")
      ->check(NumberRange(0.0, 1.0));
  Flag(app, kGroup, "--disable-radix-cache", o.disable_radix_cache, "Do not share prompts' KV");
  Flag(app, kGroup, "--deterministic", o.deterministic,
       "The same bits alone and in any batch (always so on CPUs)");
}

void AddLoraFlags(CLI::App& app, ServeOptions& o) {
  constexpr const char* kGroup = "Adapters";
  Flag(app, kGroup, "--lora-paths", o.lora_paths,
       "One or more of PATH, NAME=PATH or "
       "{\"lora_name\":...,\"lora_path\":...,\"pinned\":true}; a PATH is a folder that PEFT wrote")
      ->type_name("ADAPTER");
  Flag(app, kGroup, "--lora-dir", o.lora_dir,
       "Every sub-folder is an adapter, found when first asked for")
      ->type_name("FOLDER");
  Flag(app, kGroup, "--max-lora-rank", o.max_lora_rank, "Larger ranks are refused")
      ->check(NumberRange(1, 4096));
  Flag(app, kGroup, "--lora-target-modules", o.lora_target_modules,
       "Projections adapters may change (q_proj ...), or all");
  Flag(app, kGroup, "--max-loaded-loras", o.max_loaded_loras,
       "Adapters in host memory at most; 0: as many as fit")
      ->check(CLI::NonNegativeNumber);
  Flag(app, kGroup, "--max-loras-per-batch", o.max_loras_per_batch, "Adapters in a step at most")
      ->check(NumberRange(1, 1024));
  Flag(app, kGroup, "--lora-memory", o.lora_memory,
       "What adapters may take of the pool, such as 2GiB; empty: whatever KV does not need")
      ->type_name("SIZE");
  Flag(app, kGroup, "--lora-host-memory", o.lora_host_memory,
       "Host memory that keeps adapters ready to be copied; empty: room for 8 of rank 64")
      ->type_name("SIZE");
  Flag(app, kGroup, "--lora-eviction-policy", o.lora_eviction_policy,
       "Which idle adapter gives way; cost: not yet")
      ->check(CLI::IsMember({"lru", "fifo", "cost"}));
  Flag(app, kGroup, "--lora-load-policy", o.lora_load_policy,
       "blocking: steps wait for loads; overlapped: they never do; chased: not yet")
      ->check(CLI::IsMember({"blocking", "overlapped", "chased"}));
  Flag(app, kGroup, "--enable-lora-overlap-loading", o.enable_lora_overlap_loading,
       "The same as --lora-load-policy overlapped");
  Flag(app, kGroup, "--enable-lora", o.enable_lora,
       "Accepted from SGLang's and vLLM's command lines; adapters are always served");
  Flag(app, kGroup, "--lora-max-overtakes", o.lora_max_overtakes,
       "Later requests that may start before one that waits for its adapter")
      ->check(NumberRange(0, 1000000));
  Flag(app, kGroup, "--lora-turn-patience", o.lora_turn_patience,
       "Where more adapters are wanted than fit: seconds that a request stands still before its "
       "adapter has a turn, and another one's requests pause; 0, and with blocking loads: none "
       "pauses")
      ->check(NumberRange(0.0, 3600.0));
  Flag(app, kGroup, "--lora-copy-bandwidth", o.lora_copy_bandwidth,
       "Bytes a second to the device at most, such as 1GB; empty: no limit")
      ->type_name("SIZE");
  Flag(app, kGroup, "--lora-read-bandwidth", o.lora_read_bandwidth,
       "Bytes a second from files at most, such as 100MB; empty: no limit")
      ->type_name("SIZE");
}

Error BadLoraPath(const std::string& entry, const std::string& why) {
  return MakeError(ErrorCode::kInvalidArgument,
                   "--lora-paths '{}': {}; write PATH, NAME=PATH or "
                   "{{\"lora_name\": ..., \"lora_path\": ..., \"pinned\": true}}",
                   entry, why);
}

Result<LoraPath> ParseLoraPath(const std::string& entry) {
  if (!entry.starts_with('{')) {
    const size_t equals = entry.find('=');
    if (equals != std::string::npos) {
      return LoraPath{entry.substr(0, equals), entry.substr(equals + 1), false};
    }
    const std::filesystem::path path(entry);
    const auto name = path.has_filename() ? path.filename() : path.parent_path().filename();
    if (name.empty()) return BadLoraPath(entry, "no name in it");
    return LoraPath{name.string(), entry, false};
  }
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(simdjson::padded_string(entry)).get(object) != simdjson::SUCCESS) {
    return BadLoraPath(entry, "not a JSON object");
  }
  LoraPath parsed;
  for (const auto& [key, value] : object) {
    std::string_view text;
    if (key == "lora_name" && value.get(text) == simdjson::SUCCESS) {
      parsed.name = text;
    } else if (key == "lora_path" && value.get(text) == simdjson::SUCCESS) {
      parsed.path = text;
    } else if (key != "pinned" || value.get(parsed.pinned) != simdjson::SUCCESS) {
      return BadLoraPath(entry, "'" + std::string(key) + "' is not understood");
    }
  }
  if (parsed.name.empty() || parsed.path.empty())
    return BadLoraPath(entry, "lora_name or lora_path is missing");
  return parsed;
}

}  // namespace

void AddSimulatedServeFlags(CLI::App& app, ServeOptions& options) {
  AddConfigFlag(app, options);
  AddModelFlags(app, options);
  AddLoraFlags(app, options);
  AddEngineFlags(app, options);
}

void AddServeFlags(CLI::App& serve, ServeOptions& options) {
  AddConfigFlag(serve, options);
  AddModelFlags(serve, options);
  AddLoraFlags(serve, options);
  AddServerFlags(serve, options);
  AddEngineFlags(serve, options);
  serve.footer(
      "Examples:\n"
      "  weft serve --model-path MODEL --lora-paths pirate=ADAPTER poet=ADAPTER\n"
      "  weft serve --model-path MODEL --lora-dir ADAPTERS --kv-memory 8GiB --port 8000");
}

Status ApplyConfigFile(CLI::App& serve, const ServeOptions& options) {
  if (options.config.empty()) return OkStatus();
  auto toml = LocalFiles().ReadText(options.config, kMostConfig);
  if (!toml.ok()) return toml.error().WithContext("--config");
  auto flags = bench::ParseServeFlags(*toml, options.config);
  if (!flags.ok()) return flags.error().WithContext("--config");
  return GiveFlags(serve, *flags, "config", "--config " + options.config + ": ");
}

Result<std::vector<LoraPath>> ServeOptions::LoraPaths() const {
  std::vector<LoraPath> paths;
  std::set<std::string> names;
  for (const std::string& entry : lora_paths) {
    WEFT_ASSIGN_OR_RETURN(LoraPath path, ParseLoraPath(entry));
    if (!names.insert(path.name).second) {
      return BadLoraPath(entry, "the name '" + path.name + "' is given twice");
    }
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<Bytes> ServeOptions::Size(const std::string& text, const char* flag) const {
  if (text.empty()) return Bytes{0};
  auto parsed = ParseBytes(text);
  if (!parsed.ok()) return parsed.error().WithContext(flag);
  return parsed;
}

Status CheckServeOptions(const ServeOptions& o) {
  const auto refuse = [](const char* text) { return Error{ErrorCode::kInvalidArgument, text}; };
  if (o.model_path.empty()) {
    return refuse(
        "--model-path is missing: name a folder in Hugging Face's format or a .gguf file (see weft "
        "serve --help)");
  }
  if (o.device == "cuda" && o.dtype == "float32") {
    return refuse("--dtype float32 is served on CPUs only; use bfloat16, or --device cpu");
  }
  if (o.lora_load_policy == "chased") {
    return refuse("--lora-load-policy chased: not in this version; use overlapped");
  }
  if (o.lora_eviction_policy == "cost") {
    return refuse("--lora-eviction-policy cost: not in this version; use lru or fifo");
  }
  if (o.enable_lora_overlap_loading && o.lora_load_policy == "blocking") {
    return refuse(
        "--enable-lora-overlap-loading contradicts --lora-load-policy blocking; give one of them");
  }
  if (!o.kv_memory.empty() && o.mem_fraction_static > 0) {
    return refuse(
        "--kv-memory and --mem-fraction-static both set the pool's size; give one of them");
  }
  WEFT_RETURN_IF_ERROR(CheckTargetModules(o.lora_target_modules));
  if (!o.lora_dir.empty() && !std::filesystem::is_directory(o.lora_dir)) {
    return MakeError(ErrorCode::kInvalidArgument, "--lora-dir '{}' is not a folder", o.lora_dir);
  }
  if (!o.trace.empty() && !std::ofstream(o.trace, std::ios::app)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--trace '{}' cannot be written; name a file in a folder that exists",
                     o.trace);
  }
  WEFT_RETURN_IF_ERROR(o.LoraPaths());
  for (const auto& [text, flag] :
       {std::pair(&o.kv_memory, "--kv-memory"), std::pair(&o.lora_memory, "--lora-memory"),
        std::pair(&o.lora_host_memory, "--lora-host-memory"),
        std::pair(&o.max_body_size, "--max-body-size"),
        std::pair(&o.lora_copy_bandwidth, "--lora-copy-bandwidth"),
        std::pair(&o.lora_read_bandwidth, "--lora-read-bandwidth")}) {
    WEFT_RETURN_IF_ERROR(o.Size(*text, flag));
  }
  return OkStatus();
}

}  // namespace weft::cli

#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "adapter/eviction.h"
#include "adapter/load_policy.h"
#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"

namespace weft::cli {

/// One entry of --lora-paths.
struct LoraPath {
  std::string name;
  std::string path;
  bool pinned = false;
};

/// `weft serve`'s flags, as they were given; 0 and empty mean "choose". Names are SGLang's where it
/// has the flag.
struct ServeOptions {
  std::string config;  ///< A TOML file with flags.
  std::string model_path;
  std::string served_model_name;
  std::string tokenizer_path;
  std::string chat_template;
  std::string host = "127.0.0.1";
  int32_t port = 30000;
  std::string api_key;
  std::string admin_api_key;
  std::string device = "auto";
  std::string dtype = "auto";
  std::string load_format = "auto";
  int32_t threads = 0;
  int32_t context_length = 0;
  int32_t max_running_requests = 64;
  int32_t max_queued_requests = 4096;
  int32_t chunked_prefill_size = 512;
  double mem_fraction_static = 0;
  std::string kv_memory;
  bool disable_radix_cache = false;
  uint64_t random_seed = 0;
  bool deterministic = false;
  std::vector<std::string> lora_paths;
  std::string lora_dir;
  int32_t max_lora_rank = 512;
  std::vector<std::string> lora_target_modules;
  int32_t max_loaded_loras = 0;
  int32_t max_loras_per_batch = 8;
  std::string lora_memory;
  std::string lora_host_memory;
  std::string lora_eviction_policy = "lru";
  std::string lora_load_policy = "overlapped";
  bool enable_lora_overlap_loading = false;
  bool enable_lora =
      false;  ///< Given by command lines written for SGLang or vLLM; adapters are always served.
  std::string lora_copy_bandwidth;
  std::string lora_read_bandwidth;
  int32_t lora_max_overtakes = 64;
  double lora_turn_patience = 2;  ///< Seconds.
  int32_t io_threads = 1;
  std::string max_body_size = "16MiB";
  std::string trace;
  bool profile = false;
  std::string log_level = "info";
  std::string log_format = "text";

  Result<std::vector<LoraPath>> LoraPaths() const;
  Result<Bytes> Size(const std::string& text, const char* flag) const;
};

/// Adds the flags, grouped, each also readable from WEFT_NAME.
void AddServeFlags(CLI::App& serve, ServeOptions& options);

/// Those of them that a plan for another machine looks at, and a few beside them: all but the HTTP
/// server's.
void AddSimulatedServeFlags(CLI::App& app, ServeOptions& options);

/// After parsing: what --config's TOML file says of flags that were not given.
Status ApplyConfigFile(CLI::App& serve, const ServeOptions& options);

/// What the flags say together that they cannot say alone; names the flag and the mend.
Status CheckServeOptions(const ServeOptions& options);

}  // namespace weft::cli

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "bench/datasets.h"

namespace weft::bench {

/// The three ways to ask a server for text.
enum class Protocol : uint8_t { kSglangGenerate, kOpenAiCompletions, kOpenAiChat };

/// One value of `--backend`.
struct Backend {
  std::string_view name;
  Protocol protocol = Protocol::kSglangGenerate;
  int default_port = 30000;
  std::string_view path;  ///< Where requests are posted.
  bool has_server_info = false;
};

/// All values of `--backend`, as the error for an unknown one lists them.
std::span<const Backend> AllBackends();
Result<Backend> FindBackend(std::string_view name);

/// Members of a JSON object, each value as JSON text, in order.
using JsonMembers = std::vector<std::pair<std::string, std::string>>;

/// Parses `--extra-request-body`.
Result<JsonMembers> ParseJsonMembers(std::string_view json);

/// Members for the requests of one adapter, by its name; "" is the base model.
using AdapterMembers = std::map<std::string, JsonMembers>;

/// Parses `--lora-request-body`: a JSON object of objects.
Result<AdapterMembers> ParseAdapterMembers(std::string_view json);

/// What is the same in every request of a run.
struct RequestSettings {
  std::string model;
  bool stream = true;
  bool ignore_eos = true;
  bool return_logprob = false;
  JsonMembers extra;             ///< Overrides members of the same name.
  AdapterMembers adapter_extra;  ///< Overrides those in turn, in requests of that adapter.
};

/// The JSON body that bench_serving posts. `adapter` empty: the base model.
std::string BuildRequestBody(Protocol protocol, const RequestSettings& settings,
                             const DatasetRow& row, int64_t output_tokens,
                             const std::optional<std::string>& adapter);

}  // namespace weft::bench

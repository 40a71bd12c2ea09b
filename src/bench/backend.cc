#include "bench/backend.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <array>

#include "bench/json_text.h"

namespace weft::bench {
namespace {

// The default ports are bench_serving's, which has 30000 for vllm-chat too.
constexpr std::array<Backend, 7> kBackends = {{
    {"sglang", Protocol::kSglangGenerate, 30000, "/generate", true},
    {"sglang-native", Protocol::kSglangGenerate, 30000, "/generate", true},
    {"sglang-oai", Protocol::kOpenAiCompletions, 30000, "/v1/completions", true},
    {"sglang-oai-chat", Protocol::kOpenAiChat, 30000, "/v1/chat/completions", true},
    {"vllm", Protocol::kOpenAiCompletions, 8000, "/v1/completions", false},
    {"vllm-chat", Protocol::kOpenAiChat, 30000, "/v1/chat/completions", false},
    {"weft", Protocol::kSglangGenerate, 30000, "/generate", true},
}};

constexpr std::string_view JsonBool(bool value) { return value ? "true" : "false"; }

void Set(JsonMembers& members, std::string_view name, std::string value) {
  const auto same =
      std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.first == name; });
  if (same != members.end()) {
    same->second = std::move(value);
  } else {
    members.emplace_back(name, std::move(value));
  }
}

std::string PromptJson(const DatasetRow& row) {
  return row.is_ids ? fmt::format("[{}]", fmt::join(row.ids, ",")) : JsonString(row.text);
}

JsonMembers GenerateMembers(const RequestSettings& settings, const DatasetRow& row,
                            int64_t output_tokens, const std::optional<std::string>& adapter) {
  return {{row.is_ids ? "input_ids" : "text", PromptJson(row)},
          {"sampling_params",
           fmt::format(R"({{"temperature":0.0,"max_new_tokens":{},"ignore_eos":{}}})",
                       output_tokens, settings.ignore_eos)},
          {"stream", std::string(JsonBool(settings.stream))},
          {"lora_path", adapter ? JsonString(*adapter) : "null"},
          {"return_logprob", std::string(JsonBool(settings.return_logprob))},
          {"logprob_start_len", "-1"}};
}

JsonMembers OpenAiMembers(Protocol protocol, const RequestSettings& settings, const DatasetRow& row,
                          int64_t output_tokens) {
  JsonMembers members = {{"model", JsonString(settings.model)}};
  if (protocol == Protocol::kOpenAiChat) {
    members.emplace_back("messages",
                         fmt::format(R"([{{"role":"user","content":{}}}])", PromptJson(row)));
    members.emplace_back("max_completion_tokens", std::to_string(output_tokens));
  } else {
    members.emplace_back("prompt", PromptJson(row));
    members.emplace_back("best_of", "1");
    members.emplace_back("max_tokens", std::to_string(output_tokens));
  }
  members.emplace_back("stream", JsonBool(settings.stream));
  members.emplace_back("temperature", "0.0");
  members.emplace_back("ignore_eos", JsonBool(settings.ignore_eos));
  return members;
}

}  // namespace

std::span<const Backend> AllBackends() { return kBackends; }

Result<Backend> FindBackend(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Backend& backend : kBackends) {
    if (backend.name == name) return backend;
    names.push_back(backend.name);
  }
  return MakeError(ErrorCode::kInvalidArgument, "--backend {}: must be one of {}", name,
                   fmt::join(names, ", "));
}

Result<JsonMembers> ParseJsonMembers(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  const simdjson::padded_string padded(json);
  if (const auto error = parser.parse(padded).get_object().get(object)) {
    return MakeError(ErrorCode::kInvalidArgument, "--extra-request-body must be a JSON object: {}",
                     simdjson::error_message(error));
  }
  JsonMembers members;
  for (const auto& [key, value] : object) Set(members, key, simdjson::minify(value));
  return members;
}

Result<AdapterMembers> ParseAdapterMembers(std::string_view json) {
  const auto wrong = [](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--lora-request-body must be a JSON object of adapter names, each with a JSON "
                     "object: {}",
                     why);
  };
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  const simdjson::padded_string padded(json);
  if (const auto error = parser.parse(padded).get_object().get(object)) {
    return wrong(simdjson::error_message(error));
  }
  AdapterMembers adapters;
  for (const auto& [name, value] : object) {
    simdjson::dom::object members;
    if (value.get_object().get(members) != simdjson::SUCCESS) {
      return wrong(fmt::format("'{}' has {}", name, simdjson::minify(value)));
    }
    for (const auto& [key, member] : members) {
      Set(adapters[std::string(name)], key, simdjson::minify(member));
    }
  }
  return adapters;
}

std::string BuildRequestBody(Protocol protocol, const RequestSettings& settings,
                             const DatasetRow& row, int64_t output_tokens,
                             const std::optional<std::string>& adapter) {
  const bool native = protocol == Protocol::kSglangGenerate;
  JsonMembers members = native ? GenerateMembers(settings, row, output_tokens, adapter)
                               : OpenAiMembers(protocol, settings, row, output_tokens);
  for (const auto& [key, value] : settings.extra) Set(members, key, value);
  if (!native && adapter) {
    // SGLang takes the adapter from lora_path, vLLM from model.
    Set(members, "model", JsonString(*adapter));
    Set(members, "lora_path", JsonString(*adapter));
  }
  if (const auto own = settings.adapter_extra.find(adapter.value_or(""));
      own != settings.adapter_extra.end()) {
    for (const auto& [key, value] : own->second) Set(members, key, value);
  }
  std::string body = "{";
  for (const auto& [key, value] : members) {
    if (body.size() > 1) body += ',';
    AppendJsonString(body, key);
    body.append(":").append(value);
  }
  return body + "}";
}

}  // namespace weft::bench

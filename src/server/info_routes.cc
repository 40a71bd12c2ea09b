#include <algorithm>
#include <charconv>
#include <utility>

#include "server/api_error.h"
#include "server/json_writer.h"
#include "server/routes.h"

namespace weft::server {
namespace {

constexpr std::string_view kOwner = "weft";

void WriteBaseCard(const ServerContext& server, JsonWriter& writer) {
  writer.BeginObject().Key("id").String(server.options.served_model_name);
  writer.Key("object").String("model").Key("created").Integer(server.started_unix);
  writer.Key("owned_by").String(kOwner).Key("root").String(server.options.model_path);
  writer.Key("parent").Null().Key("max_model_len").Integer(server.limits.context_length);
  writer.EndObject();
}

void WriteAdapterCard(const ServerContext& server, const engine::AdapterInfo& adapter,
                      JsonWriter& writer) {
  writer.BeginObject().Key("id").String(adapter.name);
  writer.Key("object").String("model").Key("created").Integer(server.started_unix);
  writer.Key("owned_by").String(kOwner).Key("root").String(adapter.path);
  writer.Key("parent").String(server.options.served_model_name);
  writer.Key("max_model_len").Null().EndObject();
}

bool IsServed(const engine::AdapterInfo& adapter) {
  return adapter.lifecycle != "draining" && adapter.lifecycle != "gone";
}

HttpResponse ModelList(const ServerContext& server,
                       const std::vector<engine::AdapterInfo>& adapters) {
  HttpResponse response;
  JsonWriter writer(response.body);
  writer.BeginObject().Key("object").String("list").Key("data").BeginArray();
  WriteBaseCard(server, writer);
  for (const engine::AdapterInfo& adapter : adapters)
    if (IsServed(adapter)) WriteAdapterCard(server, adapter, writer);
  writer.EndArray().EndObject();
  return response;
}

HttpResponse OneModel(const ServerContext& server, const std::string& id,
                      const std::vector<engine::AdapterInfo>& adapters) {
  HttpResponse response;
  JsonWriter writer(response.body);
  const std::string name = ResolveAdapter(id, "", server.options.served_model_name);
  if (name.empty()) {
    WriteBaseCard(server, writer);
    return response;
  }
  const auto found =
      std::find_if(adapters.begin(), adapters.end(), [&](const engine::AdapterInfo& adapter) {
        return adapter.name == name && IsServed(adapter);
      });
  if (found == adapters.end()) {
    return ErrorResponse(
        {MakeError(ErrorCode::kNotFound, "The model `{}` does not exist.", id), "model", ""},
        ApiStyle::kOpenAi);
  }
  WriteAdapterCard(server, *found, writer);
  return response;
}

// Lists the adapters and answers with what `make` says of them. The Server and its context outlive
// every shard, so the reference stays good.
template <typename Make>
void AnswerFromAdapters(ShardContext& shard, std::shared_ptr<Reply> reply, Make make) {
  shard.server.service.ListAdapters([poster = shard.poster, reply = std::move(reply),
                                     make = std::move(make)](
                                        std::vector<engine::AdapterInfo> adapters) {
    poster->Post([reply, make, adapters = std::move(adapters)] { reply->Send(make(adapters)); });
  });
}

/// true, false and whole numbers as such, all else as strings.
void WriteFlagValue(const std::string& value, JsonWriter& writer) {
  int64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, number);
  if (value == "true" || value == "false") {
    writer.Bool(value == "true");
  } else if (!value.empty() && parsed.ec == std::errc() && parsed.ptr == end) {
    writer.Integer(number);
  } else {
    writer.String(value);
  }
}

void WriteState(const engine::EngineStats& stats, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("num_running_reqs").Integer(stats.running);
  writer.Key("num_waiting_reqs").Integer(stats.waiting);
  writer.Key("num_suspended_reqs").Integer(stats.suspended);
  writer.Key("num_paused_reqs").Integer(stats.paused);
  writer.Key("pages_total").Integer(stats.pages_total);
  writer.Key("pages_free").Integer(stats.pages_free);
  writer.Key("pages_kv").Integer(stats.pages_kv);
  writer.Key("pages_prefix").Integer(stats.pages_prefix);
  writer.Key("pages_adapter").Integer(stats.pages_adapter);
  writer.Key("tokens_per_page").Integer(stats.tokens_per_page);
  writer.Key("page_bytes").Integer(stats.page_bytes);
  writer.Key("adapter_host_bytes").Integer(stats.adapter_host_bytes);
  writer.EndObject();
}

void WriteAdapterState(const engine::AdapterInfo& adapter, JsonWriter& writer) {
  writer.BeginObject().Key("lora_name").String(adapter.name);
  writer.Key("lora_path").String(adapter.path).Key("version").Integer(adapter.version.value());
  writer.Key("pinned").Bool(adapter.pinned).Key("host_tier").String(adapter.host_tier);
  writer.Key("device_tier").String(adapter.device_tier);
  writer.Key("lifecycle").String(adapter.lifecycle).Key("failure").String(adapter.failure);
  writer.Key("rank").Integer(adapter.rank).Key("pages").Integer(adapter.pages);
  writer.Key("running").Integer(adapter.running).Key("waiting").Integer(adapter.waiting);
  writer.EndObject();
}

HttpResponse ServerState(const ServerContext& server,
                         const std::vector<engine::AdapterInfo>& adapters) {
  HttpResponse response;
  JsonWriter writer(response.body);
  writer.BeginObject();
  for (const auto& [name, value] : server.options.flags) {
    writer.Key(name);
    WriteFlagValue(value, writer);
  }
  const engine::EngineStats stats = server.service.Stats();
  writer.Key("max_total_num_tokens").Integer(stats.pages_total * stats.tokens_per_page);
  writer.Key("max_req_input_len").Integer(server.limits.context_length);
  writer.Key("internal_states").BeginArray();
  WriteState(stats, writer);
  writer.EndArray().Key("lora_adapters").BeginArray();
  for (const engine::AdapterInfo& adapter : adapters) WriteAdapterState(adapter, writer);
  writer.EndArray().Key("version").String(server.options.version).EndObject();
  return response;
}

}  // namespace

void ModelInfo(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  const ServerOptions& options = shard.server.options;
  HttpResponse response;
  JsonWriter writer(response.body);
  writer.BeginObject().Key("model_path").String(options.model_path);
  writer.Key("tokenizer_path").String(options.tokenizer_path);
  writer.Key("is_generation").Bool(true).Key("preferred_sampling_params").Null();
  writer.Key("weight_version").String("default");
  writer.Key("served_model_name").String(options.served_model_name);
  writer.Key("max_model_len").Integer(shard.server.limits.context_length).EndObject();
  reply->Send(std::move(response));
}

void ServerInfo(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  AnswerFromAdapters(shard, std::move(reply), [&server = shard.server](const auto& adapters) {
    return ServerState(server, adapters);
  });
}

void Version(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  HttpResponse response;
  JsonWriter(response.body)
      .BeginObject()
      .Key("version")
      .String(shard.server.options.version)
      .EndObject();
  reply->Send(std::move(response));
}

void Models(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  AnswerFromAdapters(shard, std::move(reply), [&server = shard.server](const auto& adapters) {
    return ModelList(server, adapters);
  });
}

void Model(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AnswerFromAdapters(shard, std::move(reply),
                     [&server = shard.server, id = request.path.substr(kModelPathPrefix.size())](
                         const auto& adapters) { return OneModel(server, id, adapters); });
}

}  // namespace weft::server

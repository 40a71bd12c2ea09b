#include <utility>

#include "server/api_error.h"
#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/routes.h"

namespace weft::server {
namespace {

constexpr std::string_view kInvalidUserInput = "InvalidUserInput";  // vLLM's error type.

struct AdapterBody {
  std::string name;
  std::string path;
  bool pinned = false;
  bool load_inplace = false;
};

ApiStatus ParseAdapterBody(const HttpRequest& request, AdapterBody& into) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return ApiError{body.error(), "", ""};
  JsonFields fields(*body);
  fields.Read("lora_name", into.name);
  fields.Read("lora_path", into.path);
  fields.Read("pinned", into.pinned);
  fields.Read("load_inplace", into.load_inplace);
  return fields.error();
}

/// SGLang's reply to both of its routes.
HttpResponse SglangReply(const Status& status, const std::vector<engine::AdapterInfo>& adapters) {
  HttpResponse response;
  response.status = status.ok() ? 200 : 400;
  JsonWriter writer(response.body);
  writer.BeginObject().Key("success").Bool(status.ok());
  writer.Key("error_message").String(status.ok() ? "" : status.error().message);
  writer.Key("loaded_adapters").BeginObject();
  for (const engine::AdapterInfo& adapter : adapters) {
    if (adapter.lifecycle == "active" || adapter.lifecycle.empty())
      writer.Key(adapter.name).String(adapter.path);
  }
  writer.EndObject().EndObject();
  return response;
}

// Runs on the engine's thread: only posts.
void ListThenAnswer(engine::Service& service, const std::shared_ptr<Poster>& poster,
                    std::shared_ptr<Reply> reply, Status status) {
  poster->Post([&service, poster, reply = std::move(reply), status = std::move(status)]() {
    service.ListAdapters([poster, reply, status](std::vector<engine::AdapterInfo> adapters) {
      poster->Post([reply, response = SglangReply(status, adapters)] { reply->Send(response); });
    });
  });
}

HttpResponse VllmError(Error error, std::string_view name, std::string_view doing) {
  if (error.code == ErrorCode::kAlreadyExists) {
    error.message = fmt::format(
        "The lora adapter '{}' has already been loaded. If you want to load the adapter in place, "
        "set 'load_inplace' to True.",
        name);
    return ErrorResponse({std::move(error), "lora_name", std::string(kInvalidUserInput)},
                         ApiStyle::kOpenAi);
  }
  return ErrorResponse({error.WithContext(fmt::format("{} lora {} failed", doing, name)), "", ""},
                       ApiStyle::kOpenAi);
}

HttpResponse VllmInputError(std::string message) {
  return ErrorResponse(
      {Error{ErrorCode::kInvalidArgument, std::move(message)}, "", std::string(kInvalidUserInput)},
      ApiStyle::kOpenAi);
}

HttpResponse VllmSuccess(std::string_view name, std::string_view what) {
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = fmt::format("Success: LoRA adapter '{}' {} successfully.", name, what);
  return response;
}

std::string ConflictsWithBase(std::string_view name) {
  return fmt::format("The lora adapter name '{}' is the base model's: choose another", name);
}

}  // namespace

void LoadAdapter(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AdapterBody body;
  if (const auto error = ParseAdapterBody(request, body))
    return reply->Send(ErrorResponse(*error, ApiStyle::kSglang));
  if (body.name.empty() || body.path.empty()) {
    return reply->Send(
        ErrorResponse(BadRequest("lora_name and lora_path must be given"), ApiStyle::kSglang));
  }
  engine::Service& service = shard.server.service;
  if (body.name == shard.server.options.served_model_name) {
    const Error taken{ErrorCode::kInvalidArgument, ConflictsWithBase(body.name)};
    return ListThenAnswer(service, shard.poster, std::move(reply), taken);
  }
  service.LoadAdapter({body.name, body.path, body.pinned, false},
                      [&service, poster = shard.poster,
                       reply = std::move(reply)](const Result<engine::AdapterInfo>& loaded) {
                        ListThenAnswer(service, poster, reply,
                                       loaded.ok() ? OkStatus() : Status(loaded.error()));
                      });
}

void UnloadAdapter(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AdapterBody body;
  if (const auto error = ParseAdapterBody(request, body))
    return reply->Send(ErrorResponse(*error, ApiStyle::kSglang));
  if (body.name.empty())
    return reply->Send(ErrorResponse(BadRequest("lora_name must be given"), ApiStyle::kSglang));
  engine::Service& service = shard.server.service;
  service.UnloadAdapter(
      body.name, engine::Service::UnloadReply::kWhenDrained,
      [&service, poster = shard.poster, reply = std::move(reply)](const Status& status) {
        ListThenAnswer(service, poster, reply, status);
      });
}

void LoadAdapterV1(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AdapterBody body;
  if (const auto error = ParseAdapterBody(request, body))
    return reply->Send(ErrorResponse(*error, ApiStyle::kOpenAi));
  if (body.name.empty() || body.path.empty())
    return reply->Send(VllmInputError("Both 'lora_name' and 'lora_path' must be provided."));
  if (body.name == shard.server.options.served_model_name)
    return reply->Send(VllmInputError(ConflictsWithBase(body.name)));
  shard.server.service.LoadAdapter(
      {body.name, body.path, body.pinned, body.load_inplace},
      [poster = shard.poster, reply = std::move(reply),
       name = body.name](const Result<engine::AdapterInfo>& loaded) {
        HttpResponse response =
            loaded.ok() ? VllmSuccess(name, "added") : VllmError(loaded.error(), name, "Loading");
        poster->Post([reply, response = std::move(response)] { reply->Send(response); });
      });
}

void UnloadAdapterV1(ShardContext& shard, const HttpRequest& request,
                     std::shared_ptr<Reply> reply) {
  AdapterBody body;
  if (const auto error = ParseAdapterBody(request, body))
    return reply->Send(ErrorResponse(*error, ApiStyle::kOpenAi));
  if (body.name.empty())
    return reply->Send(
        VllmInputError("'lora_name' needs to be provided to unload a LoRA adapter."));
  shard.server.service.UnloadAdapter(
      body.name, engine::Service::UnloadReply::kAtOnce,
      [poster = shard.poster, reply = std::move(reply), name = body.name](const Status& status) {
        HttpResponse response = status.ok() ? VllmSuccess(name, "removed")
                                            : VllmError(status.error(), name, "Removing");
        poster->Post([reply, response = std::move(response)] { reply->Send(response); });
      });
}

}  // namespace weft::server

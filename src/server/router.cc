#include "server/router.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "server/api_error.h"
#include "server/routes.h"

namespace weft::server {
namespace {

enum class Access : uint8_t { kOpen, kUser, kAdmin };
/// What a draining server still does.
enum class Drain : uint8_t { kServe, kRefuse };

struct Route {
  std::string_view path;
  std::array<Method, 2> methods;  // A route of one method names it twice.
  Access access;
  Drain drain;
  Handler handler;
};

constexpr std::array<Method, 2> kGet{Method::kGet, Method::kGet};
constexpr std::array<Method, 2> kPost{Method::kPost, Method::kPost};
constexpr std::array<Method, 2> kGetOrPost{Method::kGet, Method::kPost};
constexpr std::array<Method, 2> kPostOrPut{Method::kPost, Method::kPut};

constexpr Route kRoutes[] = {
    {"/generate", kPostOrPut, Access::kUser, Drain::kRefuse, Generate},
    {"/v1/completions", kPost, Access::kUser, Drain::kRefuse, Complete},
    {"/v1/chat/completions", kPost, Access::kUser, Drain::kRefuse, Chat},
    {"/load_lora_adapter", kPost, Access::kAdmin, Drain::kRefuse, LoadAdapter},
    {"/unload_lora_adapter", kPost, Access::kAdmin, Drain::kRefuse, UnloadAdapter},
    {"/v1/load_lora_adapter", kPost, Access::kAdmin, Drain::kRefuse, LoadAdapterV1},
    {"/v1/unload_lora_adapter", kPost, Access::kAdmin, Drain::kRefuse, UnloadAdapterV1},
    {"/flush_cache", kGetOrPost, Access::kAdmin, Drain::kRefuse, FlushCache},
    {"/abort_request", kPost, Access::kAdmin, Drain::kServe, AbortRequest},
    {"/profile", kGet, Access::kAdmin, Drain::kServe, Profile},
    {"/trace", kGet, Access::kAdmin, Drain::kServe, Trace},
    {"/health", kGet, Access::kOpen, Drain::kServe, Health},
    {"/health_generate", kGet, Access::kOpen, Drain::kRefuse, HealthGenerate},
    {"/ping", kGetOrPost, Access::kOpen, Drain::kServe, Ping},
    {"/metrics", kGet, Access::kOpen, Drain::kServe, Metrics},
    {"/get_model_info", kGet, Access::kUser, Drain::kServe, ModelInfo},
    {"/model_info", kGet, Access::kUser, Drain::kServe, ModelInfo},
    {"/get_server_info", kGet, Access::kUser, Drain::kServe, ServerInfo},
    {"/server_info", kGet, Access::kUser, Drain::kServe, ServerInfo},
    {"/version", kGet, Access::kUser, Drain::kServe, Version},
    {"/v1/models", kGet, Access::kUser, Drain::kServe, Models},
    {"/tokenize", kPost, Access::kUser, Drain::kRefuse, Tokenize},
    {"/detokenize", kPost, Access::kUser, Drain::kRefuse, Detokenize},
};
constexpr Route kModelRoute{kModelPathPrefix, kGet, Access::kUser, Drain::kServe, Model};

const Route* FindRoute(std::string_view path) {
  const auto found = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                  [&](const Route& route) { return route.path == path; });
  if (found != std::end(kRoutes)) return found;
  if (path.size() > kModelPathPrefix.size() && path.starts_with(kModelPathPrefix))
    return &kModelRoute;
  return nullptr;
}

std::string_view MethodName(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kHead:
      return "HEAD";
    case Method::kPost:
      return "POST";
    case Method::kPut:
      return "PUT";
    case Method::kOther:
      break;
  }
  return "other";
}

/// Takes the same time wherever the two differ, so that a key cannot be guessed byte by byte. `key`
/// is not empty.
bool EqualInConstantTime(std::string_view given, std::string_view key) {
  WEFT_CHECK(!key.empty());
  unsigned char difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i] ^ key[i % key.size()]);
  return difference == 0;
}

bool Allowed(const ServerOptions& options, Access access, std::string_view authorization) {
  if (access == Access::kOpen) return true;
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view given =
      authorization.starts_with(kBearer) ? authorization.substr(kBearer.size()) : "";
  const bool is_admin =
      !options.admin_api_key.empty() && EqualInConstantTime(given, options.admin_api_key);
  if (access == Access::kAdmin && !options.admin_api_key.empty()) return is_admin;
  if (options.api_key.empty()) return true;
  return is_admin || EqualInConstantTime(given, options.api_key);
}

HttpResponse WrongMethod(const Route& route, Method method, std::string_view path) {
  std::string allowed(MethodName(route.methods[0]));
  if (route.methods[0] == Method::kGet) allowed += ", HEAD";
  if (route.methods[1] != route.methods[0]) {
    allowed += ", ";
    allowed += MethodName(route.methods[1]);
  }
  const std::string given =
      method == Method::kOther ? "this method" : fmt::format("the method {}", MethodName(method));
  HttpResponse response = ErrorResponse(
      405, fmt::format("{} does not take {}: use {}", path, given, allowed), StyleOfPath(path));
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace

void Dispatch(ShardContext& shard, HttpRequest request, std::shared_ptr<Reply> reply) {
  const ApiStyle style = StyleOfPath(request.path);
  const Route* route = FindRoute(request.path);
  if (route == nullptr) {
    return reply->Send(
        ErrorResponse(404, fmt::format("there is nothing at {}", request.path), style));
  }
  const Method method = request.method == Method::kHead ? Method::kGet : request.method;
  if (std::find(route->methods.begin(), route->methods.end(), method) == route->methods.end())
    return reply->Send(WrongMethod(*route, request.method, request.path));
  if (!Allowed(shard.server.options, route->access, request.authorization)) {
    const bool for_admins =
        route->access == Access::kAdmin && !shard.server.options.admin_api_key.empty();
    HttpResponse response = ErrorResponse(
        401,
        fmt::format("Unauthorized: send the {} as 'Authorization: Bearer KEY'",
                    for_admins ? "administrator's key (--admin-api-key)" : "server's key"),
        style);
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return reply->Send(std::move(response));
  }
  if (route->drain == Drain::kRefuse && shard.server.draining.load(std::memory_order_relaxed))
    return reply->Send(ErrorResponse(503, "the server is shutting down", style));
  route->handler(shard, request, std::move(reply));
}

}  // namespace weft::server

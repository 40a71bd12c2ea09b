#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/route_harness_for_test.h"

namespace weft::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Method kGet = Method::kGet;
constexpr Method kPost = Method::kPost;

TEST(AdapterRoutes, SglangsForm) {
  RouteHarness harness;
  HttpResponse reply = harness.Ask(kPost, "/load_lora_adapter",
                                   R"({"lora_name": "a", "lora_path": "/x", "pinned": true})");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"success":true,"error_message":"","loaded_adapters":{"a":"/x"}})");
  EXPECT_TRUE(harness.service.adapters["a"].pinned);
  reply = harness.Ask(kPost, "/load_lora_adapter", R"({"lora_name": "a", "lora_path": "/y"})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.body,
            R"({"success":false,"error_message":"a is loaded","loaded_adapters":{"a":"/x"}})");
  reply = harness.Ask(kPost, "/load_lora_adapter", R"({"lora_name": "base", "lora_path": "/y"})");
  EXPECT_THAT(reply.body, HasSubstr("is the base model's"));
  reply = harness.Ask(kPost, "/unload_lora_adapter", R"({"lora_name": "a"})");
  EXPECT_EQ(reply.body, R"({"success":true,"error_message":"","loaded_adapters":{}})");
  EXPECT_THAT(harness.service.unload_replies,
              ElementsAre(engine::Service::UnloadReply::kWhenDrained));
  reply = harness.Ask(kPost, "/unload_lora_adapter", R"({"lora_name": "a"})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr(R"("success":false)"));
  EXPECT_EQ(harness.Ask(kPost, "/load_lora_adapter", "{}").status, 400);
}

TEST(AdapterRoutes, VllmsForm) {
  RouteHarness harness;
  const std::string load = R"({"lora_name": "a", "lora_path": "/x"})";
  HttpResponse reply = harness.Ask(kPost, "/v1/load_lora_adapter", load);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "Success: LoRA adapter 'a' added successfully.");
  reply = harness.Ask(kPost, "/v1/load_lora_adapter", load);
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr(R"("type":"InvalidUserInput")"));
  EXPECT_THAT(reply.body, HasSubstr("set 'load_inplace' to True."));
  reply = harness.Ask(kPost, "/v1/load_lora_adapter",
                      R"({"lora_name": "a", "lora_path": "/y", "load_inplace": true})");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(harness.service.adapters["a"].path, "/y");
  reply = harness.Ask(kPost, "/v1/load_lora_adapter",
                      R"({"lora_name": "b", "lora_path": "/missing/b"})");
  EXPECT_EQ(reply.status, 404);
  EXPECT_THAT(reply.body, HasSubstr(R"("type":"NotFoundError")"));
  reply = harness.Ask(kPost, "/v1/load_lora_adapter", R"({"lora_name": "b"})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("Both 'lora_name' and 'lora_path' must be provided."));
  reply = harness.Ask(kPost, "/v1/unload_lora_adapter", R"({"lora_name": "a"})");
  EXPECT_EQ(reply.body, "Success: LoRA adapter 'a' removed successfully.");
  EXPECT_THAT(harness.service.unload_replies, ElementsAre(engine::Service::UnloadReply::kAtOnce));
  EXPECT_EQ(harness.Ask(kPost, "/v1/unload_lora_adapter", R"({"lora_name": "a"})").status, 404);
}

TEST(InfoRoutes, ModelsAreTheBaseAndACardAnAdapter) {
  RouteHarness harness;
  harness.Ask(kPost, "/load_lora_adapter", R"({"lora_name": "org/a", "lora_path": "/x"})");
  EXPECT_EQ(harness.Ask(kGet, "/v1/models").body,
            R"({"object":"list","data":[{"id":"base","object":"model","created":1700000000,)"
            R"("owned_by":"weft","root":"/models/base","parent":null,"max_model_len":200},)"
            R"({"id":"org/a","object":"model","created":1700000000,"owned_by":"weft",)"
            R"("root":"/x","parent":"base","max_model_len":null}]})");
  EXPECT_THAT(harness.Ask(kGet, "/v1/models/org/a").body, HasSubstr(R"("id":"org/a")"));
  EXPECT_THAT(harness.Ask(kGet, "/v1/models/base").body, HasSubstr(R"("parent":null)"));
  EXPECT_THAT(harness.Ask(kGet, "/v1/models/base:org/a").body, HasSubstr(R"("root":"/x")"));
  const HttpResponse unknown = harness.Ask(kGet, "/v1/models/nope");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(unknown.body, HasSubstr("The model `nope` does not exist."));
}

TEST(InfoRoutes, ServerInfoShowsFlagsAndState) {
  ServerOptions options = RouteHarness::DefaultOptions();
  options.flags = {{"model_path", "/m"}, {"max_loras_per_batch", "8"}, {"disable_x", "true"}};
  RouteHarness harness(options);
  harness.service.stats.pages_total = 10;
  harness.service.stats.tokens_per_page = 16;
  const std::string body = harness.Ask(kGet, "/get_server_info").body;
  EXPECT_THAT(body, HasSubstr(R"("model_path":"/m","max_loras_per_batch":8,"disable_x":true,)"
                              R"("max_total_num_tokens":160)"));
  EXPECT_EQ(harness.Ask(kGet, "/server_info").body, body);
  EXPECT_THAT(harness.Ask(kGet, "/model_info").body, HasSubstr(R"("is_generation":true)"));
  EXPECT_EQ(harness.Ask(kGet, "/version").body, R"({"version":"0.1.0"})");
}

TEST(TokenRoutes, TokenizeAndBack) {
  RouteHarness harness;
  EXPECT_EQ(harness.Ask(kPost, "/tokenize", R"({"prompt": "hi"})").body,
            R"({"count":2,"max_model_len":200,"tokens":[104,105],"token_strs":null})");
  EXPECT_THAT(
      harness.Ask(kPost, "/tokenize", R"({"prompt": "h ", "return_token_strs": true})").body,
      HasSubstr(R"("token_strs":["h","Ġ"])"));
  EXPECT_EQ(harness.Ask(kPost, "/detokenize", R"({"tokens": [104, 105]})").body,
            R"({"prompt":"hi"})");
  EXPECT_EQ(harness.Ask(kPost, "/detokenize", R"({"tokens": [999]})").status, 400);
  EXPECT_EQ(harness.Ask(kPost, "/detokenize", "{}").status, 400);
  EXPECT_EQ(harness.Ask(kPost, "/tokenize", "{}").status, 400);
}

TEST(ControlRoutes, AbortFlushHealthPingTrace) {
  RouteHarness harness;
  EXPECT_EQ(harness.Ask(kPost, "/abort_request", R"({"rid": "r"})").status, 200);
  EXPECT_EQ(harness.Ask(kPost, "/abort_request", R"({"rid": ""})").status, 200);
  EXPECT_EQ(harness.Ask(kPost, "/abort_request", R"({"abort_all": true})").status, 200);
  EXPECT_THAT(harness.service.aborted_clients(), ElementsAre("r", ""));
  EXPECT_EQ(harness.Ask(kGet, "/flush_cache").status, 200);
  EXPECT_EQ(harness.Ask(kPost, "/flush_cache").status, 200);
  harness.service.flush_result = MakeError(ErrorCode::kInvalidArgument, "requests are running");
  EXPECT_EQ(harness.Ask(kPost, "/flush_cache").status, 400);
  EXPECT_EQ(harness.Ask(kGet, "/health").status, 200);
  EXPECT_EQ(harness.Ask(kGet, "/ping").status, 200);
  EXPECT_EQ(harness.Ask(kPost, "/ping").status, 200);
  EXPECT_EQ(harness.Ask(kGet, "/trace").status, 404);
  harness.service.trace = "{}";
  EXPECT_EQ(harness.Ask(kGet, "/trace").body, "{}");
}

TEST(ControlRoutes, ProfileIsTextWhereProfilingIsOn) {
  RouteHarness harness;
  const HttpResponse off = harness.Ask(kGet, "/profile");
  EXPECT_EQ(off.status, 404);
  EXPECT_THAT(off.body, HasSubstr("--profile"));
  harness.service.profile_text = "decode steps: 1";
  harness.service.profile_json = "{}";
  const HttpResponse on = harness.Ask(kGet, "/profile");
  EXPECT_EQ(on.status, 200);
  EXPECT_EQ(on.body, "decode steps: 1");
  EXPECT_THAT(on.content_type, HasSubstr("text/plain"));
  EXPECT_EQ(harness.Ask(kPost, "/profile").status, 405);
}

TEST(ControlRoutes, HealthGenerateAsksTheEngineForAToken) {
  RouteHarness harness;
  auto healthy = harness.Send(kGet, "/health_generate");
  EXPECT_EQ(harness.service.request(0).max_new_tokens, 1);
  EXPECT_THAT(harness.service.request(0).prompt, ElementsAre(256));  // BOS
  harness.Emit(0, "x", RouteHarness::Length());
  EXPECT_EQ(healthy->whole->status, 200);
  auto silent = harness.Send(kGet, "/health_generate");
  harness.poster->late_tasks.at(1)();
  EXPECT_EQ(silent->whole->status, 503);
  EXPECT_EQ(harness.shard.events->active(), 0U);
  auto busy = harness.Send(kGet, "/health_generate");
  harness.Emit(2, "",
               engine::Finish{engine::FinishType::kError, {ErrorCode::kResourceExhausted, "full"}});
  EXPECT_EQ(busy->whole->status, 200);
}

TEST(Router, UnknownPathsAndMethodsAreClear) {
  RouteHarness harness;
  HttpResponse reply = harness.Ask(kGet, "/nope");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, R"({"error":{"message":"there is nothing at /nope"}})");
  EXPECT_THAT(harness.Ask(kGet, "/v1/nope").body, HasSubstr(R"("type":"NotFoundError")"));
  reply = harness.Ask(kGet, "/generate");
  EXPECT_EQ(reply.status, 405);
  EXPECT_THAT(reply.body, HasSubstr("use POST, PUT"));
  EXPECT_EQ(reply.headers.at(0).second, "POST, PUT");
  EXPECT_EQ(harness.Ask(Method::kHead, "/health").status, 200);
  EXPECT_EQ(harness.Ask(Method::kOther, "/health").status, 405);
}

TEST(Router, PathsAreDecoded) {
  EXPECT_EQ(PathOf("/v1/models/org%2Fa?x=1"), "/v1/models/org/a");
  EXPECT_EQ(PathOf("/a%"), "/a%");
  EXPECT_EQ(PathOf("/a%zz%4"), "/a%zz%4");
  EXPECT_EQ(PathOf("http://host:1/health?x"), "/health");
  EXPECT_EQ(PathOf("http://host"), "/");
}

TEST(Router, BadJsonNamesThePlace) {
  RouteHarness harness;
  const HttpResponse reply = harness.Ask(kPost, "/v1/completions", "{\"prompt\": }");
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("line 1, column"));
  EXPECT_THAT(reply.body, HasSubstr(R"("type":"BadRequestError","param":null,"code":400)"));
  EXPECT_EQ(harness.Ask(kPost, "/generate", "[]").status, 400);
}

TEST(Router, KeysAreAskedForWhereSglangDoes) {
  ServerOptions options = RouteHarness::DefaultOptions();
  options.api_key = "user";
  RouteHarness one(options);
  EXPECT_EQ(one.Ask(kGet, "/version").status, 401);
  EXPECT_EQ(one.Ask(kGet, "/version", "", "Bearer wrong").status, 401);
  EXPECT_EQ(one.Ask(kGet, "/version", "", "user").status, 401);
  EXPECT_EQ(one.Ask(kGet, "/version", "", "Bearer use").status, 401);
  EXPECT_EQ(one.Ask(kGet, "/version", "", "Bearer userx").status, 401);
  EXPECT_EQ(one.Ask(kGet, "/version", "", "Bearer user").status, 200);
  EXPECT_EQ(one.Ask(kPost, "/flush_cache", "", "Bearer user").status, 200);
  for (const char* open : {"/health", "/metrics", "/ping"})
    EXPECT_EQ(one.Ask(kGet, open).status, 200) << open;

  options.admin_api_key = "admin";
  RouteHarness two(options);
  const HttpResponse refused = two.Ask(kPost, "/flush_cache", "", "Bearer user");
  EXPECT_EQ(refused.status, 401);
  EXPECT_THAT(refused.body, HasSubstr("--admin-api-key"));
  EXPECT_EQ(two.Ask(kPost, "/flush_cache", "", "Bearer admin").status, 200);
  EXPECT_EQ(two.Ask(kGet, "/version", "", "Bearer user").status, 200);

  options.api_key.clear();
  RouteHarness only_admin(options);
  EXPECT_EQ(only_admin.Ask(kGet, "/version").status, 200);
  EXPECT_EQ(only_admin.Ask(kPost, "/flush_cache").status, 401);
}

TEST(Router, DrainingRefusesNewWork) {
  RouteHarness harness;
  harness.server.draining = true;
  EXPECT_EQ(harness.Ask(kPost, "/generate", R"({"text": "a"})").status, 503);
  EXPECT_EQ(harness.Ask(kPost, "/v1/load_lora_adapter", "{}").status, 503);
  EXPECT_EQ(harness.Ask(kGet, "/health").status, 503);
  EXPECT_EQ(harness.Ask(kGet, "/metrics").status, 200);
}

TEST(Metrics, GatewaysAndWeftsNames) {
  RouteHarness harness;
  engine::EngineStats& stats = harness.service.stats;
  stats.running = 2;
  stats.waiting = 3;
  stats.pages_total = 100;
  stats.pages_free = 40;
  stats.pages_prefix = 10;
  stats.tokens_per_page = 16;
  stats.max_loras_per_batch = 8;
  stats.running_adapters = {"a", "b"};
  stats.waiting_adapters = {"c"};
  stats.requests_total = {{"stop", 4}};
  Histogram histogram({0.1, 1.0});
  histogram.Observe(0.05);
  histogram.Observe(5);
  stats.histograms.emplace("ttft_seconds", histogram);
  stats.histograms.emplace("step_seconds:decode", histogram);
  const HttpResponse reply = harness.Ask(kGet, "/metrics");
  EXPECT_EQ(reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(reply.body,
              HasSubstr("vllm:num_requests_running{model_name=\"base\",engine=\"0\"} 2"));
  EXPECT_THAT(reply.body,
              HasSubstr("vllm:num_requests_waiting{model_name=\"base\",engine=\"0\"} 3"));
  EXPECT_THAT(reply.body,
              HasSubstr("vllm:kv_cache_usage_perc{model_name=\"base\",engine=\"0\"} 0.5"));
  EXPECT_THAT(reply.body, HasSubstr("block_size=\"16\",num_gpu_blocks=\"100\""));
  EXPECT_THAT(reply.body, HasSubstr("vllm:lora_requests_info{max_lora=\"8\",running_lora_adapters="
                                    "\"a,b\",waiting_lora_adapters=\"c\"} "));
  EXPECT_THAT(reply.body, HasSubstr("weft:requests_total{finish_reason=\"stop\"} 4"));
  EXPECT_THAT(reply.body, HasSubstr("weft:pages{use=\"free\"} 40"));
  EXPECT_THAT(reply.body, HasSubstr("weft:ttft_seconds_bucket{le=\"0.1\"} 1"));
  EXPECT_THAT(reply.body, HasSubstr("weft:ttft_seconds_bucket{le=\"+Inf\"} 2"));
  EXPECT_THAT(reply.body, HasSubstr("weft:step_seconds_count{kind=\"decode\"} 2"));
}

}  // namespace
}  // namespace weft::server

#include "server/route_harness_for_test.h"

namespace weft::server {

bool QueuePoster::RunOne() {
  std::function<void()> task;
  {
    std::unique_lock lock(mutex_);
    if (!added_.wait_for(lock, std::chrono::seconds(10), [&] { return !tasks_.empty(); }))
      return false;
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  task();
  return true;
}

void QueuePoster::RunAll() {
  while (true) {
    std::function<void()> task;
    {
      std::lock_guard lock(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

ServerOptions RouteHarness::DefaultOptions() {
  ServerOptions options;
  options.served_model_name = "base";
  options.model_path = "/models/base";
  options.tokenizer_path = "/models/base";
  return options;
}

RouteHarness::RouteHarness(ServerOptions options)
    : metrics(options.served_model_name, clock),
      server{
          std::move(options), service, {200, 20}, ByteTokenizer(), nullptr, clock, &pool, metrics,
          1700000000},
      shard{server, poster, EventRouter::Create(service, poster)} {}

std::shared_ptr<RecordedReply> RouteHarness::Send(Method method, const std::string& path,
                                                  const std::string& body,
                                                  const std::string& authorization) {
  auto reply = std::make_shared<RecordedReply>();
  Dispatch(shard, {method, path, authorization, /*accept=*/"", body}, reply);
  return reply;
}

std::shared_ptr<RecordedReply> RouteHarness::Post(const std::string& path, const std::string& body,
                                                  size_t submits) {
  const size_t before = service.submitted_count();
  auto reply = Send(Method::kPost, path, body);
  while (service.submitted_count() < before + submits && !reply->whole && poster->RunOne()) {
  }
  return reply;
}

HttpResponse RouteHarness::Ask(Method method, const std::string& path, const std::string& body,
                               const std::string& authorization) {
  auto reply = Send(method, path, body, authorization);
  while (!reply->whole && poster->RunOne()) {
  }
  return reply->whole.value_or(HttpResponse{0, "", "no answer came", {}});
}

}  // namespace weft::server

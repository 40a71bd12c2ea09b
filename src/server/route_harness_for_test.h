#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/router.h"
#include "server/scripted_service_for_test.h"
#include "server/server_context.h"

namespace weft::server {

/// Tasks wait until the test runs them.
class QueuePoster final : public Poster {
 public:
  void Post(std::function<void()> task) override {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    added_.notify_all();
  }
  void PostAfter(std::chrono::milliseconds, std::function<void()> task) override {
    late_tasks.push_back(std::move(task));
  }
  /// Runs one task, waiting for it if need be. False if none came in 10 s.
  bool RunOne();
  /// Runs what is there.
  void RunAll();

  std::vector<std::function<void()>> late_tasks;

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> tasks_;
};

/// A reply that keeps what it is told.
class RecordedReply final : public Reply {
 public:
  void Send(HttpResponse response) override {
    whole = std::move(response);
    ForgetHangUp();
  }
  void BeginStream(HttpResponse begun) override {
    stream = begun.body;
    head = std::move(begun);
  }
  void WriteStream(std::string_view data) override { stream += data; }
  void EndStream() override {
    ended = true;
    ForgetHangUp();
  }
  bool Backlogged() const override { return backlogged; }
  void ClientHangsUp() { HangUp(); }

  std::optional<HttpResponse> whole;
  std::optional<HttpResponse> head;
  std::string stream;
  bool ended = false;
  bool backlogged = false;
};

/// One shard's routes over a ScriptedService, without sockets.
class RouteHarness {
 public:
  explicit RouteHarness(ServerOptions options = DefaultOptions());

  static ServerOptions DefaultOptions();

  std::shared_ptr<RecordedReply> Send(Method method, const std::string& path,
                                      const std::string& body = "",
                                      const std::string& authorization = "");
  /// Post, then run until `submits` requests are with the engine or the reply is there.
  std::shared_ptr<RecordedReply> Post(const std::string& path, const std::string& body,
                                      size_t submits = 1);
  /// A request whose answer does not wait for engine events.
  HttpResponse Ask(Method method, const std::string& path, const std::string& body = "",
                   const std::string& authorization = "");
  void Emit(size_t index, const std::string& bytes,
            std::optional<engine::Finish> finish = std::nullopt) {
    service.Emit(index, bytes, std::move(finish));
    poster->RunAll();
  }
  void EmitEvent(size_t index, engine::RequestEvent event) {
    service.EmitEvent(index, std::move(event));
    poster->RunAll();
  }

  static engine::Finish Stop(TokenId matched) {
    return {engine::FinishType::kStop, {}, ops::SampledToken{matched, -0.125F, {}}};
  }
  static engine::Finish Length() { return {engine::FinishType::kLength}; }

  ScriptedService service;
  SteadyClock clock;
  MetricsText metrics;
  TextPool pool{1, 16};
  ServerContext server;
  std::shared_ptr<QueuePoster> poster = std::make_shared<QueuePoster>();
  ShardContext shard;
};

}  // namespace weft::server

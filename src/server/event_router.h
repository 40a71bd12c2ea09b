#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/request.h"
#include "engine/service.h"
#include "server/poster.h"

namespace weft::server {

/// Who waits for the events of requests.
class EventListener {
 public:
  virtual ~EventListener() = default;
  /// `tag` is what the listener gave with the request.
  virtual void OnEvent(engine::RequestEvent& event, size_t tag) = 0;
};

/// A shard's requests in the engine: submits them and hands each event to its listener. One a
/// shard, used on its thread only; the engine delivers to a sink that posts here, once a step.
class EventRouter : public std::enable_shared_from_this<EventRouter> {
 public:
  static std::shared_ptr<EventRouter> Create(engine::Service& service,
                                             std::shared_ptr<Poster> poster);

  /// Keeps `listener` alive until its last event or Abort.
  RequestId Submit(engine::GenerationRequest request, std::shared_ptr<EventListener> listener,
                   size_t tag);

  /// Ends a request; its listener hears no more of it. Finished ones are ignored.
  void Abort(RequestId id);
  /// The same for one whose text has reached a stop string.
  void FinishAtStopString(RequestId id);

  /// Ends all requests: each listener gets a last event (kAbort with this reason) at once, without
  /// waiting for the engine.
  void AbortAll(const Error& reason);

  void Route(std::vector<engine::RequestEvent> events);
  size_t active() const { return entries_.size(); }

 private:
  struct Entry {
    std::shared_ptr<EventListener> listener;
    size_t tag = 0;
  };

  explicit EventRouter(engine::Service& service) : service_(service) {}

  engine::Service& service_;
  std::shared_ptr<engine::EventSink> sink_;
  std::unordered_map<RequestId, Entry> entries_;
};

}  // namespace weft::server

#include "server/event_router.h"

#include <utility>

namespace weft::server {
namespace {

class PostingSink final : public engine::EventSink {
 public:
  PostingSink(std::weak_ptr<EventRouter> router, std::shared_ptr<Poster> poster)
      : router_(std::move(router)), poster_(std::move(poster)) {}

  void Deliver(std::vector<engine::RequestEvent> events) override {
    poster_->Post([router = router_, events = std::move(events)]() mutable {
      if (auto alive = router.lock()) alive->Route(std::move(events));
    });
  }

 private:
  const std::weak_ptr<EventRouter> router_;
  const std::shared_ptr<Poster> poster_;
};

}  // namespace

std::shared_ptr<EventRouter> EventRouter::Create(engine::Service& service,
                                                 std::shared_ptr<Poster> poster) {
  std::shared_ptr<EventRouter> router(new EventRouter(service));
  router->sink_ = std::make_shared<PostingSink>(router, std::move(poster));
  return router;
}

RequestId EventRouter::Submit(engine::GenerationRequest request,
                              std::shared_ptr<EventListener> listener, size_t tag) {
  // Events are posted to this thread, so none can arrive before the entry is there.
  const RequestId id = service_.Submit(std::move(request), sink_);
  entries_.emplace(id, Entry{std::move(listener), tag});
  return id;
}

void EventRouter::Abort(RequestId id) {
  if (entries_.erase(id) > 0) service_.Abort(id);
}

void EventRouter::FinishAtStopString(RequestId id) {
  if (entries_.erase(id) > 0) service_.FinishAtStopString(id);
}

void EventRouter::AbortAll(const Error& reason) {
  for (auto& [id, entry] : std::exchange(entries_, {})) {
    service_.Abort(id);
    engine::RequestEvent event;
    event.id = id;
    event.finish = engine::Finish{engine::FinishType::kAbort, reason};
    entry.listener->OnEvent(event, entry.tag);
  }
}

void EventRouter::Route(std::vector<engine::RequestEvent> events) {
  for (engine::RequestEvent& event : events) {
    const auto found = entries_.find(event.id);
    if (found == entries_.end()) continue;  // Aborted meanwhile.
    const Entry entry = found->second;
    if (event.finish) entries_.erase(found);
    entry.listener->OnEvent(event, entry.tag);
  }
}

}  // namespace weft::server

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "adapter/loading.h"
#include "engine/request.h"
#include "engine/service.h"
#include "engine/step_executor.h"

namespace weft::engine {

struct SubmitMessage {
  RequestId id;
  GenerationRequest request;
  std::shared_ptr<EventSink> sink;
  Moment arrived;
};
struct AbortMessage {
  RequestId id;
  bool stop_string = false;  ///< Its text is complete, as far as its client is concerned.
};
struct AbortByClientIdMessage {
  std::string client_id;
};
struct WantSoonMessage {
  std::string adapter;
};
struct LoadAdapterMessage {
  Service::LoadAdapterRequest request;
  /// Only registers the name; files are read when it is first wanted.
  bool register_only = false;
  std::function<void(Result<AdapterInfo>)> done;
};
struct UnloadAdapterMessage {
  std::string name;
  Service::UnloadReply when = Service::UnloadReply::kAtOnce;
  std::function<void(Status)> done;
};
struct ListAdaptersMessage {
  std::function<void(std::vector<AdapterInfo>)> done;
};
struct FlushPrefixCacheMessage {
  std::function<void(Status)> done;
};
/// From now on new requests are refused.
struct DrainMessage {};

/// Everything that can reach the engine. What other threads know, they say with one of these.
using Message = std::variant<SubmitMessage, AbortMessage, AbortByClientIdMessage, WantSoonMessage,
                             LoadAdapterMessage, UnloadAdapterMessage, ListAdaptersMessage,
                             FlushPrefixCacheMessage, DrainMessage, adapter::AdapterOpened,
                             adapter::AdapterRead, adapter::AdapterCopied, StepDone>;

}  // namespace weft::engine

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/histogram.h"
#include "engine/request.h"

namespace weft::engine {

/// A registered adapter, as administrators see it.
struct AdapterInfo {
  std::string name;
  std::string path;
  AdapterVersion version;
  bool pinned = false;
  std::string host_tier;    ///< absent, reading, ready, releasing
  std::string device_tier;  ///< absent, copying, ready, releasing
  std::string lifecycle;    ///< active, draining, gone, failed
  std::string failure;      ///< Why, when failed.
  int32_t rank = 0;         ///< The largest of its modules; 0 before its files were first read.
  int32_t pages = 0;
  int32_t running = 0;  ///< Sequences running with it.
  int32_t waiting = 0;
};

/// Counts and gauges of the engine, copied out for /metrics, /get_server_info and logs.
struct EngineStats {
  int64_t waiting = 0;  ///< Without the suspended and the paused.
  int64_t running = 0;
  int64_t suspended = 0;
  int64_t paused = 0;       ///< Until their adapter has a turn again.
  int64_t pages_total = 0;  ///< Without page 0.
  int64_t pages_free = 0;
  int64_t pages_kv = 0;      ///< Of live sequences.
  int64_t pages_prefix = 0;  ///< Of cached prefixes nobody uses now.
  int64_t pages_adapter = 0;
  int64_t pages_adapter_idle = 0;  ///< Of those, what would give way to KV.
  int32_t tokens_per_page = 0;
  int64_t page_bytes = 0;
  int64_t adapter_host_bytes = 0;
  int32_t max_loras_per_batch = 0;
  std::vector<std::string> running_adapters;  ///< Of requests that run,
  std::vector<std::string> waiting_adapters;  ///< and of some that wait; an adapter may be both.
  uint64_t prompt_tokens_total = 0;
  uint64_t cached_tokens_total = 0;
  uint64_t generated_tokens_total = 0;
  std::map<std::string, uint64_t> requests_total;       ///< By finish reason.
  std::map<std::string, uint64_t> adapter_loads_total;  ///< By result: ok, error, dropped.
  uint64_t LoadsOf(const std::string& result) const {
    const auto found = adapter_loads_total.find(result);
    return found == adapter_loads_total.end() ? 0 : found->second;
  }
  uint64_t adapter_evictions_total = 0;
  uint64_t adapter_copied_bytes_total = 0;
  uint64_t suspensions_total = 0;
  uint64_t pauses_total = 0;
  uint64_t steps_total = 0;
  double copy_busy_seconds_total = 0;
  std::map<std::string, Histogram>
      histograms;  ///< ttft_seconds, itl_seconds, ...; step_seconds by kind.
};

/// The engine as the server, the benchmark and the command line see it. Every method may be called
/// from any thread and returns at once; callbacks run on the engine's thread and must only post.
class Service {
 public:
  virtual ~Service() = default;

  /// Queues a request. What is wrong with it (unknown adapter, too long, queue full, draining)
  /// comes as an event with FinishType::kError before any token. `sink` must outlive the request's
  /// last event.
  virtual RequestId Submit(GenerationRequest request, std::shared_ptr<EventSink> sink) = 0;

  /// Ends a request; its last event says kAbort. Unknown or finished ids are ignored.
  virtual void Abort(RequestId id) = 0;
  /// Ends a request whose text has reached a stop string: as Abort, but its last event says kStop.
  virtual void FinishAtStopString(RequestId id) = 0;
  /// Ends every request with this client id; empty: every request there is.
  virtual void AbortByClientId(std::string client_id) = 0;

  /// A request naming this adapter is being parsed: begin to bring it in.
  virtual void WantSoon(std::string adapter) = 0;

  struct LoadAdapterRequest {
    std::string name;
    std::string path;
    bool pinned = false;
    bool replace = false;  ///< vLLM's load_inplace: a new version takes the old one's place (P10).
  };
  /// Registers an adapter, reads and checks its files. Answers when the host image is ready, or why
  /// it is not.
  virtual void LoadAdapter(LoadAdapterRequest request,
                           std::function<void(Result<AdapterInfo>)> done) = 0;

  enum class UnloadReply : uint8_t { kAtOnce, kWhenDrained };
  /// Refuses new requests for it at once, lets running ones finish, then frees every byte (P9).
  virtual void UnloadAdapter(std::string name, UnloadReply when,
                             std::function<void(Status)> done) = 0;

  virtual void ListAdapters(std::function<void(std::vector<AdapterInfo>)> done) = 0;

  /// Drops every cached prefix that no running sequence uses.
  virtual void FlushPrefixCache(std::function<void(Status)> done) = 0;

  virtual EngineStats Stats() const = 0;

  /// The trace so far, as Chrome trace events (JSON); empty when tracing is off.
  virtual std::string TraceJson() const = 0;

  enum class ProfileForm : uint8_t { kText, kJson };
  /// Where steps spent their time so far; empty when profiling is off.
  virtual std::string Profile(ProfileForm form) const = 0;
};

/// Limits a client must know before it tokenizes.
struct ServiceLimits {
  int32_t context_length = 0;
  int32_t max_top_logprobs = 20;
};

}  // namespace weft::engine

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "bench/response_timer.h"

namespace weft::bench {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// A server's address: "http://host:port/prefix".
struct Endpoint {
  std::string host;
  std::string port;
  std::string prefix;  ///< "" or "/v2", never with a slash at the end.

  std::string Url(std::string_view path) const;
};

/// Parses `--base-url`. Only http.
Result<Endpoint> ParseBaseUrl(std::string_view url);

struct HttpReply {
  int status = 0;
  std::string body;
};

/// One small request, body read whole. Blocks the calling thread, at most `timeout`. An unreachable
/// server is kUnavailable.
Result<HttpReply> Get(const Endpoint& endpoint, std::string_view path, const HttpHeaders& headers,
                      Duration timeout);
Result<HttpReply> Post(const Endpoint& endpoint, std::string_view path, const HttpHeaders& headers,
                       const std::string& body, Duration timeout);

/// One request of a run.
struct TimedRequest {
  Duration at{};  ///< When to post it, from the start of the run.
  std::string body;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;  ///< Asked for.
};

/// What to send where.
struct Load {
  Endpoint endpoint;
  std::string path;
  HttpHeaders headers;
  Protocol protocol = Protocol::kSglangGenerate;
  std::vector<TimedRequest> requests;  ///< By `at`, ascending.
  /// Requests beyond it wait in order; their latency counts from when they are posted.
  std::optional<int> max_concurrency;
};

struct LoadResult {
  std::vector<RequestOutcome> outcomes;  ///< In the order of the requests.
  double duration = 0;                   ///< Seconds from the start to the last reply's end.
};

/// Posts every request at its time, each on a connection of its own, and reads the replies as they
/// stream in: one coroutine a request, all on the calling thread, which blocks until the last reply
/// ended. Failures are outcomes. `on_finished` is called after each with the number finished.
LoadResult RunLoad(const Load& load, const Clock& clock,
                   const std::function<void(size_t)>& on_finished);

}  // namespace weft::bench

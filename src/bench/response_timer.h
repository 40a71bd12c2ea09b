#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "bench/backend.h"
#include "bench/stream_event.h"

namespace weft::bench {

/// What one request did. Times in seconds, as bench_serving's RequestFuncOutput.
struct RequestOutcome {
  bool success = false;
  std::string error;          ///< Why not, when it did not succeed.
  int64_t prompt_tokens = 0;  ///< As planned.
  int64_t output_tokens = 0;  ///< As the server counted; as asked for where it does not say.
  double start = 0;           ///< When it was posted, on the clock's axis.
  double latency = 0;         ///< Post to last line ("E2E").
  double ttft = 0;            ///< Post to first non-empty text.
  std::vector<double> itl;    ///< Gaps between later texts.
  std::string generated_text;
};

/// Turns the bytes of one reply, and the moments they came at, into a RequestOutcome. Pure: the
/// caller brings the time. One thread; `parser` is shared by the timers of that thread.
class ResponseTimer {
 public:
  ResponseTimer(Protocol protocol, int64_t prompt_tokens, int64_t requested_output_tokens,
                Moment sent, StreamEventParser& parser);

  /// More bytes of a 200 reply's body, which may end anywhere in a line.
  void OnBytes(std::string_view bytes, Moment now);
  /// The body ended as it should.
  void OnEnd(Moment now);
  /// The request failed: refused, another status, or a reply cut short.
  void OnFailure(std::string error);

  RequestOutcome Take() { return std::move(outcome_); }

 private:
  void OnLine(std::string_view line, Moment now);
  void OnText(const StreamEvent& event, double since_sent);
  double SinceSent(Moment now) const { return Seconds(now - sent_); }

  Protocol protocol_;
  Moment sent_;
  StreamEventParser& parser_;
  std::string partial_line_;
  RequestOutcome outcome_;
  double last_text_at_ = 0;  ///< Since sent.
  int64_t last_output_tokens_ = 0;
  bool failed_ = false;
};

}  // namespace weft::bench

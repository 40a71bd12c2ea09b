#include "bench/response_timer.h"

#include <algorithm>

namespace weft::bench {
namespace {

std::string_view Strip(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = line.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kSpace) - first + 1);
}

}  // namespace

ResponseTimer::ResponseTimer(Protocol protocol, int64_t prompt_tokens,
                             int64_t requested_output_tokens, Moment sent,
                             StreamEventParser& parser)
    : protocol_(protocol), sent_(sent), parser_(parser) {
  outcome_.prompt_tokens = prompt_tokens;
  outcome_.output_tokens = requested_output_tokens;
  outcome_.start = Seconds(sent.time_since_epoch());
}

void ResponseTimer::OnBytes(std::string_view bytes, Moment now) {
  size_t end = 0;
  while ((end = bytes.find('\n')) != std::string_view::npos) {
    if (partial_line_.empty()) {
      OnLine(bytes.substr(0, end), now);
    } else {
      partial_line_.append(bytes.substr(0, end));
      OnLine(partial_line_, now);
      partial_line_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
  partial_line_.append(bytes);
}

void ResponseTimer::OnEnd(Moment now) {
  OnLine(partial_line_, now);
  partial_line_.clear();
  if (failed_) return;
  if (outcome_.latency == 0) return OnFailure("the server's reply is empty");
  outcome_.success = true;
}

void ResponseTimer::OnFailure(std::string error) {
  if (failed_) return;
  failed_ = true;
  outcome_.success = false;
  outcome_.error = std::move(error);
}

void ResponseTimer::OnLine(std::string_view line, Moment now) {
  constexpr std::string_view kData = "data: ";
  line = Strip(line);
  if (line.empty() || failed_) return;
  if (line.starts_with(kData)) line.remove_prefix(kData.size());
  outcome_.latency = SinceSent(now);
  if (line == "[DONE]") return;
  const Result<StreamEvent> event = parser_.Parse(protocol_, line);
  if (!event) return OnFailure(event.error().message);
  if (!event->text.empty()) return OnText(*event, outcome_.latency);
  // SGLang's count belongs to its text; OpenAI's usage may come in a chunk of its own.
  if (protocol_ != Protocol::kSglangGenerate) {
    outcome_.output_tokens = event->completion_tokens.value_or(outcome_.output_tokens);
  }
}

// The first text sets TTFT, each later one a gap. SGLang's server may send several tokens at once:
// the gap is then shared out among them, and a text without a new token counts for nothing.
void ResponseTimer::OnText(const StreamEvent& event, double since_sent) {
  const bool first = outcome_.ttft == 0;
  outcome_.output_tokens = event.completion_tokens.value_or(outcome_.output_tokens);
  if (protocol_ != Protocol::kSglangGenerate) {
    outcome_.generated_text.append(event.text);
    if (!first) outcome_.itl.push_back(since_sent - last_text_at_);
  } else {
    outcome_.generated_text.assign(event.text);
    if (!first) {
      const int64_t tokens = outcome_.output_tokens - last_output_tokens_;
      if (tokens <= 0) return;
      const double gap = (since_sent - last_text_at_) / static_cast<double>(tokens);
      outcome_.itl.insert(outcome_.itl.end(), static_cast<size_t>(tokens), gap);
    }
    last_output_tokens_ = outcome_.output_tokens;
  }
  if (first) outcome_.ttft = since_sent;
  last_text_at_ = since_sent;
}

}  // namespace weft::bench

#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/choice.h"
#include "server/event_router.h"
#include "server/prompt.h"
#include "server/reply.h"
#include "server/server_context.h"

namespace weft::server {

using Choices = std::deque<Choice>;

/// The form of one API's answers. A Generation owns it and calls it on its shard's thread.
class ReplyFormat {
 public:
  virtual ~ReplyFormat() = default;
  virtual ApiStyle style() const = 0;
  /// Each frame repeats all that came before, so that one may be left out when the client is slow.
  virtual bool cumulative() const { return false; }
  /// The id that the client sees of choice `index`.
  virtual std::string ChoiceId(size_t index) const = 0;
  /// Adds the server-sent events that tell of `delta`.
  virtual void AppendDelta(const Choice& choice, const ChoiceDelta& delta, std::string& frames) = 0;
  /// Adds what comes after every choice's end, without the last "[DONE]".
  virtual void AppendEnd(const Choices& choices, std::string& frames) = 0;
  /// The whole body of an answer that is not streamed.
  virtual std::string Whole(const Choices& choices) = 0;
};

/// What to generate, and how to answer.
struct GenerationPlan {
  std::vector<Prompt> prompts;  ///< All with the same sampling.n.
  bool stream = false;
  std::unique_ptr<ReplyFormat> format;
};

/// Answers one request for text: prefetches adapters, tokenizes on the text pool, submits every
/// choice, and turns events into the reply. The head of a stream is sent with the first event, so
/// that an error before any token has its own status. Lives until its last event, or until the
/// client hangs up, which aborts all its choices (P7).
class Generation final : public EventListener, public std::enable_shared_from_this<Generation> {
 public:
  static void Start(ShardContext& shard, GenerationPlan plan, std::shared_ptr<Reply> reply);

  void OnEvent(engine::RequestEvent& event, size_t tag) override;

 private:
  Generation(ShardContext& shard, GenerationPlan plan, std::shared_ptr<Reply> reply);

  void Prepare();
  ApiStatus PreparePrompts();
  void Submit();
  void Stream(const Choice& choice, const ChoiceDelta& delta);
  void Complete();
  void Fail(const ApiError& error);
  void AbortChoices();

  ServerContext& server_;
  const std::shared_ptr<Poster> poster_;
  const std::shared_ptr<EventRouter> events_;
  std::vector<Prompt> prompts_;
  const bool stream_;
  const std::unique_ptr<ReplyFormat> format_;
  std::shared_ptr<Reply> reply_;
  const Moment received_;
  Choices choices_;
  std::vector<RequestId> requests_;  // By choice.
  size_t finished_ = 0;
  bool stream_begun_ = false;
  bool done_ = false;  // Answered, or nobody listens.
};

inline constexpr std::string_view kDoneFrame = "data: [DONE]\n\n";

}  // namespace weft::server

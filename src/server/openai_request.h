#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/prompt.h"

namespace weft::server {

/// POST /v1/completions or /v1/chat/completions.
struct OpenAiRequest {
  std::vector<Prompt> prompts;  ///< One for a chat.
  std::string model;            ///< As the client named it; the base's name if it named none.
  std::string id;               ///< Of the reply: "cmpl-..." or "chatcmpl-...".
  bool stream = false;
  bool include_usage = false;
  bool echo = false;  ///< Completions: the reply begins with the prompt.
  bool logprobs = false;
  int32_t top_logprobs = 0;
};

/// Fields as OpenAI's API reference, vLLM's and SGLang's extras included. Pure. `base_name` is the
/// served model's name.
ApiStatus ParseCompletionRequest(const boost::json::object& body, std::string_view base_name,
                                 OpenAiRequest& into);
ApiStatus ParseChatRequest(const boost::json::object& body, std::string_view base_name,
                           OpenAiRequest& into);

/// The "messages" of a chat or of vLLM's /tokenize, checked; text parts are joined. And what the
/// template is told besides.
ApiStatus ReadChatMessages(const boost::json::object& body, ChatMessages& into);

}  // namespace weft::server

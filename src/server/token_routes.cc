#include <utility>

#include "server/api_error.h"
#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/openai_request.h"
#include "server/routes.h"

namespace weft::server {
namespace {

using text::SpecialTokens;

/// vLLM's POST /tokenize: a prompt, or a chat.
struct TokenizeRequest {
  std::variant<std::string, ChatMessages> source;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

ApiStatus ParseTokenizeRequest(const HttpRequest& request, TokenizeRequest& into) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return ApiError{body.error(), "", ""};
  JsonFields fields(*body);
  const bool chat = fields.Find("messages") != nullptr;
  into.add_special_tokens = !chat;  // A rendered template has its own.
  fields.Read("add_special_tokens", into.add_special_tokens);
  fields.Read("return_token_strs", into.return_token_strs);
  if (chat) {
    ChatMessages messages;
    if (auto error = ReadChatMessages(*body, messages)) return error;
    into.source = std::move(messages);
    return fields.error();
  }
  if (fields.Find("prompt") == nullptr)
    return BadRequest("prompt (a string) or messages (a list) must be given", "prompt");
  std::string prompt;
  fields.Read("prompt", prompt);
  into.source = std::move(prompt);
  return fields.error();
}

Result<std::vector<TokenId>> Encode(const PromptLimits& limits, const TokenizeRequest& request) {
  const SpecialTokens special =
      request.add_special_tokens ? SpecialTokens::kAdd : SpecialTokens::kDoNotAdd;
  if (const auto* text = std::get_if<std::string>(&request.source))
    return limits.tokenizer.Encode(*text, special);
  const auto& chat = std::get<ChatMessages>(request.source);
  if (limits.chat_template == nullptr) {
    return Error{ErrorCode::kInvalidArgument,
                 "this model has no chat template: start the server with --chat-template"};
  }
  WEFT_ASSIGN_OR_RETURN(const std::string text,
                        limits.chat_template->Render(chat.messages_json, chat.options));
  return limits.tokenizer.Encode(text, special);
}

HttpResponse TokenizeAnswer(const PromptLimits& limits, const TokenizeRequest& request) {
  const auto tokens = Encode(limits, request);
  if (!tokens) return ErrorResponse({tokens.error(), "prompt", ""}, ApiStyle::kOpenAi);
  HttpResponse response;
  JsonWriter writer(response.body);
  writer.BeginObject().Key("count").Integer(static_cast<int64_t>(tokens->size()));
  writer.Key("max_model_len").Integer(limits.service.context_length);
  writer.Key("tokens").BeginArray();
  for (const TokenId id : *tokens) writer.Integer(id);
  writer.EndArray().Key("token_strs");
  if (!request.return_token_strs) {
    writer.Null();
  } else {
    writer.BeginArray();
    for (const TokenId id : *tokens) writer.String(limits.tokenizer.TokenText(id));
    writer.EndArray();
  }
  writer.EndObject();
  return response;
}

}  // namespace

void Tokenize(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  TokenizeRequest parsed;
  if (const auto error = ParseTokenizeRequest(request, parsed))
    return reply->Send(ErrorResponse(*error, ApiStyle::kOpenAi));
  AnswerOnTextPool(shard, std::move(reply), ApiStyle::kOpenAi,
                   [&server = shard.server, parsed = std::move(parsed)] {
                     return TokenizeAnswer(server.prompt_limits(), parsed);
                   });
}

void Detokenize(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return reply->Send(ErrorResponse({body.error(), "", ""}, ApiStyle::kOpenAi));
  JsonFields fields(*body);
  std::vector<TokenId> tokens;
  if (fields.Find("tokens") == nullptr) fields.Fail("tokens", "must be a list of token ids");
  fields.Read("tokens", tokens);
  const int32_t size = shard.server.tokenizer->vocabulary_size();
  for (const TokenId id : tokens) {
    if (id >= size)
      fields.Fail("tokens", fmt::format("has the id {}: the vocabulary has {}", id, size));
  }
  if (!fields.ok()) return reply->Send(ErrorResponse(*fields.error(), ApiStyle::kOpenAi));
  AnswerOnTextPool(shard, std::move(reply), ApiStyle::kOpenAi,
                   [tokenizer = shard.server.tokenizer, tokens = std::move(tokens)] {
                     HttpResponse response;
                     JsonWriter(response.body)
                         .BeginObject()
                         .Key("prompt")
                         .String(tokenizer->Decode(tokens, false))
                         .EndObject();
                     return response;
                   });
}

}  // namespace weft::server

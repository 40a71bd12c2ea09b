#include "server/openai_request.h"

#include "server/generate_request.h"
#include "server/json_reader.h"
#include "server/sampling_fields.h"

namespace weft::server {
namespace json = boost::json;
namespace {

constexpr size_t kMaxPrompts = 4096;
constexpr int64_t kMaxSequences = 8192;

void ReadStreamOptions(JsonFields& fields, OpenAiRequest& into) {
  fields.Read("stream", into.stream);
  const json::value* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.Fail("stream_options", "must be an object");
  if (!into.stream) return fields.Fail("stream_options", "can only be set when stream is true");
  JsonFields inner(options->get_object(), "stream_options.");
  inner.Read("include_usage", into.include_usage);
  fields.Adopt(inner.error());
}

void RefuseWhatIsNotServed(JsonFields& fields) {
  const json::value* format = fields.Find("response_format");
  if (format != nullptr) {
    const json::value* type =
        format->is_object() ? format->get_object().if_contains("type") : nullptr;
    if (type == nullptr || !type->is_string()) {
      fields.Fail("response_format", "must be an object with a type");
    } else if (type->get_string() != "text") {
      fields.Fail("response_format",
                  fmt::format("of type \"{}\" is not supported: only \"text\" is",
                              std::string_view(type->get_string())),
                  ErrorCode::kUnsupported);
    }
  }
  fields.Refuse("prompt_logprobs", "is not supported: use echo and logprobs of /v1/completions");
  fields.Refuse("prompt_embeds", "is not supported: send text or token ids");
}

// Tools may be listed when tool_choice says that none is to be called; the prompt then omits them.
void CheckTools(JsonFields& fields) {
  const json::value* choice = fields.Find("tool_choice");
  const bool none = choice != nullptr && choice->is_string() && choice->get_string() == "none";
  if (none) return;
  const bool asks = choice != nullptr && !(choice->is_string() && choice->get_string() == "auto");
  if (asks) {
    return fields.Fail("tool_choice", "other than \"none\" is not supported: tool calls are not",
                       ErrorCode::kUnsupported);
  }
  fields.Refuse("tools", "are not supported: leave them out, or set tool_choice to \"none\"");
  fields.Refuse("functions", "are not supported: leave them out");
}

/// What both routes share: model, adapter, ids, sampling, streaming. Fills a prompt to copy.
Prompt ReadShared(JsonFields& fields, std::string_view base_name, bool chat, OpenAiRequest& into) {
  Prompt shared;
  fields.Read("model", into.model);
  fields.Read("rid", shared.client_id);
  into.id = (chat ? "chatcmpl-" : "cmpl-") + RandomHexId();
  if (shared.client_id.empty()) shared.client_id = into.id;
  std::string lora_path;
  const json::value* lora = fields.Find("lora_path");
  if (lora == nullptr || !lora->is_array()) fields.Read("lora_path", lora_path);
  shared.adapter = ResolveAdapter(into.model, lora_path, base_name);
  if (into.model.empty()) into.model = base_name;
  shared.sampling = ReadOpenAiSampling(fields, chat);
  ReadStreamOptions(fields, into);
  RefuseWhatIsNotServed(fields);
  return shared;
}

void ReadCompletionLogprobs(JsonFields& fields, OpenAiRequest& into) {
  const json::value* value = fields.Find("logprobs");
  if (value == nullptr || (value->is_bool() && !value->get_bool())) return;
  int32_t count = 0;
  fields.Read("logprobs", count);
  if (count < 0) fields.Fail("logprobs", fmt::format("must not be negative, it is {}", count));
  into.logprobs = true;
  into.top_logprobs = count;
}

void ReadChatLogprobs(JsonFields& fields, OpenAiRequest& into) {
  fields.Read("logprobs", into.logprobs);
  fields.Read("top_logprobs", into.top_logprobs);
  if (into.top_logprobs < 0) fields.Fail("top_logprobs", "must not be negative");
  if (into.top_logprobs > 0 && !into.logprobs)
    fields.Fail("top_logprobs", "needs logprobs to be true");
}

void SetLogprobs(const OpenAiRequest& request, Prompt& prompt) {
  prompt.want_logprobs = request.logprobs;
  prompt.top_logprobs = request.top_logprobs;
  if (request.logprobs && request.echo) prompt.prompt_logprobs_from = 0;
}

/// The forms of "prompt": a string, strings, token ids, lists of token ids.
ApiStatus ReadPrompts(const json::value* source, const Prompt& shared, std::vector<Prompt>& into) {
  const auto wrong = [] {
    return BadRequest(
        "prompt must be a string, a list of strings, a list of token ids, or a list of such lists",
        "prompt");
  };
  if (source == nullptr) return BadRequest("prompt is missing", "prompt");
  const auto add = [&](auto value) {
    into.push_back(shared);
    into.back().source = std::move(value);
  };
  if (source->is_string()) {
    add(std::string(source->get_string()));
    return std::nullopt;
  }
  if (!source->is_array()) return wrong();
  const json::array& list = source->get_array();
  if (list.empty()) return BadRequest("prompt must not be empty", "prompt");
  if (list.front().is_number()) {
    auto ids = AsTokenIds(*source);
    if (!ids) return wrong();
    add(std::move(*ids));
    return std::nullopt;
  }
  if (list.size() > kMaxPrompts) {
    return BadRequest(fmt::format("prompt has {} entries: at most {} are served in one request",
                                  list.size(), kMaxPrompts),
                      "prompt");
  }
  for (const json::value& item : list) {
    auto ids = AsTokenIds(item);
    if (item.is_string()) {
      add(std::string(item.get_string()));
    } else if (ids) {
      add(std::move(*ids));
    } else {
      return wrong();
    }
  }
  return std::nullopt;
}

// SGLang's list of adapters, one a prompt. The model's own adapter comes first.
ApiStatus ReadLoraPathList(const json::object& body, OpenAiRequest& into) {
  const json::value* lora = body.if_contains("lora_path");
  if (lora == nullptr || !lora->is_array()) return std::nullopt;
  const json::array& list = lora->get_array();
  if (list.size() != into.prompts.size()) {
    return BadRequest(
        fmt::format("lora_path has {} entries for {} prompts", list.size(), into.prompts.size()),
        "lora_path");
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_null()) continue;
    if (!list[i].is_string())
      return BadRequest("lora_path must be a string, or a list of strings and nulls", "lora_path");
    if (into.prompts[i].adapter.empty())
      into.prompts[i].adapter = std::string(list[i].get_string());
  }
  return std::nullopt;
}

/// A message's content as one string: parts of text are joined by newlines, as vLLM does.
ApiStatus FlattenContent(size_t index, json::object& message) {
  json::value* content = message.if_contains("content");
  const std::string name = fmt::format("messages[{}].content", index);
  if (content == nullptr || content->is_null()) {
    message["content"] = "";  // A message of tool calls alone has none.
    return std::nullopt;
  }
  if (content->is_string()) return std::nullopt;
  if (!content->is_array()) return BadRequest(name + " must be a string or a list of parts", name);
  std::string text;
  for (const json::value& part : content->get_array()) {
    const json::object* fields = part.if_object();
    const json::value* type = fields != nullptr ? fields->if_contains("type") : nullptr;
    const json::value* value = fields != nullptr ? fields->if_contains("text") : nullptr;
    if (type == nullptr || !type->is_string())
      return BadRequest(name + " has a part without a type", name);
    if (type->get_string() != "text") {
      return NotSupported(fmt::format("{} has a part of type \"{}\": only \"text\" is supported",
                                      name, std::string_view(type->get_string())),
                          name);
    }
    if (value == nullptr || !value->is_string())
      return BadRequest(name + " has a part of type text without a text", name);
    if (&part != &content->get_array().front()) text += '\n';
    text += value->get_string();
  }
  message["content"] = text;
  return std::nullopt;
}

}  // namespace

ApiStatus ReadChatMessages(const json::object& body, ChatMessages& into) {
  JsonFields fields(body);
  const json::value* value = fields.Find("messages");
  if (value == nullptr || !value->is_array() || value->get_array().empty())
    return BadRequest("messages must be a list with at least one message", "messages");
  json::array messages = value->get_array();
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string name = fmt::format("messages[{}]", i);
    if (!messages[i].is_object()) return BadRequest(name + " must be an object", name);
    json::object& message = messages[i].get_object();
    const json::value* role = message.if_contains("role");
    if (role == nullptr || !role->is_string())
      return BadRequest(name + ".role must be a string", name + ".role");
    if (auto error = FlattenContent(i, message)) return error;
  }
  into.messages_json = JsonText(messages);
  fields.Read("add_generation_prompt", into.options.add_generation_prompt);
  fields.Refuse("continue_final_message", "is not supported: end with a user's message");
  fields.Refuse("chat_template", "is not supported in a request: start the server with it");
  const json::value* extra = fields.Find("chat_template_kwargs");
  if (extra != nullptr && !extra->is_object())
    fields.Fail("chat_template_kwargs", "must be an object");
  if (extra != nullptr && extra->is_object()) into.options.extra_variables_json = JsonText(*extra);
  const json::value* documents = fields.Find("documents");
  if (documents != nullptr && !documents->is_array()) fields.Fail("documents", "must be a list");
  if (documents != nullptr) into.options.documents_json = JsonText(*documents);
  return fields.error();
}

ApiStatus ParseCompletionRequest(const json::object& body, std::string_view base_name,
                                 OpenAiRequest& into) {
  JsonFields fields(body);
  Prompt shared = ReadShared(fields, base_name, false, into);
  fields.Read("echo", into.echo);
  fields.Refuse("suffix", "is not supported: leave it out");
  ReadCompletionLogprobs(fields, into);
  shared.top_logprobs_param = "logprobs";
  if (!fields.ok()) return fields.error();
  SetLogprobs(into, shared);
  if (auto error = ReadPrompts(fields.Find("prompt"), shared, into.prompts)) return error;
  if (static_cast<int64_t>(into.prompts.size()) * shared.sampling.n > kMaxSequences)
    return BadRequest(fmt::format("more than {} sequences in one request", kMaxSequences), "n");
  return ReadLoraPathList(body, into);
}

ApiStatus ParseChatRequest(const json::object& body, std::string_view base_name,
                           OpenAiRequest& into) {
  JsonFields fields(body);
  Prompt prompt = ReadShared(fields, base_name, true, into);
  prompt.param = "messages";
  ReadChatLogprobs(fields, into);
  CheckTools(fields);
  const json::value* lora = fields.Find("lora_path");
  if (lora != nullptr && lora->is_array())
    fields.Fail("lora_path", "must be a string: a chat has one prompt");
  if (!fields.ok()) return fields.error();
  SetLogprobs(into, prompt);
  ChatMessages messages;
  if (auto error = ReadChatMessages(body, messages)) return error;
  prompt.source = std::move(messages);
  into.prompts.push_back(std::move(prompt));
  return std::nullopt;
}

}  // namespace weft::server

#include "server/generate_request.h"

#include <random>

#include "server/json_reader.h"
#include "server/sampling_fields.h"

namespace weft::server {
namespace json = boost::json;
namespace {

constexpr size_t kMaxBatch = 4096;
constexpr int64_t kMaxSequences = 8192;

/// The entry of a field that is one value for all prompts or a list with one each.
const json::value* EntryOf(const json::value* field, size_t index) {
  if (field == nullptr || !field->is_array()) return field;
  return &field->get_array()[index];
}

// A field that may be a list must then have an entry for each prompt.
ApiStatus CheckListLength(const JsonFields& fields, std::string_view name, bool batch,
                          size_t prompts) {
  const json::value* value = fields.Find(name);
  if (value == nullptr || !value->is_array()) return std::nullopt;
  const std::string field(name);
  if (!batch)
    return BadRequest(field + " is a list, but there is one prompt that is not in a list", field);
  if (value->get_array().size() == prompts) return std::nullopt;
  return BadRequest(fmt::format("{} has {} entries for {} prompts: it must have one each", name,
                                value->get_array().size(), prompts),
                    field);
}

ApiStatus ReadPrompts(const JsonFields& fields, GenerateRequest& into) {
  const json::value* text = fields.Find("text");
  const json::value* ids = fields.Find("input_ids");
  if ((text == nullptr) == (ids == nullptr)) {
    return BadRequest("Either text or input_ids should be provided, and not both.",
                      text == nullptr ? "text" : "input_ids");
  }
  const char* const name = text != nullptr ? "text" : "input_ids";
  const json::value& source = text != nullptr ? *text : *ids;
  const auto wrong = [&] {
    return BadRequest(text != nullptr ? "text must be a string or a list of strings"
                                      : "input_ids must be a list of token ids (whole numbers from "
                                        "0), or a list of such lists",
                      name);
  };
  const auto add = [&](const json::value& item) {
    Prompt prompt;
    prompt.param = name;
    if (text != nullptr) {
      if (!item.is_string()) return false;
      prompt.source = std::string(item.get_string());
    } else {
      auto tokens = AsTokenIds(item);
      if (!tokens) return false;
      prompt.source = std::move(*tokens);
    }
    into.prompts.push_back(std::move(prompt));
    return true;
  };
  const bool nested =
      source.is_array() && !source.get_array().empty() && source.get_array().front().is_array();
  into.as_list = text != nullptr ? source.is_array() : nested;
  if (!into.as_list) return add(source) ? ApiStatus() : wrong();
  if (source.get_array().empty()) return BadRequest(std::string(name) + " must not be empty", name);
  if (source.get_array().size() > kMaxBatch) {
    return BadRequest(fmt::format("{} has {} prompts: at most {} are served in one request", name,
                                  source.get_array().size(), kMaxBatch),
                      name);
  }
  for (const json::value& item : source.get_array())
    if (!add(item)) return wrong();
  return std::nullopt;
}

ApiStatus ReadSampling(const JsonFields& fields, GenerateRequest& into) {
  const json::value* value = fields.Find("sampling_params");
  static const json::object kNone;
  for (size_t i = 0; i < into.prompts.size(); ++i) {
    const json::value* entry = EntryOf(value, i);
    if (entry != nullptr && !entry->is_object() && !entry->is_null())
      return BadRequest("sampling_params must be an object, or a list of one for each prompt",
                        "sampling_params");
    const bool given = entry != nullptr && entry->is_object();
    JsonFields inner(given ? entry->get_object() : kNone, "sampling_params.");
    into.prompts[i].sampling = ReadSglangSampling(inner);
    if (!inner.ok()) return inner.error();
    if (into.prompts[i].sampling.n != into.prompts[0].sampling.n)
      return BadRequest("sampling_params.n must be the same for all prompts of a batch",
                        "sampling_params.n");
  }
  return std::nullopt;
}

/// One optional value of type T for prompt `index`, from a single value or a list.
template <typename T>
ApiStatus ReadEntry(const JsonFields& fields, std::string_view name, size_t index, T& into) {
  const json::value* entry = EntryOf(fields.Find(name), index);
  if (entry == nullptr || entry->is_null()) return std::nullopt;
  const json::object one{{name, *entry}};
  JsonFields reader(one);
  reader.Read(name, into);
  return reader.error();
}

ApiStatus ReadOfPrompt(const JsonFields& fields, size_t index, Prompt& prompt) {
  if (auto error = ReadEntry(fields, "lora_path", index, prompt.adapter)) return error;
  if (auto error = ReadEntry(fields, "return_logprob", index, prompt.want_logprobs)) return error;
  if (!prompt.want_logprobs) return std::nullopt;
  if (auto error = ReadEntry(fields, "logprob_start_len", index, prompt.prompt_logprobs_from))
    return error;
  if (prompt.prompt_logprobs_from < -1)
    return BadRequest("logprob_start_len must be -1 or a position in the prompt",
                      "logprob_start_len");
  prompt.top_logprobs_param = "top_logprobs_num";
  return ReadEntry(fields, "top_logprobs_num", index, prompt.top_logprobs);
}

ApiStatus ReadRids(const JsonFields& fields, GenerateRequest& into) {
  const json::value* rid = fields.Find("rid");
  for (size_t i = 0; i < into.prompts.size(); ++i) {
    std::string name;
    if (auto error = ReadEntry(fields, "rid", i, name)) return error;
    if (name.empty()) name = RandomHexId();
    into.prompts[i].client_id = name;
    // As SGLang: one rid for a batch is the prefix of its prompts' ids.
    const bool shared = rid != nullptr && rid->is_string() && into.as_list;
    into.rids.push_back(shared ? fmt::format("{}_{}", name, i) : name);
  }
  return std::nullopt;
}

}  // namespace

std::string RandomHexId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

ApiStatus ParseGenerateRequest(const json::object& body, GenerateRequest& into) {
  JsonFields fields(body);
  fields.Read("stream", into.stream);
  fields.Read("return_text_in_logprobs", into.text_in_logprobs);
  fields.Refuse("token_ids_logprob", "is not supported: use top_logprobs_num");
  fields.Refuse("input_embeds", "is not supported: send text or input_ids");
  fields.Refuse("image_data", "is not supported: this server serves text");
  fields.Refuse("video_data", "is not supported: this server serves text");
  fields.Refuse("audio_data", "is not supported: this server serves text");
  fields.Refuse("return_hidden_states", "is not supported: leave it out");
  fields.Refuse("custom_logit_processor", "is not supported: leave it out");
  fields.Refuse("session_params", "is not supported: send the whole prompt");
  if (!fields.ok()) return fields.error();
  if (auto error = ReadPrompts(fields, into)) return error;
  for (const char* name : {"sampling_params", "lora_path", "return_logprob", "logprob_start_len",
                           "top_logprobs_num", "rid"}) {
    if (auto error = CheckListLength(fields, name, into.as_list, into.prompts.size())) return error;
  }
  if (auto error = ReadSampling(fields, into)) return error;
  for (size_t i = 0; i < into.prompts.size(); ++i)
    if (auto error = ReadOfPrompt(fields, i, into.prompts[i])) return error;
  if (auto error = ReadRids(fields, into)) return error;
  const int32_t n = into.prompts[0].sampling.n;
  if (static_cast<int64_t>(into.prompts.size()) * n > kMaxSequences)
    return BadRequest(fmt::format("more than {} sequences in one request", kMaxSequences),
                      "sampling_params.n");
  if (n > 1) into.as_list = true;
  return std::nullopt;
}

}  // namespace weft::server

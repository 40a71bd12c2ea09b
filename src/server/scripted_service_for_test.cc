#include "server/scripted_service_for_test.h"

#include "server/json_writer.h"
#include "text/utf8.h"

namespace weft::server {
namespace {

constexpr std::chrono::seconds kPatience{30};

}  // namespace

RequestId ScriptedService::Submit(engine::GenerationRequest request,
                                  std::shared_ptr<engine::EventSink> sink) {
  Submitted submitted;
  {
    std::lock_guard lock(mutex_);
    submitted = {RequestId(static_cast<int64_t>(submitted_.size()) + 1), std::move(request),
                 std::move(sink)};
    submitted_.push_back(submitted);
    changed_.notify_all();
  }
  if (on_submit) on_submit(submitted);
  return submitted.id;
}

void ScriptedService::Abort(RequestId id) {
  std::lock_guard lock(mutex_);
  aborted_.push_back(id);
  changed_.notify_all();
}

void ScriptedService::FinishAtStopString(RequestId id) {
  std::lock_guard lock(mutex_);
  stopped_.push_back(id);
  changed_.notify_all();
}

void ScriptedService::AbortByClientId(std::string client_id) {
  std::lock_guard lock(mutex_);
  aborted_clients_.push_back(std::move(client_id));
}

void ScriptedService::WantSoon(std::string adapter) {
  std::lock_guard lock(mutex_);
  wanted_.push_back(std::move(adapter));
}

void ScriptedService::LoadAdapter(LoadAdapterRequest request,
                                  std::function<void(Result<engine::AdapterInfo>)> done) {
  if (adapters.contains(request.name) && !request.replace)
    return done(MakeError(ErrorCode::kAlreadyExists, "{} is loaded", request.name));
  if (request.path.starts_with("/missing"))
    return done(MakeError(ErrorCode::kNotFound, "No adapter found for {}", request.path));
  engine::AdapterInfo info;
  info.name = request.name;
  info.path = request.path;
  info.pinned = request.pinned;
  info.lifecycle = "active";
  adapters[request.name] = info;
  done(info);
}

void ScriptedService::UnloadAdapter(std::string name, UnloadReply when,
                                    std::function<void(Status)> done) {
  unload_replies.push_back(when);
  if (adapters.erase(name) == 0)
    return done(MakeError(ErrorCode::kNotFound, "no adapter is named {}", name));
  done(OkStatus());
}

void ScriptedService::ListAdapters(std::function<void(std::vector<engine::AdapterInfo>)> done) {
  std::vector<engine::AdapterInfo> list;
  for (const auto& [name, info] : adapters) list.push_back(info);
  done(std::move(list));
}

void ScriptedService::FlushPrefixCache(std::function<void(Status)> done) { done(flush_result); }

engine::EngineStats ScriptedService::Stats() const { return stats; }

engine::RequestEvent ScriptedService::BytesEvent(const std::string& text) {
  engine::RequestEvent event;
  for (const char byte : text) {
    ops::SampledToken token;
    token.token = static_cast<unsigned char>(byte);
    token.logprob = -0.5F;
    event.tokens.push_back(token);
  }
  return event;
}

void ScriptedService::Emit(size_t index, const std::string& bytes,
                           std::optional<engine::Finish> finish) {
  engine::RequestEvent event = BytesEvent(bytes);
  event.finish = std::move(finish);
  EmitEvent(index, std::move(event));
}

void ScriptedService::EmitEvent(size_t index, engine::RequestEvent event) {
  std::shared_ptr<engine::EventSink> sink;
  {
    std::lock_guard lock(mutex_);
    event.id = submitted_.at(index).id;
    sink = submitted_.at(index).sink;
  }
  std::vector<engine::RequestEvent> events;
  events.push_back(std::move(event));
  sink->Deliver(std::move(events));
}

size_t ScriptedService::submitted_count() const {
  std::lock_guard lock(mutex_);
  return submitted_.size();
}

engine::GenerationRequest ScriptedService::request(size_t index) const {
  std::lock_guard lock(mutex_);
  return submitted_.at(index).request;
}

std::vector<RequestId> ScriptedService::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

std::vector<RequestId> ScriptedService::aborted() const {
  std::lock_guard lock(mutex_);
  return aborted_;
}

bool ScriptedService::WaitForAborts(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return aborted_.size() >= count; });
}

bool ScriptedService::WaitForSubmits(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return submitted_.size() >= count; });
}

std::vector<std::string> ScriptedService::wanted() const {
  std::lock_guard lock(mutex_);
  return wanted_;
}

std::vector<std::string> ScriptedService::aborted_clients() const {
  std::lock_guard lock(mutex_);
  return aborted_clients_;
}

std::shared_ptr<const text::Tokenizer> ByteTokenizer() {
  // GPT-2's way to write bytes as visible characters.
  std::string vocabulary;
  JsonWriter writer(vocabulary);
  writer.BeginObject();
  char32_t stand_in = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    std::string name;
    text::AppendUtf8(visible ? static_cast<char32_t>(byte) : stand_in++, name);
    writer.Key(name).Integer(byte);
  }
  writer.EndObject();
  const std::string json =
      R"({"version":"1.0","added_tokens":[)"
      R"({"id":256,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},)"
      R"({"id":257,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],)"
      R"("normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},)"
      R"("post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},)"
      R"("model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,)"
      R"("end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":)" +
      vocabulary + R"(,"merges":[]}})";
  auto tokenizer =
      text::Tokenizer::FromTokenizerJson(json, R"({"bos_token":"<s>","eos_token":"</s>"})");
  WEFT_CHECK(tokenizer.ok());
  return *tokenizer;
}

}  // namespace weft::server

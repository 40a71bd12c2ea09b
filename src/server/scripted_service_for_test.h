#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/service.h"
#include "text/tokenizer.h"

namespace weft::server {

/// An engine::Service whose every event a test writes by hand, or by a script that runs at each
/// Submit. Any thread.
class ScriptedService final : public engine::Service {
 public:
  struct Submitted {
    RequestId id;
    engine::GenerationRequest request;
    std::shared_ptr<engine::EventSink> sink;
  };

  RequestId Submit(engine::GenerationRequest request,
                   std::shared_ptr<engine::EventSink> sink) override;
  void Abort(RequestId id) override;
  void FinishAtStopString(RequestId id) override;
  void AbortByClientId(std::string client_id) override;
  void WantSoon(std::string adapter) override;
  void LoadAdapter(LoadAdapterRequest request,
                   std::function<void(Result<engine::AdapterInfo>)> done) override;
  void UnloadAdapter(std::string name, UnloadReply when, std::function<void(Status)> done) override;
  void ListAdapters(std::function<void(std::vector<engine::AdapterInfo>)> done) override;
  void FlushPrefixCache(std::function<void(Status)> done) override;
  engine::EngineStats Stats() const override;
  std::string TraceJson() const override { return trace; }
  std::string Profile(ProfileForm form) const override {
    return form == ProfileForm::kJson ? profile_json : profile_text;
  }

  /// Delivers events of request number `index` (in order of submission).
  void Emit(size_t index, const std::string& bytes,
            std::optional<engine::Finish> finish = std::nullopt);
  void EmitEvent(size_t index, engine::RequestEvent event);
  /// The event of tokens that are the bytes of `text`, each with log-probability -0.5.
  static engine::RequestEvent BytesEvent(const std::string& text);

  size_t submitted_count() const;
  engine::GenerationRequest request(size_t index) const;
  std::vector<RequestId> aborted() const;
  /// Those that reached a stop string.
  std::vector<RequestId> stopped() const;
  bool WaitForAborts(size_t count) const;
  bool WaitForSubmits(size_t count) const;
  std::vector<std::string> wanted() const;
  std::vector<std::string> aborted_clients() const;

  /// Called for each submission, on the submitting thread.
  std::function<void(Submitted)> on_submit;
  engine::EngineStats stats;
  std::string trace;
  std::string profile_text;
  std::string profile_json;
  std::map<std::string, engine::AdapterInfo> adapters;
  Status flush_result;
  std::vector<UnloadReply> unload_replies;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Submitted> submitted_;
  std::vector<RequestId> aborted_;
  std::vector<RequestId> stopped_;
  std::vector<std::string> aborted_clients_;
  std::vector<std::string> wanted_;
};

/// A byte-level vocabulary without merges: token id = byte value; 256 is "<s>", 257 "</s>".
std::shared_ptr<const text::Tokenizer> ByteTokenizer();

}  // namespace weft::server

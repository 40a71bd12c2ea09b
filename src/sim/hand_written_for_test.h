#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "sim/history.h"
#include "sim/scenario.h"
#include "sim/virtual_model.h"

namespace weft::sim {

constexpr Duration kMillisecond = std::chrono::milliseconds(1);

/// A scenario with plenty of everything, no faults and no jitter, that a test changes where it
/// needs to.
inline Scenario PlentifulScenario(adapter::LoadPolicyKind policy) {
  Scenario scenario;
  scenario.model = SmallModel();
  scenario.engine.load_policy = policy;
  scenario.engine.page_count = 400;
  scenario.engine.context_length = 100;
  scenario.engine.adapters.host_page_count = 400;
  scenario.io.jitter_percent = 0;
  scenario.step.jitter_percent = 0;
  scenario.step.row = Duration{};
  return scenario;
}

/// Pages that adapters may hold; 0: no limit.
inline void LimitAdapterPages(Scenario& scenario, int32_t pages) {
  scenario.engine.limits.adapter_page_limit = pages;
  scenario.engine.adapters.adapter_page_limit = pages;
}

/// Registers "name"; its files are "disk/name".
inline void AddAdapter(Scenario& scenario, const std::string& name) {
  const uint64_t content = 1000 + scenario.files.size();
  scenario.files["disk/" + name] = {content, 8, FileFault::kNone};
  scenario.registered.emplace_back(name, "disk/" + name);
}

/// An adapter whose image is in host memory soon after the start, as an administrator loads it.
inline void AddLoadedAdapter(Scenario& scenario, const std::string& name) {
  AddAdapter(scenario, name);
  scenario.registered.pop_back();
  scenario.actions.push_back(
      {Action::Kind::kLoad, Duration{}, name, "disk/" + name, false, FileFault::kNone, 0});
}

inline std::vector<TokenId> Prompt(int32_t length) {
  std::vector<TokenId> prompt;
  for (int32_t i = 0; i < length; ++i) prompt.push_back(1 + i % (VirtualModel::kVocabulary - 1));
  return prompt;
}

/// A request that gets all its new tokens: its seed is one with which the model does not end
/// before. Returns its index.
inline int32_t AddRequest(Scenario& scenario, Duration at, const std::string& adapter,
                          std::vector<TokenId> prompt, int32_t new_tokens) {
  const auto file = scenario.files.find("disk/" + adapter);
  const uint64_t content = file == scenario.files.end() ? 0 : file->second.content;
  ScenarioRequest request{adapter, std::move(prompt), new_tokens, 0};
  while (static_cast<int32_t>(
             VirtualModel::Generate(request.prompt, content, request.seed, new_tokens).size()) <
         new_tokens) {
    ++request.seed;
  }
  const auto index = static_cast<int32_t>(scenario.requests.size());
  scenario.requests.push_back(std::move(request));
  scenario.actions.push_back(
      {Action::Kind::kRequest, at, adapter, "", false, FileFault::kNone, index});
  return index;
}

inline Outcome RunByTime(Scenario scenario) {
  std::stable_sort(scenario.actions.begin(), scenario.actions.end(),
                   [](const Action& a, const Action& b) { return a.at < b.at; });
  return History(std::move(scenario)).Run();
}

/// How many pages the image of such an adapter has.
inline int32_t ImagePages() {
  Scenario scenario = PlentifulScenario(adapter::LoadPolicyKind::kOverlapped);
  AddLoadedAdapter(scenario, "only");
  AddRequest(scenario, std::chrono::seconds(1), "only", Prompt(4), 1);
  return static_cast<int32_t>(RunByTime(std::move(scenario)).copied_bytes / kPageBytes);
}

}  // namespace weft::sim

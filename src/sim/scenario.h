#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "sim/random.h"
#include "sim/virtual_executor.h"
#include "sim/virtual_io.h"

namespace weft::sim {

/// What happens from outside at one moment.
struct Action {
  enum class Kind : uint8_t {
    kRequest,
    kCancel,
    kUnload,
    kLoad,
    kReplace,
    kFault,
    kWantSoon,
    kFlush
  };
  Kind kind = Kind::kRequest;
  Duration at{};
  std::string name;  ///< The adapter's; empty for the base model.
  std::string path;  ///< For loads and faults.
  bool pinned = false;
  FileFault fault = FileFault::kNone;
  int32_t request = 0;  ///< Index of the request, for kRequest and kCancel.
};

struct ScenarioRequest {
  std::string adapter;
  std::vector<TokenId> prompt;
  int32_t max_new_tokens = 1;
  uint64_t seed = 0;
};

/// Everything that a history depends on: drawn from one seed, or written by hand.
struct Scenario {
  engine::EngineOptions engine;
  ModelConfig model;
  VirtualIo::Timing io;
  VirtualExecutor::Timing step;
  double copy_failure_probability = 0.0;
  std::map<std::string, VirtualFile> files;
  /// Registered before the first action: name -> path.
  std::vector<std::pair<std::string, std::string>> registered;
  std::vector<ScenarioRequest> requests;
  std::vector<Action> actions;  ///< By time.
  uint64_t seed = 0;
};

/// The model of every scenario: large enough for several tiles, small enough for thousands of
/// histories.
ModelConfig SmallModel();
/// Enough for SmallModel's largest tile; images are a few such pages.
inline constexpr Bytes kPageBytes = 4096;

/// One seed, one scenario: few pages, slow and failing files, cancels, unloads and replacements at
/// any moment.
Scenario DrawScenario(uint64_t seed);

}  // namespace weft::sim

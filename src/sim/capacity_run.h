#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "engine/engine.h"
#include "sim/hardware.h"

namespace weft::sim {

struct PlannedAdapter {
  std::string name;
  int32_t rank = 8;
  double file_bytes_per_image_byte = 1;  ///< 2 where files are fp32 and images bf16.
};

struct PlannedRequest {
  Duration at{};     ///< From the start of the run.
  int adapter = -1;  ///< Index; -1: the base model.
  std::vector<TokenId> prompt;
  int32_t new_tokens = 1;
};

/// A server, a machine, and a load, all of it known before.
struct CapacityScenario {
  engine::EngineOptions engine;  ///< Without arenas.
  ModelConfig model;
  DType dtype = DType::kBFloat16;
  Hardware hardware;
  Bytes read_bytes_per_second = 0;  ///< Of all readers together; 0: no cap (--lora-read-bandwidth).
  Bytes copy_bytes_per_second = 0;  ///< Likewise (--lora-copy-bandwidth).
  std::vector<PlannedAdapter> adapters;
  std::vector<PlannedRequest> requests;  ///< By time.
  std::optional<int> max_concurrency;    ///< Of the client.
  int warmup_requests = 1;               ///< Like the first, with 32 new tokens at most; what
                                         ///< comes of them is not looked at.
  int runs = 1;                          ///< The same load again, on the same server.
  bool flush_cache = false;              ///< The prefix cache before each.
};

/// One request as its client sees it.
struct PlannedReply {
  Moment sent{};
  std::vector<Moment> tokens;
  std::optional<engine::Finish> finish;
};

struct CapacityOutcome {
  struct Run {
    std::vector<PlannedReply> replies;  ///< By index of the scenario's request.
    Moment began{};
    Moment ended{};
    engine::EngineStats stats_before;  ///< The server's counters when it begins,
    engine::EngineStats stats;         ///< and when it ends.
  };
  std::vector<Run> runs;
};

/// Runs the real engine, scheduler and adapter cache against the load, with steps, reads and copies
/// that take the hardware's times instead of the machine's own. Deterministic; takes less than a
/// hundredth of the time it simulates. Nothing of a network or a tokenizer is in it.
CapacityOutcome RunCapacity(const CapacityScenario& scenario);

}  // namespace weft::sim

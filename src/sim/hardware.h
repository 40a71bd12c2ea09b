#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/dtype.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "model/forward_batch.h"

namespace weft::sim {

/// A machine as far as the times of steps and loads depend on it. Rates are what Weft reaches on
/// it, not what its maker promises: all a second.
struct Hardware {
  std::string name;
  bool is_gpu = false;
  Bytes device_memory = 0;  ///< Free before the weights are loaded. On a CPU, of the machine.
  Bytes host_memory = 0;    ///< Free for images; nothing of its own where the device is the host.
  double memory_bytes = 0;  ///< Read by steps: weights, KV and adapters.
  double operations = 0;    ///< Of a prefill without adapters; products' and attention's.
  double adapter_operations = 0;  ///< Of the adapters' products.
  double copied_bytes = 0;        ///< Images, to the device.
  double read_bytes = 0;          ///< Of adapters' files, by each of the loader's threads.
  Duration step{};                ///< Of a step beside all that,
  Duration adapted_prefill{};     ///< and of one with a prefill through an adapter.
};

/// Machines that Weft was measured on.
Result<Hardware> KnownHardware(std::string_view name);
std::vector<std::string> KnownHardwareNames();

/// A machine described in TOML: `gpu` (true or false), `device-memory-gib`, `host-memory-gib`,
/// `memory-gb-per-second`, `tflops`, `adapter-tflops`, `copy-gb-per-second`, `read-gb-per-second`,
/// `step-us` and `adapted-prefill-us`, all of them. `name` is for messages. Pure.
Result<Hardware> ParseHardware(std::string_view toml, std::string_view name);

/// How long a step takes: its bytes and operations (model/step_work.h) at the machine's rates. A
/// product waits for the slower of its weights and its arithmetic. Pure.
Duration CostOf(const model::ForwardBatch& batch, const ModelConfig& config, DType dtype,
                const Hardware& hardware);

}  // namespace weft::sim

#include "sim/hardware.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>

#include "base/toml_text.h"
#include "model/step_work.h"

namespace weft::sim {
namespace {

/// So that sums and products of what a file says stay numbers, and times fit a Duration.
constexpr double kMostOfAnything = 1e6;
constexpr double kLeastOfAnything = 1e-3;
constexpr double kMostGib = 65536;

/// Fitted to docs/performance.md: decode steps of batch 1, and of 16 with 8 adapters of rank 128; a
/// prefill of 2,048 tokens; what 8 adapters add to prefills of 256 to 1,024 tokens beside 16
/// decodes; copies beside decodes.
Hardware H200() {
  Hardware hardware;
  hardware.name = "h200";
  hardware.is_gpu = true;
  hardware.device_memory = 139 * kGiB;
  hardware.host_memory = 128 * kGiB;
  hardware.memory_bytes = 4.06e12;
  hardware.operations = 574e12;
  hardware.adapter_operations = 353e12;
  hardware.copied_bytes = 52.4e9;
  hardware.read_bytes = 1.9e9;
  hardware.step = std::chrono::microseconds(500);
  hardware.adapted_prefill = std::chrono::microseconds(2900);
  return hardware;
}

constexpr std::array kKnown = {&H200};

model::Work Sum(const model::StepWork& parts) {
  model::Work sum;
  for (const model::Work& part : parts) sum += part;
  return sum;
}

}  // namespace

Result<Hardware> KnownHardware(std::string_view name) {
  for (const auto& make : kKnown) {
    if (Hardware hardware = make(); hardware.name == name) return hardware;
  }
  return MakeError(ErrorCode::kNotFound, "no machine is known as '{}'; known: {}", name,
                   fmt::join(KnownHardwareNames(), ", "));
}

std::vector<std::string> KnownHardwareNames() {
  std::vector<std::string> names;
  for (const auto& make : kKnown) names.push_back(make().name);
  return names;
}

Result<Hardware> ParseHardware(std::string_view toml, std::string_view name) {
  WEFT_ASSIGN_OR_RETURN(const toml::table table, ParseToml(toml, name));
  Hardware hardware;
  hardware.name = std::string(name);
  double device_gib = 0;
  double host_gib = 0;
  double step_us = 0;
  double adapted_prefill_us = 0;
  struct Key {
    const char* name;
    double unit;
    double* into;
    double most = kMostOfAnything;
  };
  const std::array keys = {Key{"device-memory-gib", 1, &device_gib, kMostGib},
                           Key{"host-memory-gib", 1, &host_gib, kMostGib},
                           Key{"memory-gb-per-second", 1e9, &hardware.memory_bytes},
                           Key{"tflops", 1e12, &hardware.operations},
                           Key{"adapter-tflops", 1e12, &hardware.adapter_operations},
                           Key{"copy-gb-per-second", 1e9, &hardware.copied_bytes},
                           Key{"read-gb-per-second", 1e9, &hardware.read_bytes},
                           Key{"step-us", 1, &step_us},
                           Key{"adapted-prefill-us", 1, &adapted_prefill_us}};
  for (const Key& key : keys) {
    const auto value = table[key.name].value<double>();
    if (!value || !(*value >= kLeastOfAnything) || !(*value <= key.most)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: '{}' is missing, or no number from {} to {}", name, key.name,
                       kLeastOfAnything, key.most);
    }
    *key.into = *value * key.unit;
  }
  const auto gpu = table["gpu"].value<bool>();
  if (!gpu) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: 'gpu' is missing, or not true or false",
                     name);
  }
  if (table.size() != keys.size() + 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: has keys that no machine has; known: gpu, {}", name,
                     fmt::join(keys | std::views::transform(&Key::name), ", "));
  }
  hardware.is_gpu = *gpu;
  hardware.device_memory = static_cast<Bytes>(device_gib * static_cast<double>(kGiB));
  hardware.host_memory = static_cast<Bytes>(host_gib * static_cast<double>(kGiB));
  hardware.step = Duration(std::llround(step_us * 1e3));
  hardware.adapted_prefill = Duration(std::llround(adapted_prefill_us * 1e3));
  return hardware;
}

Duration CostOf(const model::ForwardBatch& batch, const ModelConfig& config, DType dtype,
                const Hardware& hardware) {
  std::vector<ops::SequenceRows> sequences;
  model::StepShape shape;
  int32_t row = 0;
  for (const model::SequenceSlice& slice : batch.slices) {
    sequences.push_back({row, slice.rows, slice.position, slice.pages, slice.adapter.get()});
    shape.logits_rows += slice.rows - slice.first_logits_row;
    row += slice.rows;
  }
  shape.sequences = sequences;
  shape.logits_calls = shape.logits_rows > 0 ? 1 : 0;
  const model::Work with_adapters = Sum(WorkOf(config, dtype, shape));
  for (ops::SequenceRows& sequence : sequences) sequence.adapter = nullptr;
  const model::Work base = Sum(WorkOf(config, dtype, shape));

  const auto moved = [&](Bytes bytes) {
    return static_cast<double>(bytes) / hardware.memory_bytes;
  };
  const double products = std::max(moved(base.weights), base.operations / hardware.operations);
  const double adapters =
      moved(with_adapters.adapters) +
      (with_adapters.operations - base.operations) / hardware.adapter_operations;
  const bool adapted_prefill = std::ranges::any_of(
      batch.slices, [](const auto& slice) { return slice.rows > 1 && slice.adapter != nullptr; });
  return hardware.step + FromSeconds(products + moved(base.kv) + adapters) +
         (adapted_prefill ? hardware.adapted_prefill : Duration{});
}

}  // namespace weft::sim

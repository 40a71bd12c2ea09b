#include "cli/engine_options.h"

#include <algorithm>
#include <limits>

#include "cli/served_shape.h"

namespace weft::cli {
namespace {

/// What the pool takes of the free memory when nothing is said, and how many full contexts it then
/// holds at least.
constexpr double kPoolShare = 0.3;
/// A GPU is there for nothing else; what is left is for activations and kernels.
constexpr double kGpuPoolShare = 0.9;
constexpr Bytes kSmallPool = kGiB;
constexpr int64_t kFullContexts = 4;
constexpr double kHostShare = 0.25;
constexpr Bytes kSmallHostMemory = 512 * kMiB;
constexpr int32_t kTypicalRank = 64;
constexpr int64_t kTypicalImages = 8;
/// A turn lasts for a tenth of the patience at the least.
constexpr int32_t kSlicesOfPatience = 10;

/// Bytes of an adapter with every projection of every layer, without what packing leaves empty.
Bytes ImageBytes(const ModelConfig& config, int32_t rank, DType dtype) {
  Bytes bytes = 0;
  for (const Projection projection : kAllProjections) {
    bytes += Bytes{rank} * (config.InputSize(projection) + config.OutputSize(projection));
  }
  return bytes * config.layers * SizeOf(dtype);
}

/// Of what is free when the weights are loaded.
Bytes ChoosePoolBytes(const ServeOptions& options, const ops::KvLayout& kv, int32_t context_length,
                      bool is_gpu, Bytes free) {
  const Bytes given = *options.Size(options.kv_memory, "--kv-memory");
  if (given > 0) return given;
  if (options.mem_fraction_static > 0)
    return static_cast<Bytes>(static_cast<double>(free) * options.mem_fraction_static);
  if (is_gpu) return static_cast<Bytes>(static_cast<double>(free) * kGpuPoolShare);
  const Bytes contexts = kFullContexts * context_length / kv.tokens_per_page * kv.page_bytes;
  return std::min(static_cast<Bytes>(static_cast<double>(free) * kPoolShare),
                  std::max(kSmallPool, contexts));
}

/// Of what is free when the pool is allocated.
Bytes ChooseHostBytes(const ServeOptions& options, const ModelConfig& config, Bytes free) {
  const Bytes given = *options.Size(options.lora_host_memory, "--lora-host-memory");
  if (given > 0) return given;
  const Bytes typical =
      ImageBytes(config, kTypicalRank, ServedDType(options.dtype)) * kTypicalImages;
  return std::min(static_cast<Bytes>(static_cast<double>(free) * kHostShare),
                  std::max(kSmallHostMemory, typical));
}

/// Before it is counted in pages: no machine's memory has more of them than their index holds.
Status CheckMemory(Bytes wanted, Bytes total, const char* flag) {
  if (wanted <= total) return OkStatus();
  return MakeError(ErrorCode::kInvalidArgument, "{} {} is more than the {} that there are in all",
                   flag, FormatBytes(wanted), FormatBytes(total));
}

}  // namespace

Result<int32_t> ContextLengthOf(const ServeOptions& options, const ModelConfig& config) {
  if (options.context_length == 0) return config.context_length;
  if (options.context_length <= config.context_length) return options.context_length;
  return MakeError(ErrorCode::kInvalidArgument, "--context-length {} is more than the model's {}",
                   options.context_length, config.context_length);
}

Result<MemorySizes> ChooseMemorySizes(const ServeOptions& options, const ModelConfig& config,
                                      int32_t context_length, const MachineMemory& memory) {
  const DType dtype = ServedDType(options.dtype);
  MemorySizes sizes;
  sizes.kv = ServedPages(config, dtype);
  const Bytes free = memory.device_free - PlainWeightBytes(config, dtype);
  const Bytes pool = ChoosePoolBytes(options, sizes.kv, context_length, memory.is_gpu, free);
  if (pool <= 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the weights take {}, and {} are free: nothing is left for KV and adapters",
                     FormatBytes(PlainWeightBytes(config, dtype)), FormatBytes(memory.device_free));
  }
  WEFT_RETURN_IF_ERROR(CheckMemory(pool, memory.device_total, "--kv-memory"));
  const Bytes host =
      ChooseHostBytes(options, config, memory.is_gpu ? memory.host_free : free - pool);
  WEFT_RETURN_IF_ERROR(CheckMemory(host, memory.host_total, "--lora-host-memory"));
  if (host <= 0) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "the weights take {} and --kv-memory {} of the {} that are free: nothing is left "
        "for adapters in host memory",
        FormatBytes(PlainWeightBytes(config, dtype)), FormatBytes(pool),
        FormatBytes(memory.device_free));
  }
  if (std::max(pool, host) / sizes.kv.page_bytes >= std::numeric_limits<int32_t>::max()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} are more pages of {} than can be counted; set --kv-memory and "
                     "--lora-host-memory to less",
                     FormatBytes(std::max(pool, host)), FormatBytes(sizes.kv.page_bytes));
  }
  sizes.page_count = static_cast<int32_t>(pool / sizes.kv.page_bytes) + 1;
  sizes.host_page_count = static_cast<int32_t>(host / sizes.kv.page_bytes) + 1;
  if (sizes.page_count >= 3) return sizes;
  return MakeError(ErrorCode::kInvalidArgument,
                   "the pool of {} holds fewer than two pages of {}; give it more with --kv-memory",
                   FormatBytes(pool), FormatBytes(sizes.kv.page_bytes));
}

engine::EngineOptions EngineOptionsOf(const ServeOptions& given, const MemorySizes& sizes,
                                      int32_t context_length, bool is_gpu) {
  const Bytes page_bytes = sizes.kv.page_bytes;
  engine::EngineOptions options;
  options.limits.max_running = given.max_running_requests;
  options.limits.max_adapters_per_step = given.max_loras_per_batch;
  options.limits.max_prefill_tokens = given.chunked_prefill_size;
  options.limits.tokens_per_page = sizes.kv.tokens_per_page;
  const Bytes lora_memory = *given.Size(given.lora_memory, "--lora-memory");
  if (lora_memory > 0)  // 0 pages would be no limit.
    options.limits.adapter_page_limit =
        static_cast<int32_t>(std::clamp<Bytes>(lora_memory / page_bytes, 1, sizes.page_count - 1));
  options.limits.max_overtakes = given.lora_max_overtakes;
  // Every turn that needs a load would stop all the others.
  const bool takes_turns = given.lora_load_policy != "blocking";
  options.limits.turn_patience = FromSeconds(takes_turns ? given.lora_turn_patience : 0);
  options.limits.turn_slice = options.limits.turn_patience / kSlicesOfPatience;
  options.adapters.page_bytes = page_bytes;
  options.adapters.host_page_count = sizes.host_page_count;
  options.adapters.max_loaded = given.max_loaded_loras;
  options.adapters.adapter_page_limit = options.limits.adapter_page_limit;
  options.adapters.max_concurrent_reads = options.limits.max_reads;
  options.adapters.eviction = given.lora_eviction_policy == "fifo" ? adapter::EvictionKind::kFifo
                                                                   : adapter::EvictionKind::kLru;
  options.adapters.lora_dir = given.lora_dir;
  options.load_policy = given.lora_load_policy == "blocking" ? adapter::LoadPolicyKind::kBlocking
                                                             : adapter::LoadPolicyKind::kOverlapped;
  // Planning takes a thousandth of a step on a CPU, less than what a sequence that has ended would
  // be computed once more in vain; a GPU stands still meanwhile.
  options.max_steps_in_flight = is_gpu ? 2 : 1;
  options.page_count = sizes.page_count;
  options.prefix_cache = !given.disable_radix_cache;
  options.context_length = context_length;
  options.max_queued = given.max_queued_requests;
  options.seed = given.random_seed;
  return options;
}

}  // namespace weft::cli

// Times one layer's attention over paged KV, and prints how much of the memory's bandwidth the KV
// was read with (decode) or how many operations a second were done (prefill). Layers rotate, so
// that the GPU's cache holds nothing of the next one's KV. Median of replays of one graph.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "ops/cuda/attention.h"
#include "ops/cuda/step_slot.h"

namespace {

using weft::PageIndex;
using namespace weft::ops::cuda;

constexpr double kPeakBytes = 4.2e12;
constexpr int kReplays = 9;
constexpr int kPlans = 20;

void Check(cudaError_t error, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "attention_benchmark:%d: %s\n", line, cudaGetErrorString(error));
  std::exit(1);
}
#define CHECK_CUDA(call) Check((call), __LINE__)

__global__ void FillRandom(__nv_bfloat16* values, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    auto x = static_cast<uint32_t>(i) * 2654435761U ^ seed ^ static_cast<uint32_t>(i >> 32);
    x = (x ^ (x >> 16)) * 0x45d9f3bU;
    x = (x ^ (x >> 16)) * 0x45d9f3bU;
    values[i] = __float2bfloat16(static_cast<float>(x >> 8) / 8388608.0F - 1.0F);
  }
}

std::byte* Allocate(int64_t bytes) {
  void* data = nullptr;
  CHECK_CUDA(cudaMalloc(&data, static_cast<size_t>(bytes)));
  FillRandom<<<1024, 256>>>(static_cast<__nv_bfloat16*>(data), bytes / 2, 7);
  CHECK_CUDA(cudaGetLastError());
  return static_cast<std::byte*>(data);
}

struct Case {
  const char* name;
  AttentionShape shape;
  int sequences;
  int rows;
  int position;
  int layers;
  bool deterministic;
  bool graph_plan;
};

double MedianMs(cudaGraphExec_t graph, cudaStream_t stream) {
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  CHECK_CUDA(cudaGraphLaunch(graph, stream));
  std::vector<float> times;
  for (int i = 0; i < kReplays; ++i) {
    float ms = 0;
    CHECK_CUDA(cudaEventRecord(begin, stream));
    CHECK_CUDA(cudaGraphLaunch(graph, stream));
    CHECK_CUDA(cudaEventRecord(end, stream));
    CHECK_CUDA(cudaEventSynchronize(end));
    CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
    times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void Print(const Case& c, double us, double plan_us, const AttentionLaunch& launch) {
  const double tokens = double(c.sequences) * (c.position + c.rows);
  const double bytes = tokens * c.shape.kv_heads * c.shape.head_dim * 4;
  double operations = 0;
  for (int row = 0; row < c.rows; ++row)
    operations += 4.0 * c.shape.heads * c.shape.head_dim * (c.position + row + 1);
  operations *= c.sequences;
  std::printf("%-34s %8.1f us  %7.0f GB/s KV (%5.1f %% of 4.2 TB/s)  %6.1f TFLOP/s  plan %.1f us,",
              c.name, us, bytes / us * 1e-3, 100 * bytes / us * 1e6 / kPeakBytes,
              operations / us * 1e-6, plan_us);
  for (const auto& pass : launch.passes)
    std::printf(" [%s %d, %d items%s]", pass.decode ? "decode" : "tile", pass.tile_rows, pass.items,
                pass.split ? ", split" : "");
  std::printf("\n");
  std::fflush(stdout);
}

void Run(const Case& c, int multiprocessors, cudaStream_t stream) {
  const int pages_each =
      (c.position + c.rows + c.shape.tokens_per_page - 1) / c.shape.tokens_per_page;
  const int pages = c.sequences * pages_each + 1;
  const int rows = c.sequences * c.rows;
  const int64_t region = int64_t{c.shape.tokens_per_page} * c.shape.kv_heads * c.shape.head_dim * 2;
  const AttentionLimits limits{.max_rows = std::max(rows, 256),
                               .max_pages = pages,
                               .max_context = 131072,
                               .multiprocessors = multiprocessors,
                               .deterministic = c.deterministic};
  const AttentionPlanner planner(c.shape, limits);
  const PagedAttention attention(c.shape, planner);
  CHECK_CUDA(attention.Prepare());
  SideStream beside;
  beside.Create(0);
  AttentionParams params;
  params.page_bytes = region * 2 * c.layers;
  params.page_count = pages;
  std::byte* arena = Allocate(params.page_bytes * pages);
  params.arena = arena;
  params.plan = Allocate(planner.plan_bytes());
  params.scratch = Allocate(attention.scratch_bytes());
  params.out = Allocate(int64_t{rows} * c.shape.heads * c.shape.head_dim * 2);
  params.queries = Allocate(int64_t{rows} * c.shape.heads * c.shape.head_dim * 2);
  void* slot = nullptr;
  CHECK_CUDA(cudaMallocHost(&slot, static_cast<size_t>(planner.plan_bytes())));

  std::vector<int32_t> order(static_cast<size_t>(pages - 1));
  std::iota(order.begin(), order.end(), 1);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<PageIndex> indices;
  for (const int32_t page : order) indices.push_back(PageIndex(page));
  std::vector<AttentionSequence> sequences;
  for (int i = 0; i < c.sequences; ++i)
    sequences.push_back({i * c.rows, c.rows, c.position,
                         std::span(indices).subspan(static_cast<size_t>(i) * pages_each,
                                                    static_cast<size_t>(pages_each))});
  AttentionLaunch launch;
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < kPlans; ++i) {
    if (c.graph_plan)
      planner.PlanDecode(sequences, rows, static_cast<std::byte*>(slot), &launch);
    else
      planner.Plan(sequences, static_cast<std::byte*>(slot), &launch);
  }
  const std::chrono::duration<double, std::micro> planning =
      std::chrono::steady_clock::now() - started;
  CHECK_CUDA(LaunchSlotUpload(static_cast<std::byte*>(slot), params.plan, stream));

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  const int launches = 2 * c.layers;
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < launches; ++i) {
    params.k_offset = (i % c.layers) * 2 * region;
    params.v_offset = params.k_offset + region;
    CHECK_CUDA(attention.Run(params, launch, stream, beside));
  }
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  Print(c, MedianMs(executable, stream) * 1e3 / launches, planning.count() / kPlans, launch);
  CHECK_CUDA(cudaGraphExecDestroy(executable));
  CHECK_CUDA(cudaGraphDestroy(graph));
  for (void* data :
       {static_cast<void*>(arena), static_cast<void*>(params.plan),
        static_cast<void*>(params.scratch), params.out, const_cast<void*>(params.queries)})
    CHECK_CUDA(cudaFree(data));
  CHECK_CUDA(cudaFreeHost(slot));
}

}  // namespace

int main(int argc, char** argv) {
  const int factor =
      argc > 1 ? std::atoi(argv[1]) : 100;  // Percent of the multiprocessors to plan for.
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
  cudaStream_t stream;
  CHECK_CUDA(cudaStreamCreate(&stream));
  const AttentionShape llama{32, 8, 128, 16};
  const AttentionShape small{32, 8, 64, 32};
  const AttentionShape heads{32, 32, 128, 16};
  const AttentionShape qwen{28, 4, 128, 16};
  const Case cases[] = {
      {"decode 16 x 1k", llama, 16, 1, 1023, 8, false, false},
      {"decode 16 x 1k, graph", llama, 16, 1, 1023, 8, false, true},
      {"decode 16 x 1k, fixed order", llama, 16, 1, 1023, 8, true, true},
      {"decode 64 x 4k", llama, 64, 1, 4095, 4, false, false},
      {"decode 64 x 4k, graph", llama, 64, 1, 4095, 4, false, true},
      {"decode 1 x 1k, graph", llama, 1, 1, 1023, 16, false, true},
      {"decode 1 x 32k, graph", llama, 1, 1, 32767, 8, false, true},
      {"decode 256 x 512", llama, 256, 1, 511, 4, false, false},
      {"decode 16 x 1k, head_dim 64", small, 16, 1, 1023, 16, false, true},
      {"decode 16 x 1k, no groups", heads, 16, 1, 1023, 4, false, true},
      {"decode 16 x 1k, group 7", qwen, 16, 1, 1023, 16, false, true},
      {"prefill 2,048", llama, 1, 2048, 0, 4, false, false},
      {"prefill 2,048, fixed order", llama, 1, 2048, 0, 4, true, false},
      {"prefill 512 after 8k", llama, 1, 512, 8192, 4, false, false},
      {"prefill 4 x 512", llama, 4, 512, 0, 4, false, false},
      {"prefill 2,048, head_dim 64", small, 1, 2048, 0, 4, false, false},
  };
  for (const Case& c : cases)
    if (argc <= 2 || std::strncmp(c.name, argv[2], std::strlen(argv[2])) == 0)
      Run(c, properties.multiProcessorCount * factor / 100, stream);
  return 0;
}

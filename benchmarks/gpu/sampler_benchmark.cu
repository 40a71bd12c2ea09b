// Times the sampler on rows of 128,256 logits: greedy, from the whole vocabulary, with top_k and
// top_p, with log-probabilities. Logits are normal with a few likely tokens, or flat. Median of
// replays of one graph of several launches.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "ops/cuda/sample_plan.h"
#include "ops/cuda/sampler.h"

namespace {

using namespace weft::ops::cuda;
using weft::ops::SampleRow;
using weft::ops::SamplingParams;

constexpr int32_t kVocabulary = 128256;
constexpr int kLaunches = 8;
constexpr int kReplays = 9;

void Check(cudaError_t error, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "sampler_benchmark:%d: %s\n", line, cudaGetErrorString(error));
  std::exit(1);
}
#define CHECK_CUDA(call) Check((call), __LINE__)

std::byte* Allocate(int64_t bytes) {
  void* data = nullptr;
  CHECK_CUDA(cudaMalloc(&data, static_cast<size_t>(bytes)));
  CHECK_CUDA(cudaMemset(data, 0, static_cast<size_t>(bytes)));
  return static_cast<std::byte*>(data);
}

std::vector<float> MakeLogits(int rows, bool peaked) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0F, peaked ? 2.5F : 1.0F);
  std::vector<float> logits(static_cast<size_t>(rows) * kVocabulary);
  for (float& logit : logits) logit = normal(random);
  for (int r = 0; r < rows && peaked; ++r)
    for (int i = 0; i < 30; ++i)
      logits[static_cast<size_t>(r) * kVocabulary + random() % kVocabulary] =
          10.0F + static_cast<float>(random() % 80) / 10.0F;
  return logits;
}

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

struct Case {
  const char* name;
  SamplingParams params;
  bool logprobs;
};

void Run(const Case& c, int rows, bool peaked, float* logits, cudaStream_t stream) {
  SamplePlanner planner(
      {.vocabulary = kVocabulary, .max_rows = rows, .max_edits = 1000, .max_top_logprobs = 20});
  std::vector<SampleRow> wanted(static_cast<size_t>(rows));
  for (int i = 0; i < rows; ++i) {
    auto& row = wanted[static_cast<size_t>(i)];
    row.params = std::make_shared<SamplingParams>(c.params);
    row.logits_row = i;
    row.position = 1000 + i;
    row.want_logprob = c.logprobs;
    row.top_logprobs = c.logprobs ? 5 : 0;
  }
  void* slot = nullptr;
  void* host_results = nullptr;
  CHECK_CUDA(cudaMallocHost(&slot, static_cast<size_t>(planner.plan_bytes())));
  CHECK_CUDA(cudaMallocHost(&host_results, static_cast<size_t>(rows * planner.result_bytes())));
  planner.Plan(wanted, rows, static_cast<std::byte*>(slot));
  std::byte* plan = Allocate(planner.plan_bytes());
  SamplerParams params;
  params.logits = logits;
  params.stride = params.vocabulary = kVocabulary;
  params.rows = rows;
  params.requests = reinterpret_cast<const SampleRequest*>(plan + planner.layout().requests);
  params.edits = reinterpret_cast<LogitEdit*>(plan + planner.layout().edits);
  params.scratch = Allocate(SamplerScratchBytes(kVocabulary, rows));
  params.result_bytes = planner.result_bytes();
  params.results = Allocate(rows * params.result_bytes);
  params.host_results = static_cast<std::byte*>(host_results);
  CHECK_CUDA(LaunchSlotUpload(static_cast<std::byte*>(slot), plan, stream));
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) CHECK_CUDA(LaunchSampler(params, stream));
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  std::printf("%3d rows, %s logits, %-28s %8.1f us\n", rows, peaked ? "peaked" : "flat  ", c.name,
              MedianMs(executable, stream) * 1e3 / kLaunches);
  std::fflush(stdout);
  CHECK_CUDA(cudaGraphExecDestroy(executable));
  CHECK_CUDA(cudaGraphDestroy(graph));
  for (void* data : {static_cast<void*>(plan), static_cast<void*>(params.scratch),
                     static_cast<void*>(params.results)})
    CHECK_CUDA(cudaFree(data));
  CHECK_CUDA(cudaFreeHost(slot));
  CHECK_CUDA(cudaFreeHost(host_results));
}

SamplingParams With(float temperature, int32_t top_k, float top_p, float min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.seed = 42;
  return params;
}

}  // namespace

int main() {
  CHECK_CUDA(PrepareSampler());
  cudaStream_t stream;
  CHECK_CUDA(cudaStreamCreate(&stream));
  const Case cases[] = {
      {"greedy", With(0.0F, -1, 1.0F, 0.0F), false},
      {"greedy, 5 logprobs", With(0.0F, -1, 1.0F, 0.0F), true},
      {"temperature 1", With(1.0F, -1, 1.0F, 0.0F), false},
      {"top_k 50, top_p 0.9", With(0.8F, 50, 0.9F, 0.0F), false},
      {"top_p 0.95", With(0.8F, -1, 0.95F, 0.0F), false},
      {"min_p 0.05", With(1.0F, -1, 1.0F, 0.05F), false},
  };
  for (const bool peaked : {true, false}) {
    for (const int rows : {16, 256}) {
      const auto logits = MakeLogits(rows, peaked);
      auto* device =
          reinterpret_cast<float*>(Allocate(static_cast<int64_t>(logits.size() * sizeof(float))));
      CHECK_CUDA(
          cudaMemcpy(device, logits.data(), logits.size() * sizeof(float), cudaMemcpyHostToDevice));
      for (const Case& c : cases) Run(c, rows, peaked, device, stream);
      CHECK_CUDA(cudaFree(device));
    }
  }
  return 0;
}

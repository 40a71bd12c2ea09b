// Times the LoRA kernels on the shapes of Llama-3.1-8B: all four operators of all layers, in a
// graph, as a step runs them but for the base model's kernels between. The adapters of a run are
// far larger than L2. Beside each time stands what memory or arithmetic alone would take.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/lora_step.h"

namespace weft::ops::cuda {
namespace {

constexpr int kLayers = 32;
constexpr double kBandwidth = 4.2e12;     // Bytes a second, of a large copy on an H200.
constexpr double kTensorCores = 620e12;   // Of mma.sync with bf16 on Hopper, about.
constexpr double kBasePrefill = 42.8e-3;  // The base model's products for 2,048 tokens.
constexpr int kRepeats = 15;

const LoraShape kLlama8B = {kLayers,
                            {4096, 4096, 4096, 4096, 4096, 4096, 14336},
                            {4096, 1024, 1024, 4096, 14336, 14336, 4096}};

void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  exit(1);
}

/// Random values up to `scale`, never all zero (zeros would run faster), repeated after 16 Mi.
__nv_bfloat16* RandomMemory(int64_t elements, uint32_t seed, float scale) {
  constexpr int64_t kPeriod = int64_t{16} << 20;
  std::vector<__nv_bfloat16> values(static_cast<size_t>(std::min(kPeriod, elements)));
  std::minstd_rand random(seed + 1);
  for (__nv_bfloat16& value : values)
    value = __float2bfloat16((static_cast<float>(random()) / 1073741824.0F - 1.0F) * scale);
  void* memory = nullptr;
  Must(cudaMalloc(&memory, static_cast<size_t>(elements) * sizeof(__nv_bfloat16)));
  auto* into = static_cast<__nv_bfloat16*>(memory);
  Must(cudaMemcpy(into, values.data(), values.size() * 2, cudaMemcpyHostToDevice));
  for (int64_t at = kPeriod; at < elements; at += kPeriod)
    Must(cudaMemcpy(into + at, into, static_cast<size_t>(std::min(kPeriod, elements - at)) * 2,
                    cudaMemcpyDeviceToDevice));
  return into;
}

/// An adapter of one rank for all modules, its tiles in the order of layers.
class BenchmarkAdapter {
 public:
  BenchmarkAdapter(int rank, uint32_t seed) {
    const std::vector<int32_t> widths = RankTileWidths(rank);
    int64_t elements = 0;
    for (const int32_t width : widths)
      for (size_t p = 0; p < kLoraProjections; ++p)
        elements += int64_t{kLayers} * width * (kLlama8B.in[p] + kLlama8B.out[p]);
    bytes_ = elements * 2;
    memory_ = RandomMemory(elements, seed, 0.05F);
    AdapterTable table;
    table.tiles.reserve(widths.size() * kLayers * kLoraProjections);
    __nv_bfloat16* next = memory_;
    for (size_t i = 0; i < kLayers * kLoraProjections; ++i) {
      const size_t first = table.tiles.size();
      for (const int32_t width : widths) {
        const auto* a = reinterpret_cast<const std::byte*>(next);
        next += int64_t{width} * kLlama8B.in[i % kLoraProjections];
        table.tiles.push_back({a, reinterpret_cast<const std::byte*>(next), width});
        next += int64_t{width} * kLlama8B.out[i % kLoraProjections];
      }
      table.modules.push_back({{table.tiles.data() + first, widths.size()}, 2.0F});
    }
    std::vector<std::byte> upload(static_cast<size_t>(LoraTableBytes(table)));
    WriteLoraTable(table, upload);
    Must(cudaMalloc(&device_table_, upload.size()));
    Must(cudaMemcpy(device_table_, upload.data(), upload.size(), cudaMemcpyHostToDevice));
    resident_ = DescribeLora(table, reinterpret_cast<uint64_t>(device_table_));
  }
  ~BenchmarkAdapter() {
    cudaFree(device_table_);
    cudaFree(memory_);
  }
  BenchmarkAdapter(const BenchmarkAdapter&) = delete;
  BenchmarkAdapter& operator=(const BenchmarkAdapter&) = delete;
  const ResidentLora* resident() const { return &resident_; }
  int64_t bytes() const { return bytes_; }

 private:
  __nv_bfloat16* memory_ = nullptr;
  void* device_table_ = nullptr;
  int64_t bytes_ = 0;
  ResidentLora resident_;
};

struct Case {
  std::string name;
  std::vector<int> ranks;      ///< Of the adapters.
  std::vector<int> sequences;  ///< Rows of each; sequence i uses adapter i % adapters.
};

/// One case on the device: the step uploaded, x, deltas and scratch.
class CaseRun {
 public:
  explicit CaseRun(const Case& made) {
    for (size_t i = 0; i < made.ranks.size(); ++i)
      adapters_.push_back(
          std::make_unique<BenchmarkAdapter>(made.ranks[i], static_cast<uint32_t>(i)));
    std::vector<LoraRows> sequences;
    for (size_t i = 0; i < made.sequences.size(); ++i) {
      sequences.push_back({rows_, made.sequences[i], adapters_[i % adapters_.size()]->resident()});
      rows_ += made.sequences[i];
    }
    Must(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, 0));
    const auto step = std::make_unique<LoraStep>();
    std::vector<int32_t> numbers(static_cast<size_t>(rows_));
    plan_ = BuildLoraStep(kLlama8B, sequences, processors_, *step, numbers);
    const size_t step_bytes = sizeof(LoraStep);
    const size_t row_bytes = numbers.size() * sizeof(int32_t);
    Must(cudaMalloc(&step_, step_bytes));
    Must(cudaMemcpy(step_, step.get(), step_bytes, cudaMemcpyHostToDevice));
    Must(cudaMalloc(&row_numbers_, row_bytes));
    Must(cudaMemcpy(row_numbers_, numbers.data(), row_bytes, cudaMemcpyHostToDevice));
    void* scratch = nullptr;
    Must(cudaMalloc(&scratch, static_cast<size_t>(plan_.scratch_floats) * sizeof(float)));
    scratch_ = static_cast<float*>(scratch);
    x_ = RandomMemory(int64_t{rows_} * 14336, 77, 1.0F);
    delta_ = RandomMemory(int64_t{rows_} * 28672, 78, 1.0F);
    Must(cudaDeviceGetAttribute(&shared_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    Must(PrepareLoraKernels(shared_));
    Must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~CaseRun() {
    cudaStreamDestroy(stream_);
    for (void* memory : {step_, row_numbers_, static_cast<void*>(scratch_), static_cast<void*>(x_),
                         static_cast<void*>(delta_)})
      cudaFree(memory);
  }
  CaseRun(const CaseRun&) = delete;
  CaseRun& operator=(const CaseRun&) = delete;

  /// Median seconds of the operators in `ops` of all layers.
  double Time(std::vector<int> ops, bool programmatic) {
    Must(cudaDeviceSynchronize());
    Must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
    for (int layer = 0; layer < kLayers; ++layer)
      for (const int op : ops) LaunchLora(Params(op, layer, programmatic), stream_);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t runnable = nullptr;
    Must(cudaStreamEndCapture(stream_, &graph));
    Must(cudaGraphInstantiate(&runnable, graph, 0));
    cudaEvent_t start = nullptr;
    cudaEvent_t end = nullptr;
    Must(cudaEventCreate(&start));
    Must(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < kRepeats + 3; ++i) {
      Must(cudaEventRecord(start, stream_));
      Must(cudaGraphLaunch(runnable, stream_));
      Must(cudaEventRecord(end, stream_));
      Must(cudaStreamSynchronize(stream_));
      float milliseconds = 0.0F;
      Must(cudaEventElapsedTime(&milliseconds, start, end));
      if (i >= 3) times.push_back(milliseconds);
    }
    Must(cudaEventDestroy(start));
    Must(cudaEventDestroy(end));
    Must(cudaGraphExecDestroy(runnable));
    Must(cudaGraphDestroy(graph));
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] * 1e-3;
  }

  int rows() const { return rows_; }
  int64_t adapter_bytes() const {
    int64_t bytes = 0;
    for (const auto& adapter : adapters_) bytes += adapter->bytes();
    return bytes;
  }

 private:
  LoraParams Params(int op, int layer, bool programmatic) const {
    LoraParams params;
    params.step = static_cast<LoraStep*>(step_);
    params.row_numbers = static_cast<const int32_t*>(row_numbers_);
    params.op = static_cast<LoraOperator>(op);
    params.layer = layer;
    params.layers = kLayers;
    params.x = x_;
    params.in = kLlama8B.in[static_cast<size_t>(kFirstProjection[op])];
    params.x_stride = params.in;
    int64_t at = 0;
    for (int i = 0; i < kOperatorProjections[op]; ++i) {
      const int out = kLlama8B.out[static_cast<size_t>(kFirstProjection[op] + i)];
      params.delta[i] = {delta_ + at, out, out};
      at += int64_t{rows_} * out;
    }
    params.scratch = scratch_;
    params.decode = plan_.decode;
    params.prefill = plan_.prefill;
    params.multiprocessors = processors_;
    params.shared_limit = shared_;
    params.programmatic = programmatic;
    return params;
  }

  std::vector<std::unique_ptr<BenchmarkAdapter>> adapters_;
  LoraStepPlan plan_;
  int rows_ = 0;
  int processors_ = 0;
  int shared_ = 0;
  void* step_ = nullptr;
  void* row_numbers_ = nullptr;
  float* scratch_ = nullptr;
  __nv_bfloat16* x_ = nullptr;
  __nv_bfloat16* delta_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

/// Each operator alone, beside what its bytes take.
void PrintParts(CaseRun& run, const Case& made) {
  static constexpr const char* kNames[] = {"qkv", "o", "gate_up", "down"};
  int64_t ranks = 0;
  for (const int rank : made.ranks) ranks += rank;
  for (int op = 0; op < kLoraOperators; ++op) {
    int64_t in = 0;
    int64_t out = 0;
    for (int i = 0; i < kOperatorProjections[op]; ++i) {
      in += kLlama8B.in[static_cast<size_t>(kFirstProjection[op] + i)];
      out += kLlama8B.out[static_cast<size_t>(kFirstProjection[op] + i)];
    }
    printf("    %-8s %6.2f us a layer overlapped, %6.2f plain (weights %5.2f)\n", kNames[op],
           run.Time({op}, true) / kLayers * 1e6, run.Time({op}, false) / kLayers * 1e6,
           static_cast<double>(2 * ranks * (in + out)) / kBandwidth * 1e6);
  }
}

void RunCase(const Case& made, bool parts) {
  CaseRun run(made);
  const std::vector<int> all = {0, 1, 2, 3};
  const double plain = run.Time(all, false);
  const double overlapped = run.Time(all, true);
  const auto bytes = static_cast<double>(run.adapter_bytes());
  double row_weights = 0.0;
  for (size_t i = 0; i < made.sequences.size(); ++i)
    row_weights +=
        made.sequences[i] * made.ranks[i % made.ranks.size()] * (38912.0 + 43008.0) * kLayers;
  const double memory = bytes / kBandwidth;
  const double arithmetic = 2 * row_weights / kTensorCores;
  printf(
      "%-30s %5d rows: %7.3f ms overlapped, %7.3f plain; weights %6.2f GB = %6.3f ms (%4.0f GB/s, "
      "%3.0f %%); arithmetic %6.3f ms (%3.0f TFLOP/s)",
      made.name.c_str(), run.rows(), overlapped * 1e3, plain * 1e3, bytes / 1e9, memory * 1e3,
      bytes / overlapped / 1e9, 100 * memory / overlapped, arithmetic * 1e3,
      2 * row_weights / overlapped / 1e12);
  if (run.rows() == 2048) printf("; %4.1f %% of the base", 100 * overlapped / kBasePrefill);
  printf("\n");
  if (parts) PrintParts(run, made);
  fflush(stdout);
}

std::vector<int> Times(int count, int value) {
  return std::vector<int>(static_cast<size_t>(count), value);
}

void RunAll(std::string_view only) {
  const std::vector<Case> cases = {
      {"decode 16 x 8 r128", Times(8, 128), Times(16, 1)},
      {"decode 1 x 1 r128", {128}, {1}},
      {"decode 16 x 16 r128", Times(16, 128), Times(16, 1)},
      {"decode 64 x 8 r128", Times(8, 128), Times(64, 1)},
      {"decode 32 x 32 r16", Times(32, 16), Times(32, 1)},
      {"decode 64 x 64 r16", Times(64, 16), Times(64, 1)},
      {"decode 16 x 8 r8..256", {8, 16, 32, 64, 64, 128, 128, 256}, Times(16, 1)},
      {"prefill 2048 r128", {128}, {2048}},
      {"prefill 512 r128", {128}, {512}},
      {"prefill 2048 r16", {16}, {2048}},
      {"prefill 2048 r64", {64}, {2048}},
      {"prefill 2048 of 4 r128", Times(4, 128), Times(4, 512)},
      {"prefill 2048 of 16 r128", Times(16, 128), Times(16, 128)},
      {"mixed 1024 + 15 x r128",
       Times(8, 128),
       {1024, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
  };
  for (const Case& made : cases)
    if (made.name.find(only) != std::string::npos)
      RunCase(made, made.name == "decode 16 x 8 r128" || made.name == "prefill 2048 r128");
}

}  // namespace
}  // namespace weft::ops::cuda

/// The argument, if any, is a part of the names of the cases to run.
int main(int argc, char** argv) {
  cudaDeviceProp device;
  weft::ops::cuda::Must(cudaGetDeviceProperties(&device, 0));
  printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
  weft::ops::cuda::RunAll(argc > 1 ? argv[1] : "");
  return 0;
}

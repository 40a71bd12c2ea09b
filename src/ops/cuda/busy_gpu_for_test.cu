#include <chrono>
#include <cstdint>
#include <new>

#include "ops/cuda/busy_gpu_for_test.h"

namespace weft::ops::cuda {
namespace {

constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kThreads = 1024;  ///< Of a block; twice that many is all a multiprocessor has.
constexpr int64_t kLimitCycles = 100'000'000'000;

struct Gate {
  int32_t inside = 0;  ///< Blocks that wait.
  int32_t open = 0;
};

__global__ void WaitForGate(Gate* gate) {
  if (threadIdx.x != 0) return;
  atomicAdd_system(&gate->inside, 1);
  const volatile int32_t* open = &gate->open;
  const int64_t begin = clock64();
  while (*open == 0 && clock64() - begin < kLimitCycles) __nanosleep(1000);
}

int Attribute(cudaDeviceAttr attribute) {
  int value = 0;
  WEFT_CHECK(cudaDeviceGetAttribute(&value, attribute, 0) == cudaSuccess);
  return value;
}

volatile Gate* GateOf(const PinnedBytes& memory) {
  return reinterpret_cast<volatile Gate*>(memory.data());
}

}  // namespace

BusyGpu::BusyGpu() : memory_(sizeof(Gate)) {
  auto* gate = new (memory_.data()) Gate;
  blocks_ = Attribute(cudaDevAttrMultiProcessorCount) * kBlocksPerMultiprocessor;
  WEFT_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess);
  WaitForGate<<<static_cast<unsigned>(blocks_), kThreads, 0, stream_>>>(gate);
  WEFT_CHECK(cudaGetLastError() == cudaSuccess);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (GateOf(memory_)->inside < blocks_ && std::chrono::steady_clock::now() < limit) {
  }
}

BusyGpu::~BusyGpu() {
  Release();
  (void)cudaStreamDestroy(stream_);
}

bool BusyGpu::is_full() const {
  return GateOf(memory_)->inside == blocks_ && cudaStreamQuery(stream_) == cudaErrorNotReady;
}

void BusyGpu::Release() {
  GateOf(memory_)->open = 1;
  (void)cudaStreamSynchronize(stream_);
}

}  // namespace weft::ops::cuda

#include <chrono>
#include <cstdint>
#include <cstring>

#include "ops/cuda/busy_gpu_for_test.h"

namespace weft::ops::cuda {
namespace {

constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kThreads = 1024;  ///< Of a block; twice that many is all a multiprocessor has.
constexpr int64_t kLimitCycles = 100'000'000'000;

/// In the host's memory, which takes a GPU's stores and loads, but not everywhere its atomics.
struct Gate {
  volatile int32_t* inside;  ///< Of each block: whether it waits.
  volatile int32_t* open;
};

__global__ void WaitForGate(Gate gate) {
  if (threadIdx.x != 0) return;
  gate.inside[blockIdx.x] = 1;
  const int64_t begin = clock64();
  while (*gate.open == 0 && clock64() - begin < kLimitCycles) __nanosleep(1000);
}

int Attribute(cudaDeviceAttr attribute) {
  int value = 0;
  WEFT_CHECK(cudaDeviceGetAttribute(&value, attribute, 0) == cudaSuccess);
  return value;
}

int Blocks() { return Attribute(cudaDevAttrMultiProcessorCount) * kBlocksPerMultiprocessor; }

Gate GateOf(const PinnedBytes& memory) {
  auto* words = reinterpret_cast<volatile int32_t*>(memory.data());
  return {words + 1, words};
}

}  // namespace

BusyGpu::BusyGpu() : blocks_(Blocks()), memory_((blocks_ + 1) * int64_t{sizeof(int32_t)}) {
  std::memset(memory_.data(), 0, static_cast<size_t>(blocks_ + 1) * sizeof(int32_t));
  WEFT_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess);
  WaitForGate<<<static_cast<unsigned>(blocks_), kThreads, 0, stream_>>>(GateOf(memory_));
  WEFT_CHECK(cudaGetLastError() == cudaSuccess);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!all_wait() && std::chrono::steady_clock::now() < limit) {
  }
}

BusyGpu::~BusyGpu() {
  Release();
  (void)cudaStreamDestroy(stream_);
}

bool BusyGpu::all_wait() const {
  const volatile int32_t* inside = GateOf(memory_).inside;
  for (int block = 0; block < blocks_; ++block)
    if (inside[block] == 0) return false;
  return true;
}

bool BusyGpu::is_full() const {
  return all_wait() && cudaStreamQuery(stream_) == cudaErrorNotReady;
}

void BusyGpu::Release() {
  *GateOf(memory_).open = 1;
  (void)cudaStreamSynchronize(stream_);
}

}  // namespace weft::ops::cuda

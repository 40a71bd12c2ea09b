#include "ops/cuda/cuda_matrix.h"

#include <algorithm>
#include <utility>

#include "base/bfloat16.h"
#include "base/check.h"
#include "device/cuda/cuda_error.h"

namespace weft::ops::cuda {
namespace {

/// What cuBLASLt's fastest kernels ask of a matrix's address.
constexpr Bytes kAlignment = 256;
/// Elements that a lane converts and copies at once.
constexpr int64_t kLaneElements = 512 * 1024;

void Convert(float from, float& to) { to = from; }
void Convert(float from, BFloat16& to) { to = ToBFloat16(from); }
void Convert(BFloat16 from, float& to) { to = ToFloat(from); }
void Convert(BFloat16 from, BFloat16& to) { to = from; }

template <typename Value, typename Element>
void ConvertAll(const Value* from, int64_t count, Element* to) {
  for (int64_t i = 0; i < count; ++i) Convert(from[i], to[i]);
}

Bytes RoundUp(Bytes bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Result<std::unique_ptr<WeightArena>> WeightArena::Create(device::Device& device, Bytes bytes) {
  WEFT_ASSIGN_OR_RETURN(device::Buffer memory, device.AllocateDevice(bytes));
  return std::unique_ptr<WeightArena>(new WeightArena(device, std::move(memory)));
}

WeightArena::~WeightArena() { FinishLoading(); }

void WeightArena::FinishLoading() {
  const std::lock_guard lock(mutex_);
  for (const Lane& lane : lanes_) WEFT_CUDA_CHECK(cudaStreamDestroy(lane.stream));
  lanes_.clear();
}

Result<std::byte*> WeightArena::Allocate(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (RoundUp(used_) + bytes <= memory_.size()) {
    std::byte* const at = memory_.data() + RoundUp(used_);
    used_ = RoundUp(used_) + bytes;
    return at;
  }
  WEFT_ASSIGN_OR_RETURN(device::Buffer memory, device_.AllocateDevice(bytes));
  more_.push_back(std::move(memory));
  return more_.back().data();
}

WeightArena::Lane WeightArena::TakeLane() {
  {
    const std::lock_guard lock(mutex_);
    if (!lanes_.empty()) {
      Lane lane = std::move(lanes_.back());
      lanes_.pop_back();
      return lane;
    }
  }
  Lane lane;
  auto pinned = device_.AllocateHost(kLaneElements * Bytes{sizeof(float)});
  if (!pinned.ok()) device::cuda::LoseDevice(pinned.error().message.c_str(), __FILE__, __LINE__);
  lane.pinned = std::move(pinned).value();
  WEFT_CUDA_CHECK(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking));
  return lane;
}

void WeightArena::ReturnLane(Lane lane) {
  const std::lock_guard lock(mutex_);
  lanes_.push_back(std::move(lane));
}

template <typename Value>
void WeightArena::StoreValues(std::span<const Value> values, DType dtype, std::byte* to) {
  Lane lane = TakeLane();
  for (int64_t first = 0; first < std::ssize(values); first += kLaneElements) {
    const int64_t count = std::min(kLaneElements, std::ssize(values) - first);
    const Value* from = values.data() + first;
    if (dtype == DType::kFloat32) {
      ConvertAll(from, count, reinterpret_cast<float*>(lane.pinned.data()));
    } else {
      ConvertAll(from, count, reinterpret_cast<BFloat16*>(lane.pinned.data()));
    }
    WEFT_CUDA_CHECK(cudaMemcpyAsync(to + first * SizeOf(dtype), lane.pinned.data(),
                                    static_cast<size_t>(count * SizeOf(dtype)),
                                    cudaMemcpyHostToDevice, lane.stream));
    WEFT_CUDA_CHECK(cudaStreamSynchronize(lane.stream));
  }
  ReturnLane(std::move(lane));
}

void WeightArena::Store(std::span<const float> values, DType dtype, std::byte* to) {
  StoreValues(values, dtype, to);
}

void WeightArena::Store(std::span<const BFloat16> values, DType dtype, std::byte* to) {
  StoreValues(values, dtype, to);
}

Result<std::unique_ptr<Matrix>> CudaMatrix::Create(WeightArena& arena, DType dtype, int32_t out,
                                                   int32_t in) {
  WEFT_CHECK(out > 0 && in > 0);
  WEFT_ASSIGN_OR_RETURN(std::byte* const data, arena.Allocate(Bytes{out} * in * SizeOf(dtype)));
  return std::unique_ptr<Matrix>(new CudaMatrix(arena, dtype, out, in, data));
}

void CudaMatrix::SetRows(int32_t first, int32_t count, std::span<const float> values) {
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  arena_.Store(values, dtype_, data_ + int64_t{first} * in_ * SizeOf(dtype_));
}

void CudaMatrix::SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) {
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  arena_.Store(values, dtype_, data_ + int64_t{first} * in_ * SizeOf(dtype_));
}

const float* DeviceVectors::Get(std::span<const float> values, cudaStream_t stream) {
  if (values.empty()) return nullptr;
  const auto at = std::lower_bound(
      copies_.begin(), copies_.end(), values.data(),
      [](const Copy& copy, const float* host) { return std::less<>()(copy.host, host); });
  if (at != copies_.end() && at->host == values.data())
    return reinterpret_cast<const float*>(at->memory.data());
  auto memory = device_.AllocateDevice(static_cast<Bytes>(values.size_bytes()));
  if (!memory.ok()) device::cuda::LoseDevice(memory.error().message.c_str(), __FILE__, __LINE__);
  Copy copy{values.data(), std::move(memory).value()};
  WEFT_CUDA_CHECK(cudaMemcpyAsync(copy.memory.data(), values.data(), values.size_bytes(),
                                  cudaMemcpyHostToDevice, stream));
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream));
  return reinterpret_cast<const float*>(copies_.insert(at, std::move(copy))->memory.data());
}

}  // namespace weft::ops::cuda

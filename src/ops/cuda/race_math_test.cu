#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "ops/race_math.h"

namespace weft::ops::race {
namespace {

constexpr uint32_t kUniforms = 1U << 23;
constexpr uint32_t kExponents = 1U << 23;

/// Every number that a draw can be.
WEFT_HOST_DEVICE float UniformAt(uint32_t i) {
  return Multiply(Add(static_cast<float>(i), 0.5F), 1.0F / 8388608.0F);
}
/// From -87.5 to 0.
WEFT_HOST_DEVICE float ExponentAt(uint32_t i) {
  return Multiply(static_cast<float>(i), -87.5F / static_cast<float>(kExponents));
}

__global__ void Logs(float* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = Log(UniformAt(i));
}
__global__ void Exps(float* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = Exp(ExponentAt(i));
}

std::vector<float> OnDevice(void (*kernel)(float*), uint32_t count) {
  float* data = nullptr;
  EXPECT_EQ(cudaMalloc(&data, count * sizeof(float)), cudaSuccess);
  kernel<<<count / 256, 256>>>(data);
  std::vector<float> out(count);
  EXPECT_EQ(cudaMemcpy(out.data(), data, count * sizeof(float), cudaMemcpyDeviceToHost),
            cudaSuccess);
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  return out;
}

TEST(RaceMath, LogOfEveryDrawIsTheSameOnBothSides) {
  const auto device = OnDevice(Logs, kUniforms);
  double worst = 0;
  for (uint32_t i = 0; i < kUniforms; ++i) {
    const float host = Log(UniformAt(i));
    ASSERT_EQ(BitsOf(device[i]), BitsOf(host)) << i;
    const double exact = std::log(static_cast<double>(UniformAt(i)));
    worst = std::max(worst, std::fabs((host - exact) / exact));
  }
  EXPECT_LT(worst, 3e-7);
}

TEST(RaceMath, ExpIsTheSameOnBothSides) {
  const auto device = OnDevice(Exps, kExponents);
  double worst = 0;
  for (uint32_t i = 0; i < kExponents; ++i) {
    const float host = Exp(ExponentAt(i));
    ASSERT_EQ(BitsOf(device[i]), BitsOf(host)) << i;
    if (ExponentAt(i) < -87.0F) continue;
    const double exact = std::exp(static_cast<double>(ExponentAt(i)));
    worst = std::max(worst, std::fabs((host - exact) / exact));
  }
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(Exp(0.0F), 1.0F);
}

}  // namespace
}  // namespace weft::ops::race

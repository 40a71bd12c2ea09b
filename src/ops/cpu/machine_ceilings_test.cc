#include "ops/cpu/machine_ceilings.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "ops/ceilings.h"
#include "ops/cpu/elements.h"

namespace weft::ops::cpu {
namespace {

std::vector<Isa> Available() {
  Isa best;
  if (!ChooseIsa(&best)) return {};
  if (best == Isa::kAvx2) return {Isa::kAvx2};
  return {Isa::kAvx2, best};
}

TEST(CeilingLoopsTest, ReadingSeesEveryWord) {
  for (const Isa isa : Available()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<uint32_t> memory(4 * kReadGranule / 4, 0);
    const auto* bytes = reinterpret_cast<const std::byte*>(memory.data());
    for (size_t i = 0; i < memory.size(); i += 97) {
      memory[i] = 0x12345678;
      EXPECT_EQ(CeilingLoopsFor(isa).read(bytes, 4 * kReadGranule), 0x12345678u) << i;
      memory[i] = 0;
    }
  }
}

/// What a loop says it did is what its sums show: each operation pair adds one product.
TEST(CeilingLoopsTest, OperationsAreCountedAsTheyAreDone) {
  for (const Isa isa : Available()) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
      SCOPED_TRACE(IsaName(isa));
      const CeilingLoops& loops = CeilingLoopsFor(isa);
      std::array<std::byte, kOperandBytes> operands;
      for (int64_t i = 0; i < kOperandBytes / SizeOf(dtype); ++i)
        StoreElement(dtype, operands.data(), i, 1.0F);
      std::array<float, kPanelColumns> sums{};
      const auto loop =
          dtype == DType::kBFloat16 ? loops.multiply_bfloat16 : loops.multiply_float32;
      const double operations = loop(100, operands.data(), sums.data());
      double products = 0;
      for (const float sum : sums) products += sum;
      EXPECT_EQ(operations, 2 * products);  // What the sums began with is lost in rounding.
      EXPECT_GT(operations, 100 * 2 * 16);
    }
  }
}

TEST(MachineCeilingsTest, CopyingCopiesAndCountsEachByteOnce) {
  const auto device = device::CreateCpuDevice();
  const device::Buffer memory = std::move(device->AllocateDevice(4 * kMiB)).value();
  std::memset(memory.data(), 7, 2 * kMiB);
  ThreadTeam team(2, "test-");
  EXPECT_EQ(CopyMemory(team, memory), 2.0 * kMiB);
  EXPECT_EQ(std::memcmp(memory.data(), memory.data() + 2 * kMiB, 2 * kMiB), 0);
}

TEST(MachineCeilingsTest, EveryFigureIsThere) {
  const auto device = device::CreateCpuDevice();
  const SteadyClock clock;
  const auto measured = MeasureCeilings(*device, 2, clock, {1, std::chrono::milliseconds(1)});
  ASSERT_TRUE(measured.ok()) << measured.error().message;
  EXPECT_EQ(measured->units, 2);
  for (const device::Rate& rate :
       {measured->memory_read, measured->memory_copy, measured->bfloat16, measured->float32}) {
    EXPECT_GT(rate.one, 1e7);
    EXPECT_GT(rate.all, 1e7);
  }
}

}  // namespace
}  // namespace weft::ops::cpu

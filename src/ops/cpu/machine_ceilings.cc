#include "ops/cpu/machine_ceilings.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "ops/ceilings.h"
#include "ops/cpu/elements.h"

namespace weft::ops::cpu {
namespace {

/// What a task reads or copies: long runs of memory, yet many for each thread.
constexpr Bytes kPiece = 512 * kKiB;
/// Some milliseconds.
constexpr int64_t kRounds = 100'000;

void MeasureWith(ThreadTeam& team, const CeilingLoops& loops, const device::Buffer& memory,
                 const Clock& clock, const RateRuns& runs, double device::Rate::*which,
                 device::Ceilings& into) {
  into.memory_read.*which =
      MedianRate(clock, runs, [&] { return ReadMemory(team, loops, memory); });
  into.memory_copy.*which = MedianRate(clock, runs, [&] { return CopyMemory(team, memory); });
  into.bfloat16.*which =
      MedianRate(clock, runs, [&] { return MultiplyInRegisters(team, loops, DType::kBFloat16); });
  into.float32.*which =
      MedianRate(clock, runs, [&] { return MultiplyInRegisters(team, loops, DType::kFloat32); });
}

}  // namespace

const CeilingLoops& CeilingLoopsFor(Isa isa) {
  return isa == Isa::kAvx2 ? avx2::Loops() : avx512::Loops();
}

Bytes CeilingMemoryBytes() {
  constexpr Bytes kLeast = 256 * kMiB;
  constexpr Bytes kMost = 512 * kMiB;
  const Bytes cache = std::max<Bytes>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
  return std::clamp(2 * cache, kLeast, kMost) / (2 * kPiece) * (2 * kPiece);
}

double ReadMemory(ThreadTeam& team, const CeilingLoops& loops, const device::Buffer& memory) {
  std::atomic<uint32_t> sum{0};
  const auto pieces = static_cast<int32_t>(memory.size() / kPiece);
  team.ParallelFor(pieces, [&](int32_t piece, int) {
    sum.fetch_xor(loops.read(memory.data() + piece * kPiece, kPiece), std::memory_order_relaxed);
  });
  return static_cast<double>(pieces * kPiece);
}

double CopyMemory(ThreadTeam& team, const device::Buffer& memory) {
  const auto pieces = static_cast<int32_t>(memory.size() / 2 / kPiece);
  std::byte* const second = memory.data() + pieces * kPiece;
  team.ParallelFor(pieces, [&](int32_t piece, int) {
    std::memcpy(second + piece * kPiece, memory.data() + piece * kPiece, kPiece);
  });
  return static_cast<double>(pieces * kPiece);
}

double MultiplyInRegisters(ThreadTeam& team, const CeilingLoops& loops, DType dtype) {
  constexpr int32_t kTasksEach = 4;
  const auto loop = dtype == DType::kBFloat16 ? loops.multiply_bfloat16 : loops.multiply_float32;
  std::byte operands[kOperandBytes];
  for (int64_t i = 0; i < kOperandBytes / SizeOf(dtype); ++i)
    StoreElement(dtype, operands, i, 0.01F);
  std::atomic<double> operations{0};
  team.ParallelFor(team.size() * kTasksEach, [&](int32_t, int) {
    float sums[kPanelColumns];
    operations.fetch_add(loop(kRounds, operands, sums), std::memory_order_relaxed);
    WEFT_CHECK(sums[0] > 0);
  });
  return operations.load();
}

}  // namespace weft::ops::cpu

namespace weft::ops {

Result<device::Ceilings> MeasureCeilings(device::Device& device, int threads, const Clock& clock,
                                         const RateRuns& runs) {
  WEFT_CHECK(device.kind() == device::DeviceKind::kCpu);
  cpu::Isa isa;
  if (!cpu::ChooseIsa(&isa))
    return MakeError(ErrorCode::kUnsupported,
                     "this processor has no AVX2 with FMA, which the CPU backend needs");
  const cpu::CeilingLoops& loops = cpu::CeilingLoopsFor(isa);
  WEFT_ASSIGN_OR_RETURN(const device::Buffer memory,
                        device.AllocateDevice(cpu::CeilingMemoryBytes()));
  device::Ceilings ceilings;
  ceilings.device = device.name();
  ceilings.instructions = cpu::IsaName(isa);
  ceilings.units = threads;
  cpu::ThreadTeam one(1, "ceiling-");
  cpu::MeasureWith(one, loops, memory, clock, runs, &device::Rate::one, ceilings);
  cpu::ThreadTeam all(threads, "ceiling-");
  cpu::MeasureWith(all, loops, memory, clock, runs, &device::Rate::all, ceilings);
  return ceilings;
}

}  // namespace weft::ops

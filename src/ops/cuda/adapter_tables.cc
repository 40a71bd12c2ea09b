#include "ops/cuda/adapter_tables.h"

#include <algorithm>

#include "base/check.h"
#include "ops/cuda/transfer_kernels.h"

namespace weft::ops::cuda {
namespace {

/// As many as two steps may use: what gives way to a table of the step at hand is used neither by
/// it nor by the one before, which may still be computed (a group of each is the base model's).
constexpr size_t kTables = 128;
static_assert(kTables >= 2 * (kMaxLoraGroups - 1));
constexpr Bytes kAlignment = 256;

/// The most that a table of these layers and ranks can take: its size goes by its largest module.
Bytes LargestTable(int32_t layers, int32_t max_rank) {
  const std::vector<LoraTile> tiles(RankTileWidths(max_rank).size());
  AdapterTable largest;
  largest.modules.resize(static_cast<size_t>(layers) * kProjectionCount);
  largest.modules.front().tiles = tiles;
  return (LoraTableBytes(largest) + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

Status AdapterTables::Allocate(device::Device& device, int32_t layers, int32_t max_rank) {
  table_bytes_ = LargestTable(layers, max_rank);
  const Bytes bytes = table_bytes_ * static_cast<Bytes>(kTables);
  WEFT_ASSIGN_OR_RETURN(device_memory_, device.AllocateDevice(bytes));
  WEFT_ASSIGN_OR_RETURN(host_memory_, device.AllocateHost(bytes));
  entries_.resize(kTables);
  return OkStatus();
}

const ResidentLora* AdapterTables::Get(const AdapterTable& adapter, cudaStream_t stream) {
  auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& candidate) {
    return candidate.serial == adapter.serial;
  });
  if (entry == entries_.end()) {
    entry = std::min_element(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
      return a.last_step < b.last_step;
    });
    WEFT_CHECK(entry->last_step == 0 || entry->last_step + 1 < step_);
    Upload(adapter, static_cast<size_t>(entry - entries_.begin()), stream);
  }
  entry->last_step = step_;
  return &entry->resident;
}

void AdapterTables::Upload(const AdapterTable& adapter, size_t index, cudaStream_t stream) {
  const Bytes bytes = LoraTableBytes(adapter);
  WEFT_CHECK(bytes <= table_bytes_);
  const Bytes offset = static_cast<Bytes>(index) * table_bytes_;
  WriteLoraTable(adapter, {host_memory_.data() + offset, static_cast<size_t>(bytes)});
  TransferParams transfer;
  transfer.from = host_memory_.data();
  transfer.to = device_memory_.data();
  transfer.pieces = 1;
  transfer.offsets[0] = offset;
  transfer.bytes[0] = bytes;
  LaunchTransfer(transfer, stream);
  entries_[index].serial = adapter.serial;
  entries_[index].resident =
      DescribeLora(adapter, reinterpret_cast<uint64_t>(device_memory_.data() + offset));
}

}  // namespace weft::ops::cuda

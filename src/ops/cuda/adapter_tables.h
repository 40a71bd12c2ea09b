#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "device/device.h"
#include "ops/cuda/lora_step.h"
#include "ops/lora.h"

namespace weft::ops::cuda {

/// Adapters' tables on the GPU, made when a step first names them. Holds a fixed number; the one
/// unused for longest makes room. Owned by the operators, used by their thread.
class AdapterTables {
 public:
  /// Room for tables of `layers` layers and ranks up to `max_rank`.
  Status Allocate(device::Device& device, int32_t layers, int32_t max_rank);

  /// All steps but the one before have completed.
  void BeginStep() { ++step_; }
  /// Where the adapter's table lies; queues its upload when it is not there yet. Valid for the
  /// step.
  const ResidentLora* Get(const AdapterTable& adapter, cudaStream_t stream);

  Bytes device_bytes() const { return device_memory_.size(); }

 private:
  struct Entry {
    uint64_t serial = 0;     ///< AdapterTable's; 0: empty.
    uint64_t last_step = 0;  ///< That used it.
    ResidentLora resident;
  };

  void Upload(const AdapterTable& adapter, size_t index, cudaStream_t stream);

  Bytes table_bytes_ = 0;  ///< Of the largest table.
  device::Buffer device_memory_;
  device::Buffer host_memory_;  ///< The same tables, as they were uploaded.
  std::vector<Entry> entries_;
  uint64_t step_ = 0;
};

}  // namespace weft::ops::cuda

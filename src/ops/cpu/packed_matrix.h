#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "ops/cpu/kernels.h"
#include "ops/cpu/weight_memory.h"
#include "ops/operators.h"

namespace weft::ops::cpu {

/// A weight [out, in] in panels of sixteen rows of it, plain ([in / pair][16][pair], zero where the
/// last panel has no row) or as `kernels` code them. Every row must be set, once, before a product
/// reads it. Panels that cannot be coded are kept on the heap, beside their unused place: without
/// huge pages, and running out of memory there ends the process.
class PackedMatrix final : public Matrix {
 public:
  /// `in` is a multiple of kPanelColumns.
  static Result<std::unique_ptr<Matrix>> Create(WeightMemory& memory, const Kernels& kernels,
                                                DType dtype, int32_t out, int32_t in);

  /// Without panels that cannot be coded.
  static Bytes BytesOf(const Kernels& kernels, int32_t out, int32_t in);

  Bytes bytes() const override;
  void SetRows(int32_t first, int32_t count, std::span<const float> values) override;
  void SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) override;

  int32_t out() const { return out_; }
  int32_t in() const { return in_; }
  int32_t panels() const { return PanelsOf(out_); }
  /// From one panel to the next.
  Bytes panel_bytes() const { return panel_bytes_; }
  const std::byte* Panel(int32_t panel) const { return memory_.data + panel * panel_bytes_; }

 private:
  static int32_t PanelsOf(int32_t out) {
    return static_cast<int32_t>((int64_t{out} + kPanelColumns - 1) / kPanelColumns);
  }

  PackedMatrix(const Kernels& kernels, DType dtype, int32_t out, int32_t in, WeightPiece memory)
      : kernels_(kernels),
        dtype_(dtype),
        out_(out),
        in_(in),
        panel_bytes_(kernels.panel_bytes(in)),
        memory_(std::move(memory)) {}

  /// Rows of 4-byte words, `lanes` of them, become a panel; `plain` has room for one.
  void SetPanel(int32_t panel, const std::byte* rows, int32_t lanes, std::vector<std::byte>& plain);
  void KeepPlain(std::byte* panel, const std::vector<std::byte>& plain);

  const Kernels& kernels_;
  const DType dtype_;
  const int32_t out_;
  const int32_t in_;
  const Bytes panel_bytes_;
  const WeightPiece memory_;
  mutable std::mutex mutex_;
  std::vector<std::vector<std::byte>> plain_panels_;  ///< Of panels that could not be coded.
};

}  // namespace weft::ops::cpu

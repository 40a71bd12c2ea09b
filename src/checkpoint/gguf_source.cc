#include "checkpoint/gguf_source.h"

#include <algorithm>

#include "base/check.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/stored_reads.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

bool IsQueryOrKey(std::string_view name) {
  return name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight") ||
         name.ends_with(".attn_q.bias") || name.ends_with(".attn_k.bias");
}

}  // namespace

GgufSource::GgufSource(std::unique_ptr<File> file, const GgufHeader& header,
                       const ModelConfig& config, bool permuted)
    : file_(std::move(file)), head_dim_(config.head_dim) {
  for (const GgufTensor& tensor : header.tensors) {
    const std::optional<std::string> name = HuggingFaceName(tensor.name);
    if (!name) continue;
    entries_.emplace(*name, Entry{TensorInfo{*name, tensor.type, tensor.shape}, tensor.offset,
                                  permuted && IsQueryOrKey(tensor.name)});
  }
}

const TensorInfo* GgufSource::Find(std::string_view name) const {
  const auto entry = entries_.find(name);
  return entry == entries_.end() ? nullptr : &entry->second.info;
}

std::vector<std::string_view> GgufSource::Names() const {
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

template <typename Element>
Status GgufSource::Read(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                        std::span<Element> into) const {
  const auto found = entries_.find(tensor.name);
  WEFT_CHECK(found != entries_.end() && tensor.shape.size() <= 2);
  const Entry& entry = found->second;
  const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  const int64_t all_rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  WEFT_CHECK(first_row >= 0 && rows >= 0 && first_row + rows <= all_rows);
  WEFT_CHECK(static_cast<int64_t>(into.size()) == rows * columns);
  Status status;
  if (!entry.permuted) {
    status = ReadStored(*file_, tensor.type,
                        entry.offset + StoredBytes(tensor.type, first_row * columns), into);
  } else if (tensor.shape.size() == 2) {
    status = ReadPermuted(entry, columns, first_row, rows, into);
  } else if (rows == 1) {
    status = ReadPermutedBias(entry, into);
  }
  return status.ok() ? status : status.error().WithContext(tensor.name);
}

/// llama.cpp rotates neighbours, Hugging Face the two halves of a head: its row t * head_dim / 2 +
/// j (t = 0, 1) lies at 2 j + t.
int64_t GgufSource::StoredRow(int64_t row) const {
  const int64_t in_head = row % head_dim_;
  const int64_t half = head_dim_ / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

/// Heads are read whole and their rows put in order.
template <typename Element>
Status GgufSource::ReadPermuted(const Entry& entry, int64_t columns, int64_t first_row,
                                int64_t rows, std::span<Element> into) const {
  std::vector<Element> head(static_cast<size_t>(head_dim_ * columns));
  const int64_t end = first_row + rows;
  for (int64_t first = first_row / head_dim_ * head_dim_; first < end; first += head_dim_) {
    WEFT_RETURN_IF_ERROR(ReadStored(*file_, entry.info.type,
                                    entry.offset + StoredBytes(entry.info.type, first * columns),
                                    std::span(head)));
    for (int64_t row = std::max(first, first_row); row < std::min(first + head_dim_, end); ++row) {
      std::copy_n(head.begin() + (StoredRow(row) - first) * columns, columns,
                  into.begin() + (row - first_row) * columns);
    }
  }
  return OkStatus();
}

/// An element of a bias is a row. It is read whole, as a block may hold several heads.
template <typename Element>
Status GgufSource::ReadPermutedBias(const Entry& entry, std::span<Element> into) const {
  std::vector<Element> stored(into.size());
  WEFT_RETURN_IF_ERROR(ReadStored(*file_, entry.info.type, entry.offset, std::span(stored)));
  for (size_t i = 0; i < into.size(); ++i) into[i] = stored[StoredRow(static_cast<int64_t>(i))];
  return OkStatus();
}

template Status GgufSource::Read(const TensorInfo&, int64_t, int64_t, std::span<float>) const;
template Status GgufSource::Read(const TensorInfo&, int64_t, int64_t, std::span<BFloat16>) const;

}  // namespace weft::checkpoint

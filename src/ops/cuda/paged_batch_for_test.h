#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "ops/cuda/attention.h"
#include "ops/cuda/device_bytes_for_test.h"

namespace weft::ops::cuda {

inline float FromBits(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// Nearest bf16 of a number.
inline uint16_t ToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

struct TestSequence {
  int32_t rows = 1;
  int32_t position = 0;
};

/// A step of random queries over random KV in pages scattered over an arena whose every other byte
/// is NaN.
class PagedBatch {
 public:
  static constexpr int32_t kLayers = 2;
  static constexpr int32_t kLayer = 1;

  PagedBatch(const AttentionShape& shape, const std::vector<TestSequence>& sequences, uint32_t seed)
      : shape_(shape), generator_(seed) {
    int32_t pages = 0;
    for (const auto& sequence : sequences)
      pages +=
          (sequence.position + sequence.rows + shape.tokens_per_page - 1) / shape.tokens_per_page;
    page_elements_ = int64_t{shape.tokens_per_page} * shape.kv_heads * shape.head_dim * 2 * kLayers;
    arena_host_.assign(static_cast<size_t>((pages + 1) * page_elements_), 0xffff);
    std::vector<int32_t> order(static_cast<size_t>(pages));
    std::iota(order.begin(), order.end(), 1);
    std::shuffle(order.begin(), order.end(), generator_);
    size_t next = 0;
    for (const auto& sequence : sequences) {
      auto& own = pages_.emplace_back();
      const int32_t tokens = sequence.position + sequence.rows;
      for (int32_t token = 0; token < tokens; token += shape.tokens_per_page)
        own.push_back(PageIndex(order[next++]));
      for (int32_t token = 0; token < tokens; ++token)
        for (int32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head)
          for (const bool v : {false, true})
            std::generate_n(At(own, token, kv_head, v), shape.head_dim, [&] { return Random(); });
      sequences_.push_back({rows_, sequence.rows, sequence.position, own});
      rows_ += sequence.rows;
    }
    for (size_t i = 0; i < pages_.size(); ++i) sequences_[i].pages = pages_[i];
    queries_.resize(static_cast<size_t>(rows_ * row_elements()));
    for (uint16_t& value : queries_) value = Random();
    arena_ = std::make_unique<DeviceBytes>(static_cast<int64_t>(arena_host_.size() * 2));
    arena_->Put(arena_host_);
  }

  const std::vector<AttentionSequence>& sequences() const { return sequences_; }
  int32_t rows() const { return rows_; }
  int32_t row_elements() const { return shape_.heads * shape_.head_dim; }
  const std::vector<uint16_t>& queries() const { return queries_; }
  int32_t pages() const {
    return static_cast<int32_t>(static_cast<int64_t>(arena_host_.size()) / page_elements_);
  }

  AttentionParams Params() const {
    AttentionParams params;
    params.arena = arena_->data();
    params.page_bytes = page_elements_ * 2;
    params.page_count = pages();
    params.k_offset = LayerOffset(false) * 2;
    params.v_offset = LayerOffset(true) * 2;
    return params;
  }

  /// In double, as the definition has it.
  std::vector<double> Reference(const AttentionSequence& sequence, int32_t row,
                                int32_t head) const {
    const int32_t dims = shape_.head_dim;
    const int32_t kv_head = head / (shape_.heads / shape_.kv_heads);
    const int32_t visible = sequence.position + row + 1;
    const uint16_t* query =
        &queries_[static_cast<size_t>((sequence.first_row + row) * row_elements() + head * dims)];
    std::vector<double> scores(static_cast<size_t>(visible));
    double max = -INFINITY;
    for (int32_t token = 0; token < visible; ++token) {
      const uint16_t* key = At(sequence.pages, token, kv_head, false);
      double dot = 0;
      for (int32_t d = 0; d < dims; ++d) dot += double{FromBits(query[d])} * FromBits(key[d]);
      scores[static_cast<size_t>(token)] = dot / std::sqrt(double(dims));
      max = std::max(max, scores[static_cast<size_t>(token)]);
    }
    std::vector<double> out(static_cast<size_t>(dims));
    double sum = 0;
    for (int32_t token = 0; token < visible; ++token) {
      const double weight = std::exp(scores[static_cast<size_t>(token)] - max);
      const uint16_t* value = At(sequence.pages, token, kv_head, true);
      sum += weight;
      for (int32_t d = 0; d < dims; ++d) out[static_cast<size_t>(d)] += weight * FromBits(value[d]);
    }
    for (double& x : out) x /= sum;
    return out;
  }

  /// Compares `out` with the reference, for at most `samples` pairs of row and head of a sequence.
  void ExpectRight(const std::vector<uint16_t>& out, int32_t samples) {
    for (const uint16_t bits : out) ASSERT_FALSE(std::isnan(FromBits(bits)));
    double error = 0;
    double norm = 0;
    for (const auto& sequence : sequences_) {
      for (int32_t i = 0; i < samples; ++i) {
        const auto pick = static_cast<int32_t>(generator_() >> 1);
        const int32_t row = i == 0 ? sequence.rows - 1 : i == 1 ? 0 : pick % sequence.rows;
        const int32_t head = pick / 7 % shape_.heads;
        const auto want = Reference(sequence, row, head);
        double row_error = 0;
        double row_norm = 0;
        for (int32_t d = 0; d < shape_.head_dim; ++d) {
          const double got = FromBits(out[static_cast<size_t>(
              (sequence.first_row + row) * row_elements() + head * shape_.head_dim + d)]);
          const double x = want[static_cast<size_t>(d)];
          row_error += (got - x) * (got - x);
          row_norm += x * x;
        }
        EXPECT_LT(std::sqrt(row_error / row_norm), 1e-2)
            << "row " << row << " of " << sequence.rows << ", head " << head << ", position "
            << sequence.position;
        error += row_error;
        norm += row_norm;
      }
    }
    EXPECT_LT(std::sqrt(error / norm), 4e-3);
  }

 private:
  int64_t LayerOffset(bool v) const {
    return (int64_t{kLayer} * 2 + (v ? 1 : 0)) * shape_.tokens_per_page * shape_.kv_heads *
           shape_.head_dim;
  }
  int64_t Offset(std::span<const PageIndex> pages, int32_t token, int32_t kv_head, bool v) const {
    const int32_t page = pages[static_cast<size_t>(token / shape_.tokens_per_page)].value();
    return page * page_elements_ + LayerOffset(v) +
           (int64_t{kv_head} * shape_.tokens_per_page + token % shape_.tokens_per_page) *
               shape_.head_dim;
  }
  const uint16_t* At(std::span<const PageIndex> pages, int32_t token, int32_t kv_head,
                     bool v) const {
    return &arena_host_[static_cast<size_t>(Offset(pages, token, kv_head, v))];
  }
  uint16_t* At(std::span<const PageIndex> pages, int32_t token, int32_t kv_head, bool v) {
    return &arena_host_[static_cast<size_t>(Offset(pages, token, kv_head, v))];
  }
  uint16_t Random() { return ToBits(distribution_(generator_)); }

  const AttentionShape shape_;
  std::mt19937 generator_;
  std::normal_distribution<float> distribution_{0.0F, 1.0F};
  int32_t rows_ = 0;
  int64_t page_elements_ = 0;
  std::vector<std::vector<PageIndex>> pages_;
  std::vector<AttentionSequence> sequences_;
  std::vector<uint16_t> arena_host_;
  std::vector<uint16_t> queries_;
  std::unique_ptr<DeviceBytes> arena_;
};

}  // namespace weft::ops::cuda

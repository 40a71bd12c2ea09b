#include "sim/hardware.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "adapter/adapter_table.h"
#include "adapter/image_layout.h"

namespace weft::sim {
namespace {

using ::testing::HasSubstr;

ModelConfig Llama8B() {
  ModelConfig config;
  config.vocabulary = 128256;
  config.hidden = 4096;
  config.intermediate = 14336;
  config.layers = 32;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  return config;
}

/// An adapter of rank 128 on every projection.
std::shared_ptr<const ops::AdapterTable> Adapter(const ModelConfig& config) {
  constexpr Bytes kPage = 2 * kMiB;
  std::vector<adapter::ModuleShape> modules;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (const Projection projection : kAllProjections) {
      modules.push_back({LayerIndex(layer), projection, 128, config.InputSize(projection),
                         config.OutputSize(projection), 1.0F});
    }
  }
  const auto layout = adapter::PackImage(std::move(modules), DType::kBFloat16, kPage).value();
  std::vector<std::byte*> pages;
  for (int32_t page = 0; page < layout.pages; ++page)
    pages.push_back(reinterpret_cast<std::byte*>((page + 1) * kPage));
  return std::make_shared<const ops::AdapterTable>(
      adapter::BuildAdapterTable(layout, config, pages));
}

class MeasuredStepTest : public ::testing::Test {
 protected:
  /// `adapters` of them are used, in turn; 0: none.
  void Add(int32_t rows, int32_t position, int adapters) {
    model::SequenceSlice slice;
    slice.rows = rows;
    slice.position = position;
    slice.first_logits_row = rows - 1;
    if (adapters > 0) {
      const auto which = batch_.slices.size() % static_cast<size_t>(adapters);
      while (adapters_.size() <= which) adapters_.push_back(Adapter(config_));
      slice.adapter = adapters_[which];
    }
    batch_.slices.push_back(slice);
  }
  double Milliseconds() const {
    return Seconds(CostOf(batch_, config_, DType::kBFloat16, KnownHardware("h200").value())) * 1e3;
  }

  const ModelConfig config_ = Llama8B();
  std::vector<std::shared_ptr<const ops::AdapterTable>> adapters_;
  model::ForwardBatch batch_;
};

// What docs/performance.md has of an H200, within 3 %; mixed steps within 5 %.

TEST_F(MeasuredStepTest, DecodeOfOne) {
  Add(1, 1024, 0);
  EXPECT_NEAR(Milliseconds(), 4.23, 0.13);
}

TEST_F(MeasuredStepTest, DecodeOf16With8Adapters) {
  for (int i = 0; i < 16; ++i) Add(1, 1024, 8);
  EXPECT_NEAR(Milliseconds(), 6.05, 0.18);
}

TEST_F(MeasuredStepTest, DecodeOf20UnevenOnesWith12Adapters) {
  for (int i = 1; i <= 20; ++i) Add(1, 128 * i, 12);
  EXPECT_NEAR(Milliseconds(), 7.15, 0.21);
}

TEST_F(MeasuredStepTest, PrefillOf2048) {
  Add(2048, 0, 0);
  EXPECT_NEAR(Milliseconds(), 52.2, 1.6);
}

TEST_F(MeasuredStepTest, PrefillsBeside16DecodesWith8Adapters) {
  for (const auto& [rows, measured] : {std::pair(512, 19.85), std::pair(1024, 32.2)}) {
    batch_.slices.clear();
    for (int i = 0; i < 16; ++i) Add(1, 1024, 8);
    Add(rows, 0, 8);
    EXPECT_NEAR(Milliseconds(), measured, measured * 0.05);
  }
}

TEST_F(MeasuredStepTest, PrefillOf2048WithAnAdapter) {
  Add(2048, 0, 1);
  EXPECT_NEAR(Milliseconds(), 58.3, 1.7);
}

constexpr const char* kFile =
    "gpu = false\ndevice-memory-gib = 24\nhost-memory-gib = 24\nmemory-gb-per-second = 30\n"
    "tflops = 0.4\nadapter-tflops = 0.2\ncopy-gb-per-second = 10\nread-gb-per-second = 1\n"
    "step-us = 100\nadapted-prefill-us = 50\n";

TEST(HardwareFile, HasEveryRate) {
  const auto hardware = ParseHardware(kFile, "mine.toml");
  ASSERT_TRUE(hardware.ok()) << hardware.error().message;
  EXPECT_FALSE(hardware->is_gpu);
  EXPECT_EQ(hardware->device_memory, 24 * kGiB);
  EXPECT_EQ(hardware->memory_bytes, 30e9);
  EXPECT_EQ(hardware->operations, 0.4e12);
  EXPECT_EQ(hardware->step, std::chrono::microseconds(100));
}

std::string Complaint(const std::string& toml) {
  const auto hardware = ParseHardware(toml, "mine.toml");
  return hardware.ok() ? "" : hardware.error().message;
}

TEST(HardwareFile, WhatIsWrongIsNamed) {
  const std::string file = kFile;
  EXPECT_THAT(Complaint("gpu"), HasSubstr("mine.toml:1"));
  EXPECT_THAT(Complaint("gpu = true\n"), HasSubstr("'device-memory-gib' is missing"));
  EXPECT_THAT(Complaint(file.substr(file.find('\n'))), HasSubstr("'gpu' is missing"));
  EXPECT_THAT(Complaint(file + "tflop = 3\n"), HasSubstr("known: gpu, device-memory-gib"));
  for (const char* none : {"0", "-1", "nan", "inf", "'1'", "1e300", "1e-300"}) {
    std::string wrong = file;
    wrong.replace(wrong.find("0.4"), 3, none);
    EXPECT_THAT(Complaint(wrong), HasSubstr("'tflops'")) << none;
  }
  EXPECT_THAT(KnownHardware("abacus").error().message, HasSubstr("known: h200"));
}

}  // namespace
}  // namespace weft::sim

#include "cli/engine_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/served_shape.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;

/// Weights of about 14 MiB, KV of 4 KiB a token.
ModelConfig Model() {
  ModelConfig config;
  config.vocabulary = 8192;
  config.hidden = 256;
  config.intermediate = 512;
  config.layers = 4;
  config.heads = 8;
  config.kv_heads = 8;
  config.head_dim = 32;
  config.context_length = 2048;
  return config;
}

MachineMemory Machine(bool is_gpu, Bytes device, Bytes host) {
  return {is_gpu, device, device, host, host};
}

std::string Complaint(const ServeOptions& options, const MachineMemory& memory) {
  const auto sizes = ChooseMemorySizes(options, Model(), 2048, memory);
  return sizes.ok() ? "" : sizes.error().message;
}

TEST(MemorySizesTest, AGpuIsForThePoolAndTheHostForImages) {
  const auto sizes = ChooseMemorySizes({}, Model(), 2048, Machine(true, 4 * kGiB, 64 * kGiB));
  ASSERT_TRUE(sizes.ok()) << sizes.error().message;
  const Bytes weights = PlainWeightBytes(Model(), DType::kBFloat16);
  const Bytes pool = (sizes->page_count - 1) * sizes->kv.page_bytes;
  EXPECT_LE(pool, (4 * kGiB - weights) * 9 / 10);
  EXPECT_GT(pool, (4 * kGiB - weights) * 8 / 10);
  EXPECT_EQ((sizes->host_page_count - 1) * sizes->kv.page_bytes, 512 * kMiB);
}

TEST(MemorySizesTest, FlagsAreTakenAtTheirWord) {
  ServeOptions options;
  options.kv_memory = "64MiB";
  options.lora_host_memory = "32MiB";
  const auto sizes = ChooseMemorySizes(options, Model(), 2048, Machine(false, kGiB, kGiB));
  ASSERT_TRUE(sizes.ok()) << sizes.error().message;
  EXPECT_EQ((sizes->page_count - 1) * sizes->kv.page_bytes, 64 * kMiB);
  EXPECT_EQ((sizes->host_page_count - 1) * sizes->kv.page_bytes, 32 * kMiB);
}

TEST(MemorySizesTest, WhatDoesNotFitIsRefusedWithItsNumbers) {
  EXPECT_THAT(Complaint({}, Machine(true, 8 * kMiB, kGiB)), HasSubstr("nothing is left for KV"));
  ServeOptions options;
  options.kv_memory = "2GiB";
  EXPECT_THAT(Complaint(options, Machine(true, kGiB, kGiB)), HasSubstr("--kv-memory 2 GiB"));
  options.kv_memory = "1GiB";
  EXPECT_THAT(Complaint(options, Machine(false, kGiB, kGiB)),
              HasSubstr("nothing is left for adapters in host memory"));
  options.kv_memory = "1KiB";
  EXPECT_THAT(Complaint(options, Machine(true, kGiB, kGiB)), HasSubstr("fewer than two pages"));
}

TEST(MemorySizesTest, PagesAreAsManyAsCanBeCounted) {
  EXPECT_THAT(Complaint({}, Machine(true, Bytes{1} << 60, kGiB)), HasSubstr("than can be counted"));
}

TEST(ContextLengthTest, IsTheModelsOrLess) {
  ServeOptions options;
  EXPECT_EQ(ContextLengthOf(options, Model()).value(), 2048);
  options.context_length = 100;
  EXPECT_EQ(ContextLengthOf(options, Model()).value(), 100);
  options.context_length = 2049;
  EXPECT_THAT(ContextLengthOf(options, Model()).error().message, HasSubstr("the model's 2048"));
}

TEST(EngineOptionsTest, AdaptersMemoryIsCountedInPagesAndNeverNone) {
  ServeOptions options;
  options.lora_memory = "1KiB";
  const auto sizes = ChooseMemorySizes(options, Model(), 2048, Machine(true, kGiB, kGiB)).value();
  EXPECT_EQ(EngineOptionsOf(options, sizes, 2048, true).limits.adapter_page_limit, 1);
  options.lora_memory = "900GiB";
  EXPECT_EQ(EngineOptionsOf(options, sizes, 2048, true).limits.adapter_page_limit,
            sizes.page_count - 1);
  options.lora_load_policy = "blocking";
  const engine::EngineOptions blocking = EngineOptionsOf(options, sizes, 2048, false);
  EXPECT_FALSE(blocking.limits.takes_turns());
  EXPECT_EQ(blocking.max_steps_in_flight, 1);
}

}  // namespace
}  // namespace weft::cli

#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/device_for_test.h"
#include "model/transformer.h"

// For tests: a transformer with an arena of poisoned pages, and sequences that take pages from it.
namespace weft::model {

/// Which kernels the next transformer of this process takes: the CPU's with an instruction set, or,
/// where tests run on a GPU, its own ("cuda", or "deterministic"). False: not on this device.
inline bool UseKernels(const std::string& name) {
  const bool cuda = name == "cuda" || name == "deterministic";
  if (!cuda) setenv("WEFT_CPU_ISA", name.c_str(), 1);
  return cuda == device::TestsRunOnCuda();
}

inline std::vector<TokenId> RandomTokens(int32_t count, int32_t vocabulary, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>(generator() % static_cast<uint32_t>(vocabulary)));
  return tokens;
}

/// A sequence in the making: its tokens so far, its pages, its adapter.
struct TestSequence {
  std::vector<TokenId> tokens;
  std::vector<PageIndex> pages;
  std::shared_ptr<const ops::AdapterTable> adapter;
  int32_t done = 0;  ///< Tokens whose KV is written.
};

class TestEngine {
 public:
  TestEngine(const ModelConfig& config, const checkpoint::TensorSource* weights,
             TransformerOptions options, int32_t pages = 256)
      : TestEngine(device::CreateDeviceForTest(), config, weights, options, pages) {}
  TestEngine(std::unique_ptr<device::Device> device, const ModelConfig& config,
             const checkpoint::TensorSource* weights, const TransformerOptions& options,
             int32_t pages)
      : device_(std::move(device)) {
    auto created = Transformer::Create(config, weights, *device_, options);
    if (!created.ok()) std::fprintf(stderr, "%s\n", created.error().message.c_str());
    WEFT_CHECK(created.ok());
    transformer_ = std::move(created).value();
    const Bytes bytes = pages * transformer_->kv_layout().page_bytes;
    arena_ = device::AllocatePoisoned(*device_, bytes);
    transformer_->BindPages(arena_.data(), pages);
  }

  Transformer& transformer() { return *transformer_; }

  /// Gives the sequence pages for `tokens` tokens, never neighbours in the arena.
  void Reserve(TestSequence& sequence, int32_t tokens) {
    const int32_t per_page = transformer_->kv_layout().tokens_per_page;
    while (std::ssize(sequence.pages) * per_page < tokens) {
      sequence.pages.emplace_back(next_page_);
      next_page_ += 2;
    }
  }

  /// One step: `rows[i]` more tokens of sequence i. For each of the rows all log-probabilities that
  /// `top` asks for, by row of the step.
  std::vector<ops::SampledToken> Step(const std::vector<TestSequence*>& sequences,
                                      const std::vector<int32_t>& rows, int32_t top) {
    ForwardBatch batch;
    auto params = std::make_shared<ops::SamplingParams>();
    params->temperature = 0.0F;
    for (size_t i = 0; i < sequences.size(); ++i) {
      TestSequence& sequence = *sequences[i];
      Reserve(sequence, sequence.done + rows[i]);
      for (int32_t r = 0; r < rows[i]; ++r) {
        ops::SampleRow sample;
        sample.logits_row = static_cast<int32_t>(batch.tokens.size());
        sample.params = params;
        sample.top_logprobs = top;
        batch.samples.push_back(sample);
        batch.tokens.push_back(sequence.tokens[static_cast<size_t>(sequence.done + r)]);
      }
      batch.slices.push_back({rows[i], sequence.done, sequence.pages, sequence.adapter, 0});
      sequence.done += rows[i];
    }
    return transformer_->Run(batch);
  }

 private:
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<Transformer> transformer_;
  device::Buffer arena_;
  int32_t next_page_ = 1;
};

}  // namespace weft::model

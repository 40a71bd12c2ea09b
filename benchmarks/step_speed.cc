// weft_step_speed MODEL: steps of a real model inside this process, one line of JSON a case.
//
// The cases are those that llama.cpp's llama-bench and llama-batched-bench measure, so that the
// figures can stand side by side: a prompt is computed in steps of at most 512 tokens (their micro
// batch) with logits for its last token alone; a decode step adds a token to every sequence.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "checkpoint/model_files.h"
#include "device/device.h"
#include "model/profile_report.h"
#include "model/step_profiler.h"
#include "model/transformer.h"
#include "ops/ceilings.h"

namespace weft {
namespace {

constexpr int32_t kMicroBatch = 512;
constexpr int32_t kMaxSequences = 8;
constexpr int32_t kMaxContext = 2048;

struct SpeedCase {
  const char* name;
  int32_t sequences;
  int32_t prompt;     ///< Tokens of each sequence's prompt, computed first.
  int32_t generated;  ///< Then so many decode steps.
};

constexpr SpeedCase kCases[] = {{"prefill-512", 1, 512, 0},
                                {"prefill-2048", 1, 2048, 0},
                                {"decode-1", 1, 0, 64},
                                {"batch-8", 8, 128, 32}};

struct CaseTime {
  double prefill = 0;  ///< Seconds.
  double decode = 0;
};

/// A model and its pages. Every sequence has pages of its own for kMaxContext tokens, whose KV is
/// overwritten by each run.
class Machine {
 public:
  static Result<std::unique_ptr<Machine>> Create(const std::string& path, int threads) {
    auto machine = std::unique_ptr<Machine>(new Machine);
    WEFT_ASSIGN_OR_RETURN(checkpoint::ModelFiles files, checkpoint::OpenModel(LocalFiles(), path));
    model::TransformerOptions options;
    options.threads = threads;
    options.max_rows = kMicroBatch;
    WEFT_ASSIGN_OR_RETURN(
        machine->transformer_,
        model::Transformer::Create(files.config, files.tensors.get(), *machine->device_, options));
    const ops::KvLayout& kv = machine->transformer_->kv_layout();
    machine->pages_each_ = (kMaxContext + kv.tokens_per_page - 1) / kv.tokens_per_page;
    const int32_t pages = 1 + kMaxSequences * machine->pages_each_;
    WEFT_ASSIGN_OR_RETURN(machine->arena_, machine->device_->AllocateDevice(pages * kv.page_bytes));
    machine->transformer_->BindPages(machine->arena_.data(), pages);
    return machine;
  }

  /// What runs from now on is timed by operator.
  Status StartProfile(int threads) {
    const SteadyClock clock;
    WEFT_ASSIGN_OR_RETURN(
        device::Ceilings ceilings,
        ops::MeasureCeilings(*device_, threads, clock, {5, std::chrono::milliseconds(20)}));
    profiler_ = std::make_unique<model::StepProfiler>(transformer_->config(), DType::kBFloat16,
                                                      std::move(ceilings), clock_);
    transformer_->SetProfiler(*profiler_);
    return OkStatus();
  }
  std::string Profile() const { return model::ProfileText(profiler_->Read()); }

  CaseTime Run(const SpeedCase& speed_case) {
    const SteadyClock clock;
    const Moment start = clock.Now();
    RunPrompts(speed_case);
    const Moment middle = clock.Now();
    for (int32_t i = 0; i < speed_case.generated; ++i) {
      for (int32_t s = 0; s < speed_case.sequences; ++s) Add(s, speed_case.prompt + i, 1, true);
      Submit();
    }
    return {Seconds(middle - start), Seconds(clock.Now() - middle)};
  }

 private:
  Machine() : device_(device::CreateCpuDevice()), greedy_(std::make_shared<ops::SamplingParams>()) {
    greedy_->temperature = 0.0F;
  }

  /// Prompt after prompt, as many tokens in each step as it may have.
  void RunPrompts(const SpeedCase& speed_case) {
    for (int32_t s = 0; s < speed_case.sequences; ++s) {
      for (int32_t done = 0; done < speed_case.prompt;) {
        const int32_t room = kMicroBatch - static_cast<int32_t>(batch_.tokens.size());
        const int32_t rows = std::min(room, speed_case.prompt - done);
        Add(s, done, rows, done + rows == speed_case.prompt);
        done += rows;
        if (rows == room) Submit();
      }
    }
    Submit();
  }

  /// Puts tokens of a sequence into the next step; with `sample` the last of them is sampled.
  void Add(int32_t sequence, int32_t position, int32_t rows, bool sample) {
    const int32_t vocabulary = transformer_->config().vocabulary;
    const int32_t page_tokens = transformer_->kv_layout().tokens_per_page;
    model::SequenceSlice slice;
    slice.rows = rows;
    slice.position = position;
    slice.first_logits_row = sample ? rows - 1 : rows;
    for (int32_t i = 0; i * page_tokens < position + rows; ++i) {
      slice.pages.push_back(PageIndex(1 + sequence * pages_each_ + i));
    }
    for (int32_t p = position; p < position + rows; ++p) {
      batch_.tokens.push_back((sequence * 7919 + p * 104729) % vocabulary);
    }
    if (sample) {
      ops::SampleRow row;
      row.logits_row = static_cast<int32_t>(batch_.samples.size());
      row.params = greedy_;
      batch_.samples.push_back(row);
    }
    batch_.slices.push_back(std::move(slice));
  }

  void Submit() {
    if (!batch_.tokens.empty()) transformer_->Run(batch_);
    batch_ = {};
  }

  const SteadyClock clock_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<model::StepProfiler> profiler_;
  std::shared_ptr<ops::SamplingParams> greedy_;
  std::unique_ptr<model::Transformer> transformer_;
  device::Buffer arena_;
  int32_t pages_each_ = 0;
  model::ForwardBatch batch_;
};

/// Once to warm up, then `repeat` times; the speeds are those of the mean time, as llama.cpp's.
void Measure(Machine& machine, const SpeedCase& speed_case, int repeat) {
  machine.Run(speed_case);
  CaseTime total;
  for (int i = 0; i < repeat; ++i) {
    const CaseTime once = machine.Run(speed_case);
    total.prefill += once.prefill;
    total.decode += once.decode;
  }
  const auto speed = [&](int32_t tokens, double seconds) {
    return tokens > 0 ? fmt::format("{:.1f}", repeat * speed_case.sequences * tokens / seconds)
                      : std::string("null");
  };
  fmt::print(R"({{"case": "{}", "prefill_tokens_per_s": {}, "decode_tokens_per_s": {}}})"
             "\n",
             speed_case.name, speed(speed_case.prompt, total.prefill),
             speed(speed_case.generated, total.decode));
}

struct SpeedOptions {
  std::string model;
  std::string only;  ///< A case's name; empty: all.
  int threads = 2;
  int repeat = 2;
  bool profile = false;
};

Status MeasureAll(const SpeedOptions& options) {
  WEFT_ASSIGN_OR_RETURN(const auto machine, Machine::Create(options.model, options.threads));
  if (options.profile) WEFT_RETURN_IF_ERROR(machine->StartProfile(options.threads));
  for (const SpeedCase& speed_case : kCases)
    if (options.only.empty() || options.only == speed_case.name)
      Measure(*machine, speed_case, options.repeat);
  if (options.profile) fmt::print(stderr, "{}", machine->Profile());
  return OkStatus();
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  CLI::App app("Speed of a model's steps, without a server");
  weft::SpeedOptions options;
  app.add_option("MODEL", options.model, "A folder in Hugging Face's format or a .gguf file")
      ->required();
  app.add_option("--only", options.only, "Measure the case of this name alone");
  app.add_option("--threads", options.threads, "Compute threads")->check(CLI::PositiveNumber);
  app.add_option("--repeat", options.repeat, "Times each case is measured")
      ->check(CLI::PositiveNumber);
  app.add_flag("--profile", options.profile, "Print each operator's time and share of its ceiling");
  CLI11_PARSE(app, argc, argv);
  const weft::Status status = weft::MeasureAll(options);
  if (status.ok()) return 0;
  fmt::print(stderr, "weft_step_speed: {}\n", status.error().message);
  return 1;
}

#include "ops/cpu/cpu_operators.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ops/cpu/coded_panel.h"
#include "ops/cpu/row_blocks.h"
#include "ops/rope.h"

namespace weft::ops::cpu {
namespace {

constexpr Bytes kLine = 64;
constexpr int32_t kMaxHeadDim = 256;

Bytes RoundUp(Bytes bytes, Bytes to) { return (bytes + to - 1) / to * to; }

/// Elements between rows of activations: whole cache lines, an odd number of them, so that the rows
/// of a tile do not all fall into the same set of the cache.
int64_t OddLines(int64_t elements, DType dtype) {
  const Bytes lines = (elements * SizeOf(dtype) + kLine - 1) / kLine;
  return (lines | 1) * kLine / SizeOf(dtype);
}

Status CheckShape(const ModelConfig& config) {
  if (config.head_dim % kPanelColumns != 0 || config.head_dim > kMaxHeadDim ||
      config.head_dim < kPanelColumns)
    return MakeError(ErrorCode::kUnsupported,
                     "{}: head_dim is {}; the CPU backend takes multiples of {} up to {}",
                     config.name, config.head_dim, kPanelColumns, kMaxHeadDim);
  if (config.hidden % kPanelColumns != 0 || config.intermediate % kPanelColumns != 0)
    return MakeError(ErrorCode::kUnsupported,
                     "{}: hidden size {} and intermediate size {} must be multiples of {}",
                     config.name, config.hidden, config.intermediate, kPanelColumns);
  if (std::max({int64_t{config.hidden}, int64_t{config.intermediate},
                int64_t{config.heads} * config.head_dim}) >= kMostCodedDepth)
    return MakeError(
        ErrorCode::kUnsupported,
        "{}: hidden size {}, intermediate size {} and {} heads of {} must each stay below {}",
        config.name, config.hidden, config.intermediate, config.heads, config.head_dim,
        kMostCodedDepth);
  if (config.kv_heads < 1 || config.heads % config.kv_heads != 0)
    return MakeError(ErrorCode::kUnsupported,
                     "{}: {} attention heads cannot share {} key-value heads evenly", config.name,
                     config.heads, config.kv_heads);
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Operators>> CpuOperators::Create(device::Device& device,
                                                        const ModelConfig& config,
                                                        const OperatorsOptions& options) {
  WEFT_RETURN_IF_ERROR(CheckShape(config));
  Isa isa;
  if (!ChooseIsa(&isa))
    return MakeError(ErrorCode::kUnsupported,
                     "this processor has no AVX2 with FMA, which the CPU backend needs");
  std::unique_ptr<CpuOperators> operators(new CpuOperators(device, config, options, isa));
  WEFT_RETURN_IF_ERROR(operators->Allocate());
  return std::unique_ptr<Operators>(std::move(operators));
}

CpuOperators::CpuOperators(device::Device& device, const ModelConfig& config,
                           const OperatorsOptions& options, Isa isa)
    : device_(device),
      config_(config),
      options_(options),
      kernels_(KernelsFor(isa, options.dtype)),
      packer_(options.dtype),
      weight_memory_(device),
      team_(options.threads, "compute-"),
      adapters_(kernels_, options.dtype, options.max_lora_rank),
      read_ahead_(options.threads),
      rope_frequencies_(RopeFrequencies(config.rope, config.head_dim)) {
  WEFT_CHECK(options.max_rows > 0 && options.max_logits_rows > 0);
  pages_.reserve(static_cast<size_t>(options.max_rows) * 4);
  first_page_.reserve(static_cast<size_t>(options.max_rows));
  targets_.reserve(static_cast<size_t>(options.max_rows));
  attention_.reserve(static_cast<size_t>(options.max_rows));
  attention_order_.reserve(static_cast<size_t>(options.max_rows) *
                           static_cast<size_t>(config.kv_heads));
}

Status CpuOperators::Allocate() {
  const DType dtype = options_.dtype;
  const int64_t rows = options_.max_rows;
  const int64_t query_size = int64_t{config_.heads} * config_.head_dim;
  h_stride_ = OddLines(
      std::max({int64_t{config_.hidden}, query_size, int64_t{config_.intermediate}}), dtype);
  logits_stride_ = RoundUp(config_.vocabulary, kPanelColumns);
  scratch_bytes_ = RoundUp(
      std::max<Bytes>(AttentionScratchBytes(config_.heads / config_.kv_heads, config_.head_dim),
                      kRowBlock * std::max(config_.head_dim, 4 * kPanelColumns) * Bytes{4}),
      kLine);
  const Bytes sizes[] = {
      rows * config_.hidden * 4,        rows * h_stride_ * SizeOf(dtype),
      rows * h_stride_ * SizeOf(dtype), rows * query_size * SizeOf(dtype),
      rows * config_.head_dim * 4,      options_.max_logits_rows * logits_stride_ * 4,
      team_.size() * scratch_bytes_,    adapters_.BufferBytes(options_.max_rows)};
  Bytes total = 0;
  for (const Bytes size : sizes) total += RoundUp(size, kLine);
  WEFT_ASSIGN_OR_RETURN(workspace_, device_.AllocateDevice(total));
  std::byte* next = workspace_.data();
  size_t taken = 0;
  const auto take = [&] {
    std::byte* at = next;
    next += RoundUp(sizes[taken++], kLine);
    return at;
  };
  x_ = reinterpret_cast<float*>(take());
  h_ = take();
  next_h_ = take();
  queries_ = take();
  rope_ = reinterpret_cast<float*>(take());
  logits_ = reinterpret_cast<float*>(take());
  scratch_ = take();
  adapters_.SetBuffer(take());
  sampler_ = std::make_unique<Sampler>(kernels_, config_.vocabulary, team_.size());
  return OkStatus();
}

Bytes CpuOperators::workspace_bytes() const {
  return workspace_.size() + sampler_->workspace_bytes();
}

Result<std::unique_ptr<Matrix>> CpuOperators::CreateMatrix(int32_t out, int32_t in) {
  return PackedMatrix::Create(weight_memory_, kernels_, options_.dtype, out, in);
}

Bytes CpuOperators::MatrixBytes(int32_t out, int32_t in) const {
  return PackedMatrix::BytesOf(kernels_, out, in);
}

void CpuOperators::BindPages(std::byte* arena, int32_t page_count) {
  arena_ = arena;
  page_count_ = page_count;
}

void CpuOperators::BeginStep(const StepRows& step) {
  step_ = step;
  rows_ = static_cast<int32_t>(step.tokens.size());
  WEFT_CHECK(rows_ <= options_.max_rows);
  for (const TokenId token : step.tokens) WEFT_CHECK(token >= 0 && token < config_.vocabulary);
  PlanPages();
  PlanAttention();
  adapters_.BeginStep(step);
  read_ahead_.BeginStep();
  constexpr int32_t kSequencesAtOnce = 8;
  const auto sequences = static_cast<int32_t>(step.sequences.size());
  team_.ParallelFor((sequences + kSequencesAtOnce - 1) / kSequencesAtOnce, [&](int32_t task, int) {
    const int32_t end = std::min(sequences, (task + 1) * kSequencesAtOnce);
    for (int32_t i = task * kSequencesAtOnce; i < end; ++i) {
      const SequenceRows& sequence = step_.sequences[static_cast<size_t>(i)];
      for (int32_t r = 0; r < sequence.rows; ++r)
        RopeRow(rope_frequencies_, sequence.position + r,
                rope_ + int64_t{sequence.first_row + r} * config_.head_dim);
    }
  });
}

void CpuOperators::PlanPages() {
  const int32_t per_page = options_.kv.tokens_per_page;
  pages_.clear();
  first_page_.clear();
  targets_.clear();
  for (const SequenceRows& sequence : step_.sequences) {
    WEFT_CHECK(sequence.first_row == std::ssize(targets_) && sequence.position >= 0);
    const int32_t tokens = sequence.position + sequence.rows;
    const int32_t needed = (tokens + per_page - 1) / per_page;
    WEFT_CHECK(needed <= std::ssize(sequence.pages));
    first_page_.push_back(pages_.size());
    for (int32_t i = 0; i < needed; ++i) {
      const int32_t page = sequence.pages[static_cast<size_t>(i)].value();
      WEFT_CHECK(page >= 0 && page < page_count_);
      pages_.push_back(arena_ + page * options_.kv.page_bytes);
    }
    for (int32_t p = sequence.position; p < tokens; ++p)
      targets_.push_back({arena_ + sequence.pages[static_cast<size_t>(p / per_page)].value() *
                                       options_.kv.page_bytes,
                          p % per_page / kKvGroup, p % kKvGroup});
  }
  WEFT_CHECK(std::ssize(targets_) == rows_);
}

void CpuOperators::PlanAttention() {
  const int32_t group = config_.heads / config_.kv_heads;
  const int32_t block = std::max(1, kAttentionQueries / group);
  attention_.clear();
  for (int32_t s = 0; s < std::ssize(step_.sequences); ++s) {
    const int32_t rows = step_.sequences[static_cast<size_t>(s)].rows;
    for (int32_t first = 0; first < rows; first += block)
      attention_.push_back({s, first, std::min(block, rows - first)});
  }
  const auto cost = [this](const AttentionRows& task) {
    const int64_t end =
        step_.sequences[static_cast<size_t>(task.sequence)].position + task.first + task.rows;
    return end * (task.rows + 4);
  };
  std::stable_sort(attention_.begin(), attention_.end(),
                   [&](const auto& a, const auto& b) { return cost(a) > cost(b); });
  // Dealt out to the threads' ranges in turn, so that these end together.
  const auto tasks = static_cast<int32_t>(attention_.size()) * config_.kv_heads;
  attention_order_.resize(static_cast<size_t>(tasks));
  for (int32_t task = 0, turn = 0; task < tasks; ++turn)
    for (int thread = 0; thread < team_.size(); ++thread) {
      const int32_t at = team_.RangeBegin(tasks, thread) + turn;
      if (at < team_.RangeBegin(tasks, thread + 1))
        attention_order_[static_cast<size_t>(at)] = task++;
    }
}

void CpuOperators::Embed(const Matrix& table) {
  const auto& matrix = static_cast<const PackedMatrix&>(table);
  constexpr int32_t kRows = 8;
  team_.ParallelFor((rows_ + kRows - 1) / kRows, [&](int32_t task, int) {
    for (int32_t row = task * kRows; row < std::min(rows_, (task + 1) * kRows); ++row)
      kernels_.unpack_row(matrix.Panel(0), matrix.panel_bytes(),
                          step_.tokens[static_cast<size_t>(row)], config_.hidden, XRow(row));
  });
}

void CpuOperators::RmsNorm(std::span<const float> weight) {
  WEFT_CHECK(std::ssize(weight) == config_.hidden);
  // A few rows, and no thread waits long for another; one row, and nobody is asked to help.
  constexpr int32_t kRows = 4;
  team_.ParallelForRanges((rows_ + kRows - 1) / kRows, [&](int32_t task, int) {
    for (int32_t row = task * kRows; row < std::min(rows_, (task + 1) * kRows); ++row)
      kernels_.rms_norm(XRow(row), weight.data(), config_.hidden, config_.rms_epsilon, HRow(row));
  });
}

void CpuOperators::Logits(std::span<const int32_t> rows, std::span<const float> norm,
                          const Matrix& head) {
  const auto& matrix = static_cast<const PackedMatrix&>(head);
  const auto count = static_cast<int32_t>(rows.size());
  WEFT_CHECK(count <= options_.max_logits_rows && matrix.out() == config_.vocabulary);
  for (int32_t i = 0; i < count; ++i)
    kernels_.rms_norm(XRow(rows[static_cast<size_t>(i)]), norm.data(), config_.hidden,
                      config_.rms_epsilon, HRow(i));
  constexpr int32_t kPanels = 8;
  const int32_t tasks = (matrix.panels() + kPanels - 1) / kPanels;
  read_ahead_.BeginProduct(
      [&](int thread) { return matrix.Panel(team_.RangeBegin(tasks, thread) * kPanels); });
  team_.ParallelForRanges(tasks, [&](int32_t task, int thread) {
    const bool last = task + 1 == team_.RangeBegin(tasks, thread + 1);
    WeightGemmArgs args;
    args.a = h_;
    args.a_stride = h_stride_;
    args.panels = matrix.Panel(task * kPanels);
    args.panel_bytes = matrix.panel_bytes();
    args.panel_count = std::min(kPanels, matrix.panels() - task * kPanels);
    args.in = matrix.in();
    args.k = matrix.in();
    args.c = logits_ + int64_t{task} * kPanels * kPanelColumns;
    args.c_stride = logits_stride_;
    args.rows = count;
    args.next = last ? read_ahead_.Next(thread) : matrix.Panel((task + 1) * kPanels);
    kernels_.weight_gemm(args);
  });
}

void CpuOperators::Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) {
  WEFT_CHECK(samples.size() == into.size());
  team_.ParallelFor(static_cast<int32_t>(samples.size()), [&](int32_t i, int thread) {
    const SampleRow& sample = samples[static_cast<size_t>(i)];
    into[static_cast<size_t>(i)] = sampler_->Sample(
        {logits_ + sample.logits_row * logits_stride_, static_cast<size_t>(config_.vocabulary)},
        sample, thread);
  });
}

}  // namespace weft::ops::cpu

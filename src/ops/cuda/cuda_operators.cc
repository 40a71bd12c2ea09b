#include "ops/cuda/cuda_operators.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "device/cuda/cuda_error.h"
#include "ops/cuda/decode_attention.h"
#include "ops/cuda/head_kernels.h"
#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/row_kernels.h"
#include "ops/cuda/row_padding.h"
#include "ops/cuda/transfer_kernels.h"
#include "ops/rope.h"

namespace weft::ops::cuda {
namespace {

constexpr int32_t kGranule = 16;  ///< What kernels and cuBLASLt ask of widths.
constexpr int32_t kMaxRank = kMaxLoraTiles * kRankTile;
/// Decode steps of more rows are not recorded: their kernels are long enough to hide launches.
constexpr int32_t kMostGraphRows = 256;
constexpr Bytes kAlignment = 256;

Bytes RoundUp(Bytes bytes, Bytes to) { return (bytes + to - 1) / to * to; }

Status CheckShape(const ModelConfig& config, const OperatorsOptions& options) {
  if (options.dtype != DType::kBFloat16)
    return MakeError(ErrorCode::kUnsupported,
                     "--dtype float32 is served on CPUs only; use bfloat16, or --device cpu");
  if (config.head_dim % kGranule != 0 || !PagedAttention::Serves(config.head_dim))
    return MakeError(ErrorCode::kUnsupported,
                     "{}: head_dim is {}; the CUDA backend takes multiples of {} up to 256",
                     config.name, config.head_dim, kGranule);
  if (config.hidden % kGranule != 0 || config.intermediate % kGranule != 0)
    return MakeError(ErrorCode::kUnsupported,
                     "{}: hidden size {} and intermediate size {} must be multiples of {}",
                     config.name, config.hidden, config.intermediate, kGranule);
  if (config.kv_heads < 1 || config.heads % config.kv_heads != 0)
    return MakeError(ErrorCode::kUnsupported,
                     "{}: {} attention heads cannot share {} key-value heads evenly", config.name,
                     config.heads, config.kv_heads);
  if (options.max_lora_rank > kMaxRank)
    return MakeError(ErrorCode::kUnsupported,
                     "--max-lora-rank {}: the CUDA backend takes ranks up to {}",
                     options.max_lora_rank, kMaxRank);
  if (options.max_adapters >= kMaxLoraGroups)
    return MakeError(ErrorCode::kUnsupported,
                     "--max-loras-per-batch {}: the CUDA backend takes up to {}",
                     options.max_adapters, kMaxLoraGroups - 1);
  return OkStatus();
}

/// Of all matrices that the model will ask for, each at its alignment.
Bytes WeightBytes(const ModelConfig& config, DType dtype) {
  const auto matrix = [dtype](int64_t out, int64_t in) {
    return RoundUp(out * in * SizeOf(dtype), kAlignment);
  };
  Bytes layer = 0;
  for (const Projection projection : kAllProjections)
    layer += matrix(config.OutputSize(projection), config.InputSize(projection));
  const Bytes embedding = matrix(config.vocabulary, config.hidden);
  return layer * config.layers + embedding * (config.tied_embeddings ? 1 : 2);
}

const CudaMatrix& Cuda(const Matrix& matrix) { return static_cast<const CudaMatrix&>(matrix); }

}  // namespace

Result<std::unique_ptr<Operators>> CudaOperators::Create(device::Device& device,
                                                         const ModelConfig& config,
                                                         const OperatorsOptions& options) {
  WEFT_RETURN_IF_ERROR(CheckShape(config, options));
  std::unique_ptr<CudaOperators> operators(new CudaOperators(device, config, options));
  WEFT_RETURN_IF_ERROR(operators->Allocate());
  return std::unique_ptr<Operators>(std::move(operators));
}

CudaOperators::CudaOperators(device::Device& device, const ModelConfig& config,
                             const OperatorsOptions& options)
    : device_(device),
      config_(config),
      options_(options),
      packer_(options.dtype),
      vectors_(device),
      lora_shape_(LoraShapeOf(config)),
      rope_frequencies_(RopeFrequencies(config.rope, config.head_dim)) {
  WEFT_CHECK(options.max_rows > 0 && options.max_logits_rows > 0);
}

CudaOperators::~CudaOperators() {
  if (stream_ == nullptr) return;
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

Status CudaOperators::Allocate() {
  int lowest = 0;
  int highest = 0;
  WEFT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  WEFT_CUDA_CHECK(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest));
  side_stream_.Create(highest);
  WEFT_ASSIGN_OR_RETURN(gemm_,
                        Gemm::Create(device_, {options_.deterministic, options_.measured_folder}));
  WEFT_ASSIGN_OR_RETURN(weight_arena_,
                        WeightArena::Create(device_, WeightBytes(config_, options_.dtype)));
  const Bytes element = SizeOf(options_.dtype);
  WEFT_RETURN_IF_ERROR(PrepareKernels());
  WEFT_RETURN_IF_ERROR(adapter_tables_.Allocate(device_, config_.layers, options_.max_lora_rank));
  const int64_t rows = PaddedRows(options_.max_rows);
  const int64_t query_size = int64_t{config_.heads} * config_.head_dim;
  const int64_t kv_size = int64_t{config_.kv_heads} * config_.head_dim;
  const int64_t h_width =
      std::max({int64_t{config_.hidden}, query_size, int64_t{config_.intermediate}});
  const int64_t wide = std::max(query_size + 2 * kv_size, 2 * int64_t{config_.intermediate});
  logits_stride_ = RoundUp(config_.vocabulary, kGranule);
  const int64_t logits_rows = PaddedRows(options_.max_logits_rows);
  const int64_t lora_floats =
      LoraScratchFloats(lora_shape_, static_cast<int32_t>(rows), options_.max_lora_rank);
  std::byte* x = nullptr;
  std::byte* rope = nullptr;
  std::byte* logits = nullptr;
  std::byte* lora_scratch = nullptr;
  const std::pair<std::byte**, Bytes> parts[] = {{&x, rows * config_.hidden * 4},
                                                 {&h_, rows * h_width * element},
                                                 {&wide_, rows * wide * element},
                                                 {&deltas_, rows * wide * element},
                                                 {&queries_, rows * query_size * element},
                                                 {&rope, rows * config_.head_dim * 4},
                                                 {&logits, logits_rows * logits_stride_ * 4},
                                                 {&attention_scratch_, attention_->scratch_bytes()},
                                                 {&lora_scratch, lora_floats * 4}};
  Bytes total = 0;
  for (const auto& [part, bytes] : parts) total += RoundUp(bytes, kAlignment);
  WEFT_ASSIGN_OR_RETURN(workspace_, device_.AllocateDevice(total));
  std::byte* next = workspace_.data();
  for (const auto& [part, bytes] : parts) {
    *part = next;
    next += RoundUp(bytes, kAlignment);
  }
  x_ = reinterpret_cast<float*>(x);
  rope_ = reinterpret_cast<float*>(rope);
  logits_ = reinterpret_cast<float*>(logits);
  lora_scratch_ = reinterpret_cast<float*>(lora_scratch);
  ReserveMetadata();
  WEFT_RETURN_IF_ERROR(PrepareSampling());
  return metadata_.Allocate(device_);
}

Status CudaOperators::PrepareKernels() {
  WEFT_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0));
  WEFT_CUDA_CHECK(
      cudaDeviceGetAttribute(&shared_limit_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  const AttentionShape shape = {config_.heads, config_.kv_heads, config_.head_dim,
                                options_.kv.tokens_per_page};
  AttentionLimits limits;
  limits.max_rows = PaddedRows(options_.max_rows);
  limits.max_context = config_.context_length;
  limits.max_pages =
      options_.max_sequences * (config_.context_length / options_.kv.tokens_per_page + 1);
  limits.multiprocessors = multiprocessors_;
  WEFT_CUDA_CHECK(FindDecodeRoom(config_.head_dim, &limits.decode_room));
  limits.deterministic = options_.deterministic;
  attention_planner_ = std::make_unique<AttentionPlanner>(shape, limits);
  attention_ = std::make_unique<PagedAttention>(shape, *attention_planner_);
  WEFT_RETURN_IF_ERROR(device::cuda::ToStatus(attention_->Prepare(), "preparing attention"));
  return device::cuda::ToStatus(PrepareLoraKernels(shared_limit_), "preparing the LoRA kernels");
}

/// Tokens, positions, slots and row numbers; an attention plan; and a LoraStep.
static_assert(4 + kMaxSegments + 1 + kLoraOperators * kLoraWorks <= kMostPieces);

void CudaOperators::ReserveMetadata() {
  const Bytes rows = PaddedRows(options_.max_rows);
  constexpr Bytes kInt = sizeof(int32_t);
  tokens_ = metadata_.Reserve(rows * kInt);
  positions_ = metadata_.Reserve(rows * kInt);
  slots_ = metadata_.Reserve(rows * kInt);
  logits_rows_ = metadata_.Reserve(2 * rows * kInt);
  attention_plan_ = metadata_.Reserve(attention_planner_->plan_bytes());
  lora_step_ = metadata_.Reserve(sizeof(LoraStep));
  lora_row_numbers_ = metadata_.Reserve(rows * kInt);
}

Bytes CudaOperators::workspace_bytes() const {
  return workspace_.size() + sample_scratch_.size() + gemm_->workspace_bytes() +
         metadata_.device_bytes() + adapter_tables_.device_bytes();
}

Result<std::unique_ptr<Matrix>> CudaOperators::CreateMatrix(int32_t out, int32_t in) {
  return CudaMatrix::Create(*weight_arena_, options_.dtype, out, in);
}

void CudaOperators::BindPages(std::byte* arena, int32_t page_count) {
  weight_arena_->FinishLoading();
  graphs_.Clear();
  arena_ = arena;
  page_count_ = page_count;
}

std::vector<int32_t> CudaOperators::BeginWarmUp() {
  gemm_->BeginMeasuring(weight_arena_->bytes());
  std::vector<int32_t> all;
  const int32_t most = std::min({options_.max_sequences, options_.max_rows, kMostGraphRows});
  for (int32_t rows = 1; rows <= most; rows = PaddedRows(rows + 1)) all.push_back(rows);
  return all;
}

void CudaOperators::BeginStep(const StepRows& step) {
  WEFT_CHECK(std::ssize(step.tokens) <= options_.max_rows);
  WEFT_CHECK(std::ssize(step.sequences) <= options_.max_sequences);
  rows_ = PaddedRows(static_cast<int32_t>(step.tokens.size()));
  logits_used_ = 0;
  samples_ = 0;
  pending_delta_ = nullptr;
  results_.Begin();
  metadata_.Begin();
  WriteRows(step);
  PlanAdapters(step);
  const bool decode = rows_ <= kMostGraphRows && !lora_plan_.prefill &&
                      std::all_of(step.sequences.begin(), step.sequences.end(),
                                  [](const SequenceRows& sequence) { return sequence.rows == 1; });
  PlanAttention(step, decode);
  metadata_.Upload(stream_);
  results_.MarkBegin(stream_);
  kind_ = {rows_, lora_plan_.any};
  mode_ = decode ? graphs_.Begin(kind_, stream_) : LaunchMode::kEager;
  if (mode_ == LaunchMode::kReplay) {
    if (lora_plan_.any) pending_delta_ = deltas_;  // As ProjectDown of the last layer leaves it.
  } else {
    LaunchRope();
  }
}

void CudaOperators::LaunchRope() {
  RopeRowsParams params;
  params.frequencies = vectors_.Get(rope_frequencies_, stream_);
  params.positions = metadata_.Device<int32_t>(positions_);
  params.rope = rope_;
  params.rows = rows_;
  params.head_dim = config_.head_dim;
  LaunchRopeRows(params, stream_);
}

void CudaOperators::PlanAdapters(const StepRows& step) {
  adapter_tables_.BeginStep();
  lora_rows_.clear();
  for (const SequenceRows& sequence : step.sequences)
    lora_rows_.push_back(
        {sequence.first_row, sequence.rows,
         sequence.adapter == nullptr ? nullptr : adapter_tables_.Get(*sequence.adapter, stream_)});
  LoraStep& lora = metadata_.Host<LoraStep>(lora_step_).front();
  const auto row_numbers = metadata_.Host<int32_t>(lora_row_numbers_).first(step.tokens.size());
  lora_plan_ = BuildLoraStep(lora_shape_, lora_rows_, multiprocessors_, lora, row_numbers);
  if (!lora_plan_.any) return;
  for (const auto& [offset, bytes] : lora_plan_.parts) metadata_.Use(lora_step_, bytes, offset);
  metadata_.Use(lora_row_numbers_, static_cast<Bytes>(row_numbers.size_bytes()));
}

void CudaOperators::PlanAttention(const StepRows& step, bool decode) {
  attention_sequences_.clear();
  for (const SequenceRows& sequence : step.sequences)
    attention_sequences_.push_back(
        {sequence.first_row, sequence.rows, sequence.position, sequence.pages});
  std::byte* plan = metadata_.Host<std::byte>(attention_plan_).data();
  if (decode) {
    attention_planner_->PlanDecode(attention_sequences_, rows_, plan, &attention_launch_);
  } else {
    attention_planner_->Plan(attention_sequences_, plan, &attention_launch_);
  }
  for (const auto& [offset, bytes] : SegmentsOf(plan))
    metadata_.Use(attention_plan_, bytes, offset);
}

void CudaOperators::EndLayers() {
  if (mode_ == LaunchMode::kCapture) graphs_.EndCapture(kind_, stream_);
  mode_ = LaunchMode::kEager;
}

void CudaOperators::WriteRows(const StepRows& step) {
  const int32_t per_page = options_.kv.tokens_per_page;
  const auto tokens = metadata_.Host<int32_t>(tokens_);
  const auto positions = metadata_.Host<int32_t>(positions_);
  const auto slots = metadata_.Host<int32_t>(slots_);
  size_t row = 0;
  for (const SequenceRows& sequence : step.sequences) {
    WEFT_CHECK(static_cast<size_t>(sequence.first_row) == row && sequence.position >= 0);
    const int32_t end = sequence.position + sequence.rows;
    WEFT_CHECK((end + per_page - 1) / per_page <= std::ssize(sequence.pages));
    for (int32_t position = sequence.position; position < end; ++position, ++row) {
      const TokenId token = step.tokens[row];
      const int32_t page = sequence.pages[static_cast<size_t>(position / per_page)].value();
      WEFT_CHECK(token >= -most_samples_ && token < config_.vocabulary);
      WEFT_CHECK(page >= 0 && page < page_count_);
      tokens[row] = token;
      positions[row] = position;
      slots[row] = page * per_page + position % per_page;
    }
  }
  WEFT_CHECK(row == step.tokens.size());
  const auto padded = static_cast<size_t>(rows_);
  std::fill(tokens.begin() + row, tokens.begin() + padded, 0);
  std::fill(positions.begin() + row, positions.begin() + padded, 0);
  std::fill(slots.begin() + row, slots.begin() + padded, 0);
  const Bytes bytes = Bytes{rows_} * Bytes{sizeof(int32_t)};
  for (const MetadataSection section : {tokens_, positions_, slots_}) metadata_.Use(section, bytes);
}

void CudaOperators::Embed(const Matrix& table) {
  if (mode_ == LaunchMode::kReplay) return;
  EmbedParams params;
  params.dtype = options_.dtype;
  params.table = Cuda(table).data();
  params.tokens = metadata_.Device<int32_t>(tokens_);
  params.chosen = reinterpret_cast<const int32_t*>(chosen_.data());
  params.x = x_;
  params.rows = rows_;
  params.width = config_.hidden;
  LaunchEmbed(params, stream_);
}

void CudaOperators::RmsNorm(std::span<const float> weight) {
  if (mode_ == LaunchMode::kReplay) return;
  WEFT_CHECK(std::ssize(weight) == config_.hidden);
  RmsNormParams params;
  params.dtype = options_.dtype;
  params.x = x_;
  params.delta = std::exchange(pending_delta_, nullptr);
  params.keep_sum = true;
  params.weight = vectors_.Get(weight, stream_);
  params.out = h_;
  params.rows = rows_;
  params.width = config_.hidden;
  params.epsilon = config_.rms_epsilon;
  LaunchRmsNorm(params, stream_);
  h_width_ = config_.hidden;
}

void CudaOperators::Logits(std::span<const int32_t> rows, std::span<const float> norm,
                           const Matrix& head) {
  EndLayers();
  const CudaMatrix& matrix = Cuda(head);
  const auto count = static_cast<int32_t>(rows.size());
  const int32_t padded = PaddedRows(count);
  WEFT_CHECK(count <= options_.max_logits_rows && matrix.out() == config_.vocabulary);
  const auto sources = metadata_.Host<int32_t>(logits_rows_)
                           .subspan(static_cast<size_t>(logits_used_), static_cast<size_t>(padded));
  std::copy(rows.begin(), rows.end(), sources.begin());
  std::fill(sources.begin() + count, sources.end(), 0);
  RmsNormParams params;
  params.source_rows = metadata_.Device<int32_t>(logits_rows_) + logits_used_;
  logits_used_ += padded;
  metadata_.Use(logits_rows_, logits_used_ * Bytes{sizeof(int32_t)});
  metadata_.Upload(stream_);
  params.dtype = options_.dtype;
  params.x = x_;
  params.delta = pending_delta_;
  params.weight = vectors_.Get(norm, stream_);
  params.out = h_;
  params.rows = padded;
  params.width = config_.hidden;
  params.epsilon = config_.rms_epsilon;
  LaunchRmsNorm(params, stream_);
  GemmParams product;
  product.dtype = options_.dtype;
  product.out_dtype = DType::kFloat32;
  product.weight = matrix.data();
  product.h = h_;
  product.d = logits_;
  product.rows = padded;
  product.out = matrix.out();
  product.in = matrix.in();
  product.h_stride = config_.hidden;
  product.d_stride = logits_stride_;
  gemm_->Launch(product, stream_);
}

void CudaOperators::FinishStep() {
  EndLayers();
  results_.End(stream_);
}

}  // namespace weft::ops::cuda

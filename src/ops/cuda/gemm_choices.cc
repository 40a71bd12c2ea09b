#include "ops/cuda/gemm_choices.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <sstream>

#include "base/file.h"

namespace weft::ops::cuda {
namespace {

constexpr std::string_view kFormat = "weft gemm choices 4";
constexpr Bytes kMostBytes = 4 * kMiB;  ///< Some ten thousand choices.
constexpr size_t kShapeNumbers = 8;

std::string Head(const GemmMachine& machine) {
  return fmt::format("{}\ngpu {}\ncublaslt {}\n", kFormat, machine.gpu, machine.cublaslt);
}

std::string Line(const GemmShape& shape, const GemmAlgorithm& algorithm) {
  std::string line = fmt::format("{} {} {} {} {} {} {} {}", static_cast<int>(shape.dtype),
                                 static_cast<int>(shape.out_dtype), shape.add ? 1 : 0, shape.rows,
                                 shape.out, shape.in, shape.h_stride, shape.d_stride);
  for (const uint64_t word : algorithm) line += fmt::format(" {:016x}", word);
  return line + '\n';
}

/// The next word of a line, as a number.
template <typename Number>
bool Take(std::string_view& line, int base, Number* number) {
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), *number, base);
  if (error != std::errc()) return false;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  return true;
}

/// Whether a number of a line is a type that products have.
bool IsDType(int64_t number) {
  return number == static_cast<int64_t>(DType::kBFloat16) ||
         number == static_cast<int64_t>(DType::kFloat32);
}

bool ParseLine(std::string_view line, GemmShape* shape, GemmAlgorithm* algorithm) {
  const std::string_view whole = line;
  std::array<int64_t, kShapeNumbers> numbers = {};
  for (int64_t& number : numbers)
    if (!Take(line, 10, &number)) return false;
  for (uint64_t& word : *algorithm)
    if (!Take(line, 16, &word)) return false;
  if (!IsDType(numbers[0]) || !IsDType(numbers[1])) return false;
  *shape = {static_cast<DType>(numbers[0]),
            static_cast<DType>(numbers[1]),
            numbers[2] != 0,
            static_cast<int32_t>(numbers[3]),
            static_cast<int32_t>(numbers[4]),
            static_cast<int32_t>(numbers[5]),
            numbers[6],
            numbers[7]};
  // Written again it must be the same: no number was too large, nothing follows.
  const std::string again = Line(*shape, *algorithm);
  return std::string_view(again).substr(0, again.size() - 1) == whole;
}

}  // namespace

std::string GemmMachine::FileName() const {
  std::string name;
  for (const char c : gpu) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  return fmt::format("gemm-{}-{}.txt", name, cublaslt);
}

std::string FormatGemmChoices(const GemmMachine& machine, const GemmChoices& choices) {
  std::string text = Head(machine);
  for (const auto& [shape, algorithm] : choices) text += Line(shape, algorithm);
  return text + fmt::format("end {}\n", choices.size());
}

Result<GemmChoices> ParseGemmChoices(std::string_view text, const GemmMachine& machine) {
  const std::string head = Head(machine);
  if (text.substr(0, head.size()) != head)
    return MakeError(ErrorCode::kInvalidArgument,
                     "was not written for {} with cuBLASLt {}, or not by this version of Weft",
                     machine.gpu, machine.cublaslt);
  text.remove_prefix(head.size());
  GemmChoices choices;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (end != std::string_view::npos && line == fmt::format("end {}", choices.size()) &&
        end + 1 == text.size())
      return choices;
    GemmShape shape;
    GemmAlgorithm algorithm = {};
    if (end == std::string_view::npos || !ParseLine(line, &shape, &algorithm) ||
        !choices.emplace(shape, algorithm).second)
      return MakeError(ErrorCode::kInvalidArgument, "is damaged: its choice {} cannot be read",
                       choices.size() + 1);
    text.remove_prefix(end + 1);
  }
  return MakeError(ErrorCode::kInvalidArgument, "is cut off after {} choices", choices.size());
}

Result<GemmChoices> ReadGemmChoices(const std::string& path, const GemmMachine& machine) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return GemmChoices();
  WEFT_ASSIGN_OR_RETURN(const std::string text, LocalFiles().ReadText(path, kMostBytes));
  auto choices = ParseGemmChoices(text, machine);
  if (!choices.ok()) return choices.error().WithContext(path);
  return choices;
}

Status WriteGemmChoices(const std::string& path, const GemmMachine& machine,
                        const GemmChoices& choices) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return MakeError(ErrorCode::kIo, "{}: {}", path, error.message());
  const std::string fresh = fmt::format("{}.{}", path, getpid());
  {
    std::ofstream file(fresh, std::ios::binary);
    file << FormatGemmChoices(machine, choices);
    file.close();
    if (!file) return MakeError(ErrorCode::kIo, "{}: cannot be written", fresh);
  }
  std::filesystem::rename(fresh, path, error);
  if (error) return MakeError(ErrorCode::kIo, "{}: {}", path, error.message());
  return OkStatus();
}

}  // namespace weft::ops::cuda

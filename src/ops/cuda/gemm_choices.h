#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/dtype.h"
#include "base/result.h"

namespace weft::ops::cuda {

/// Everything that the speed of a product's algorithm depends on; see GemmParams.
struct GemmShape {
  DType dtype = DType::kBFloat16;
  DType out_dtype = DType::kBFloat16;
  bool add = false;
  int32_t rows = 0;
  int32_t out = 0;
  int32_t in = 0;
  int64_t h_stride = 0;
  int64_t d_stride = 0;
  auto operator<=>(const GemmShape&) const = default;
};

/// A cublasLtMatmulAlgo_t, which means the same to the same version of the library alone.
using GemmAlgorithm = std::array<uint64_t, 8>;
using GemmChoices = std::map<GemmShape, GemmAlgorithm>;

/// What choices were measured with and are good for.
struct GemmMachine {
  std::string gpu;
  uint64_t cublaslt = 0;  ///< cublasLtGetVersion()
  /// The name of a file that belongs to it.
  std::string FileName() const;
};

/// Lines of text: a head that says what the choices are good for, one for each choice, and their
/// number, so that half a file is no file.
std::string FormatGemmChoices(const GemmMachine& machine, const GemmChoices& choices);
/// Errors: another format or machine, or a line that is not as Format writes it.
Result<GemmChoices> ParseGemmChoices(std::string_view text, const GemmMachine& machine);

/// The file's choices; none when there is no file. Errors as Parse's, naming the file.
Result<GemmChoices> ReadGemmChoices(const std::string& path, const GemmMachine& machine);
/// Makes the folder; puts the file in place at once.
Status WriteGemmChoices(const std::string& path, const GemmMachine& machine,
                        const GemmChoices& choices);

}  // namespace weft::ops::cuda

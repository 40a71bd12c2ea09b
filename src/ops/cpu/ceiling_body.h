// The loops behind the machine's ceilings. Included once for each instruction set, inside that
// set's namespace.

/// Four places at once, because one stream alone does not keep memory busy.
inline uint32_t ReadMemory(const std::byte* memory, Bytes bytes) {
  constexpr int kStreams = 4;
  constexpr Bytes kLine = 64;
  constexpr Bytes kAhead = 1024;
  const Bytes stream = bytes / kStreams;
  Words sums[kStreams] = {SetWords(0), SetWords(0), SetWords(0), SetWords(0)};
  for (Bytes at = 0; at < stream; at += kLine) {
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) {
      const std::byte* line = memory + s * stream + at;
      __builtin_prefetch(line + kAhead, 0, 2);
      sums[s] = Xor(sums[s], LoadWords(reinterpret_cast<const uint32_t*>(line)));
    }
  }
  uint32_t lanes[kPanelColumns];
  StoreWords(lanes, Xor(Xor(sums[0], sums[1]), Xor(sums[2], sums[3])));
  uint32_t sum = 0;
  for (const uint32_t lane : lanes) sum ^= lane;
  return sum;
}

/// As many sums as the matrix product's tile has, so that no sum waits for itself. Each begins
/// elsewhere, a little beside zero, lest the compiler make one of them all.
template <class E>
inline double MultiplyAdd(int64_t rounds, const void* operands, float* out) {
  const auto* values = static_cast<const typename E::Type*>(operands);
  static_assert(kPanelColumns * E::kPair * E::kTilePanels * sizeof(*values) <= kOperandBytes);
  Vec sums[E::kTileRows][E::kTilePanels];
  typename E::Column columns[E::kTilePanels];
#pragma GCC unroll 4
  for (int p = 0; p < E::kTilePanels; ++p) {
    columns[p] = E::LoadColumn(values + p * kPanelColumns * E::kPair);
#pragma GCC unroll 16
    for (int r = 0; r < E::kTileRows; ++r)
      sums[r][p] = Set(1e-20F * static_cast<float>(1 + r * E::kTilePanels + p));
  }
  const typename E::Broadcast value = E::Spread(values);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int r = 0; r < E::kTileRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < E::kTilePanels; ++p) {
        sums[r][p] = E::Dot(sums[r][p], value, columns[p]);
      }
    }
  }
  Vec sum = Zero();
  for (int r = 0; r < E::kTileRows; ++r)
    for (int p = 0; p < E::kTilePanels; ++p) sum = Add(sum, sums[r][p]);
  Store(out, sum);
  constexpr double kEachRound = 2.0 * kPanelColumns * E::kPair * E::kTileRows * E::kTilePanels;
  return kEachRound * static_cast<double>(rounds);
}

inline constexpr CeilingLoops kLoops = {
    .read = ReadMemory,
    .multiply_bfloat16 = MultiplyAdd<BFloat16Element>,
    .multiply_float32 = MultiplyAdd<Float32Element>,
};

const CeilingLoops& Loops() { return kLoops; }

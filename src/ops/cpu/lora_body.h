// The shrinking half of a LoRA: x * A^T for one rank tile. (The expanding half is a matrix product
// that accumulates, gemm_body.h.) Included once for each instruction set, inside that set's
// namespace.

/// A row's sum runs in this many interleaved chains, joined at the end: with sixteen columns in
/// all, one chain would wait for the latency of every multiplication.
inline constexpr int kShrinkChains = 4;
template <class E, int kRows, bool kHalf>
inline void ShrinkTile(const ShrinkArgs& s, int32_t row, const typename E::Type* ahead) {
  const auto* x = static_cast<const typename E::Type*>(s.x) + row * s.x_stride;
  const auto* tile = static_cast<const typename E::Type*>(s.tile);
  const int32_t step = s.width * E::kPair;
  Vec acc[kRows][kShrinkChains];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < kShrinkChains; ++c) acc[r][c] = Zero();
  int32_t k = 0;
  const auto column = [](const typename E::Type* p) {
    if constexpr (kHalf) return E::LoadHalfColumn(p);
    return E::LoadColumn(p);
  };
  for (; k + kShrinkChains * E::kPair <= s.in; k += kShrinkChains * E::kPair) {
#pragma GCC unroll 4
    for (int c = 0; c < kShrinkChains; ++c) {
      const typename E::Column weights = column(tile);
      __builtin_prefetch(ahead, 0, 2);
      tile += step;
      ahead += step;
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        acc[r][c] = E::Dot(acc[r][c], E::Spread(x + r * s.x_stride + k + c * E::kPair), weights);
    }
  }
  for (; k < s.in; k += E::kPair, tile += step)
    for (int r = 0; r < kRows; ++r)
      acc[r][0] = E::Dot(acc[r][0], E::Spread(x + r * s.x_stride + k), column(tile));
  for (int r = 0; r < kRows; ++r) {
    const Vec sum = Add(Add(acc[r][0], acc[r][1]), Add(acc[r][2], acc[r][3]));
    typename E::Type rounded[kPanelColumns];
    E::StoreRounded(rounded, Mul(sum, Set(s.scaling)));
    __builtin_memcpy(static_cast<typename E::Type*>(s.out) + (row + r) * s.out_stride, rounded,
                     static_cast<size_t>(s.width) * sizeof(typename E::Type));
  }
}

template <class E, bool kHalf>
inline void ShrinkRows(const ShrinkArgs& s) {
  const auto* tile = static_cast<const typename E::Type*>(s.tile);
  const auto* next = s.next == nullptr ? tile : static_cast<const typename E::Type*>(s.next);
  int32_t row = 0;
  for (; row + E::kShrinkRows <= s.rows; row += E::kShrinkRows)
    ShrinkTile<E, E::kShrinkRows, kHalf>(s, row, row == 0 ? next : tile);
  for (; row < s.rows; ++row) ShrinkTile<E, 1, kHalf>(s, row, row == 0 ? next : tile);
}

template <class E>
void Shrink(const ShrinkArgs& s) {
  if (s.width == kPanelColumns)
    ShrinkRows<E, false>(s);
  else
    ShrinkRows<E, true>(s);
}

// Matrix products over panels of sixteen columns. Included once for each instruction set, inside
// that set's namespace.

/// The first rows of a call find the weights in memory, and fetch what comes after them while they
/// use these: the call's next panels, or what the caller says comes next. Later rows find them in
/// L2 and fetch this many elements ahead.
inline constexpr int64_t kPrefetchAhead = 1024;

template <class E, int kRows, int kPanels>
inline void GemmTile(const typename E::Type* a, int64_t a_stride, const typename E::Type* b,
                     int64_t b_stride, int32_t k, float* c, int64_t c_stride, bool accumulate,
                     const typename E::Type* ahead) {
  Vec acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      acc[r][p] = accumulate ? Load(c + r * c_stride + p * kPanelColumns) : Zero();
  }
  constexpr int kColumnStep = kPanelColumns * E::kPair;
  for (int32_t step = 0; step < k; step += E::kPair) {
    typename E::Column column[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      column[p] = E::LoadColumn(b + p * b_stride);
      __builtin_prefetch(ahead + p * b_stride, 0, 2);
    }
    b += kColumnStep;
    ahead += kColumnStep;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename E::Broadcast value = E::Spread(a + r * a_stride + step);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) acc[r][p] = E::Dot(acc[r][p], value, column[p]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) Store(c + r * c_stride + p * kPanelColumns, acc[r][p]);
  }
}

/// The next smaller tile for the rows that are left over.
constexpr int SmallerTile(int rows) { return rows > 8 ? 8 : rows > 4 ? 4 : rows - 1; }

/// All rows against kPanels panels; the last rows, fewer than a full tile, by a smaller one.
template <class E, int kPanels, int kRows>
inline void GemmRows(const GemmArgs& g, const typename E::Type* b, const typename E::Type* next,
                     float* c, int32_t row) {
  const auto* a = static_cast<const typename E::Type*>(g.a);
  for (; row + kRows <= g.rows; row += kRows) {
    GemmTile<E, kRows, kPanels>(a + row * g.a_stride, g.a_stride, b, g.b_stride, g.k,
                                c + row * g.c_stride, g.c_stride, g.accumulate,
                                row == 0 ? next : b + kPrefetchAhead);
  }
  if constexpr (kRows > 1) {
    if (row < g.rows) GemmRows<E, kPanels, SmallerTile(kRows)>(g, b, next, c, row);
  }
}

/// What comes after panels [panel, panel + panels) of a call.
template <class E>
inline const typename E::Type* NextPanels(const GemmArgs& g, int32_t panel, int32_t panels) {
  const auto* b = static_cast<const typename E::Type*>(g.b) + panel * g.b_stride;
  if (panel + panels < g.panels) return b + panels * g.b_stride;
  return g.next != nullptr ? static_cast<const typename E::Type*>(g.next) : b;
}

template <class E>
void Gemm(const GemmArgs& g) {
  const auto* b = static_cast<const typename E::Type*>(g.b);
  int32_t panel = 0;
  for (; panel + E::kTilePanels <= g.panels; panel += E::kTilePanels)
    GemmRows<E, E::kTilePanels, E::kTileRows>(g, b + panel * g.b_stride,
                                              NextPanels<E>(g, panel, E::kTilePanels),
                                              g.c + panel * kPanelColumns, 0);
  for (; panel < g.panels; ++panel)
    GemmRows<E, 1, E::kTileRows>(g, b + panel * g.b_stride, NextPanels<E>(g, panel, 1),
                                 g.c + panel * kPanelColumns, 0);
}

/// A matrix whose panels are plain.
template <class E>
Bytes PlainPanelBytes(int32_t in) {
  return Bytes{in} * kPanelColumns * static_cast<Bytes>(sizeof(typename E::Type));
}

template <class E>
void PlainWeightGemm(const WeightGemmArgs& g) {
  constexpr Bytes kElement = sizeof(typename E::Type);
  const Bytes into_panel = Bytes{g.first_k} * kPanelColumns * kElement;
  GemmArgs args;
  args.a = g.a;
  args.a_stride = g.a_stride;
  args.b = g.panels + into_panel;
  args.b_stride = g.panel_bytes / kElement;
  args.k = g.k;
  args.c = g.c;
  args.c_stride = g.c_stride;
  args.rows = g.rows;
  args.panels = g.panel_count;
  args.accumulate = g.accumulate;
  args.next = g.next == nullptr ? nullptr : g.next + into_panel;
  Gemm<E>(args);
}

// Causal attention over paged K and V with an online softmax in fixed blocks (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao, "FlashAttention-2", 2023).
// Included once for each instruction set, inside that set's namespace.

inline constexpr int32_t kBlockGroups = kAttentionBlock / kPanelColumns;
inline constexpr float kMinusInfinity = -__builtin_inff();

/// Where a task keeps what it carries from block to block.
template <class E>
struct AttentionState {
  int32_t queries = 0;                  ///< rows * group
  float* scores = nullptr;              ///< [queries][64]
  typename E::Type* weights = nullptr;  ///< [queries][64]: exp(score - max)
  float* sums = nullptr;                ///< [queries][head_dim]: weights * V so far
  float* totals = nullptr;              ///< [queries][16]: weights so far, by lane
  float* maxima = nullptr;              ///< [queries]
  float* corrections = nullptr;         ///< [queries]: exp(old max - new max)
  typename E::Type* tail = nullptr;     ///< A copy of V whose last tokens were never written.
};

template <class E>
inline AttentionState<E> LayOutState(const AttentionArgs& args) {
  AttentionState<E> state;
  state.queries = args.rows * args.group;
  auto* next = reinterpret_cast<float*>(args.scratch);
  const auto take = [&next](int64_t floats) {
    float* at = next;
    next += (floats + 15) / 16 * 16;
    return at;
  };
  const int64_t queries = state.queries;
  state.scores = take(queries * kAttentionBlock);
  state.weights = reinterpret_cast<typename E::Type*>(take(queries * kAttentionBlock));
  state.sums = take(queries * args.head_dim);
  state.totals = take(queries * kPanelColumns);
  state.maxima = take(queries);
  state.corrections = take(queries);
  state.tail = reinterpret_cast<typename E::Type*>(take(int64_t{kPanelColumns} * args.head_dim));
  for (int64_t i = 0; i < queries * args.head_dim; i += 16) Store(state.sums + i, Zero());
  for (int64_t i = 0; i < queries; ++i) {
    Store(state.totals + i * kPanelColumns, Zero());
    state.maxima[i] = kMinusInfinity;
  }
  return state;
}

/// The K or V of group `group` of the sequence.
inline const std::byte* GroupAt(const AttentionArgs& args, int32_t group, int64_t offset) {
  return args.pages[group / args.groups_per_page] + offset +
         group % args.groups_per_page * args.group_bytes;
}

/// scores = queries * K for kPanels groups, wherever their K lies.
template <class E, int kRows, int kPanels>
inline void ScoreTile(const AttentionArgs& args, int32_t query, const typename E::Type* const* keys,
                      float* scores) {
  const auto* q = static_cast<const typename E::Type*>(args.queries) + query * args.head_dim;
  Vec acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) acc[r][p] = Zero();
  for (int32_t d = 0; d < args.head_dim; d += E::kPair) {
    typename E::Column column[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) column[p] = E::LoadColumn(keys[p] + d * kPanelColumns);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename E::Broadcast value = E::Spread(q + r * args.head_dim + d);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) acc[r][p] = E::Dot(acc[r][p], value, column[p]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      Store(scores + (query + r) * kAttentionBlock + p * kPanelColumns, acc[r][p]);
}

template <class E, int kPanels, int kRows>
inline void ScoreRows(const AttentionArgs& args, const AttentionState<E>& state, int32_t query,
                      const typename E::Type* const* keys, float* scores) {
  for (; query + kRows <= state.queries; query += kRows)
    ScoreTile<E, kRows, kPanels>(args, query, keys, scores);
  if constexpr (kRows > 1) {
    if (query < state.queries)
      ScoreRows<E, kPanels, SmallerTile(kRows)>(args, state, query, keys, scores);
  }
}

/// Scores of `groups` groups from `first` on, kPanels at a time as long as there are so many.
template <class E, int kPanels, int kRows>
inline int32_t ScoreGroups(const AttentionArgs& args, const AttentionState<E>& state,
                           const typename E::Type* const* keys, int32_t first, int32_t groups) {
  for (; first + kPanels <= groups; first += kPanels)
    ScoreRows<E, kPanels, kRows>(args, state, 0, keys + first,
                                 state.scores + first * kPanelColumns);
  return first;
}

template <class E>
inline void ScoreBlock(const AttentionArgs& args, const AttentionState<E>& state, int32_t first,
                       int32_t groups) {
  const typename E::Type* keys[kBlockGroups];
  for (int32_t g = 0; g < groups; ++g)
    keys[g] = reinterpret_cast<const typename E::Type*>(GroupAt(args, first + g, args.k_offset));
  int32_t done = 0;
  if (state.queries <= E::kFewRows) {
    // A decode: many short chains side by side, or the latency of each multiplication would show.
    done = ScoreGroups<E, E::kFewPanels, E::kFewRows>(args, state, keys, done, groups);
  } else {
    done = ScoreGroups<E, E::kTilePanels, E::kTileRows>(args, state, keys, done, groups);
  }
  ScoreGroups<E, 1, E::kTileRows>(args, state, keys, done, groups);
}

/// Turns a query's scores of a block into weights. Its first `visible` tokens count.
template <class E>
inline void SoftmaxRow(const AttentionArgs& args, const AttentionState<E>& state, int32_t query,
                       int32_t groups, int32_t visible) {
  const float* scores = state.scores + query * kAttentionBlock;
  typename E::Type* weights = state.weights + query * kAttentionBlock;
  const Vec scale = Set(args.scale);
  Vec score[kBlockGroups];
  Vec largest = Set(kMinusInfinity);
  for (int32_t g = 0; g < groups; ++g) {
    score[g] = KeepFirst(Mul(Load(scores + g * kPanelColumns), scale), visible - g * kPanelColumns,
                         kMinusInfinity);
    largest = Max(largest, score[g]);
  }
  const float old_max = state.maxima[query];
  const float block_max = MaxLanes(largest);
  const float new_max = block_max > old_max ? block_max : old_max;
  float correction = 1.0F;
  if (new_max > old_max) {
    float lanes[kPanelColumns];
    Store(lanes, Exp(Set(old_max - new_max)));
    correction = lanes[0];
  }
  float* totals = state.totals + query * kPanelColumns;
  Vec total = Mul(Load(totals), Set(correction));
  for (int32_t g = 0; g < groups; ++g) {
    const Vec weight =
        KeepFirst(Exp(Sub(score[g], Set(new_max))), visible - g * kPanelColumns, 0.0F);
    total = Add(total, weight);
    E::StoreRounded(weights + g * kPanelColumns, weight);
  }
  Store(totals, total);
  state.maxima[query] = new_max;
  state.corrections[query] = correction;
}

template <class E, int kRows, int kPanels>
inline void ValueTile(const AttentionState<E>& state, int32_t head_dim, int32_t query,
                      int32_t panel, const typename E::Type* const* values, int32_t groups) {
  float* sums = state.sums + int64_t{query} * head_dim + panel * kPanelColumns;
  Vec acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const Vec correction = Set(state.corrections[query + r]);
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      acc[r][p] = Mul(Load(sums + r * head_dim + p * kPanelColumns), correction);
  }
  for (int32_t g = 0; g < groups; ++g) {
    const typename E::Type* v = values[g] + panel * kPanelColumns * kPanelColumns;
    const typename E::Type* w = state.weights + query * kAttentionBlock + g * kPanelColumns;
    for (int32_t t = 0; t < kPanelColumns; t += E::kPair) {
      typename E::Column column[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        column[p] = E::LoadColumn(v + p * kPanelColumns * kPanelColumns + t * kPanelColumns);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const typename E::Broadcast weight = E::Spread(w + r * kAttentionBlock + t);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p) acc[r][p] = E::Dot(acc[r][p], weight, column[p]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) Store(sums + r * head_dim + p * kPanelColumns, acc[r][p]);
  }
}

template <class E, int kPanels, int kRows>
inline void ValueRows(const AttentionState<E>& state, int32_t head_dim, int32_t query,
                      int32_t panel, const typename E::Type* const* values, int32_t groups) {
  for (; query + kRows <= state.queries; query += kRows)
    ValueTile<E, kRows, kPanels>(state, head_dim, query, panel, values, groups);
  if constexpr (kRows > 1) {
    if (query < state.queries)
      ValueRows<E, kPanels, SmallerTile(kRows)>(state, head_dim, query, panel, values, groups);
  }
}

/// Copies the V of a group's first `written` tokens; zero for the others.
template <class E>
inline void CopyWritten(const typename E::Type* group, int32_t head_dim, int32_t written,
                        typename E::Type* to) {
  constexpr int32_t kPanel = kPanelColumns * kPanelColumns;
  constexpr int32_t kPairElements = kPanelColumns * E::kPair;
  const int32_t whole = written / E::kPair * kPairElements;
  for (int32_t panel = 0; panel < head_dim / kPanelColumns; ++panel) {
    const typename E::Type* from = group + panel * kPanel;
    __builtin_memcpy(to, from, static_cast<size_t>(whole) * sizeof(*to));
    __builtin_memset(to + whole, 0, static_cast<size_t>(kPanel - whole) * sizeof(*to));
    if (written % E::kPair != 0)
      for (int32_t i = 0; i < kPairElements; i += E::kPair) to[whole + i] = from[whole + i];
    to += kPanel;
  }
}

/// sums = sums * correction + weights * V. Tokens that nobody wrote are taken as zero: their
/// weight is zero, but what lies there may be NaN.
template <class E>
inline void ValueBlock(const AttentionArgs& args, const AttentionState<E>& state, int32_t first,
                       int32_t groups) {
  const typename E::Type* values[kBlockGroups];
  for (int32_t g = 0; g < groups; ++g) {
    values[g] = reinterpret_cast<const typename E::Type*>(GroupAt(args, first + g, args.v_offset));
    const int32_t written = args.tokens - (first + g) * kPanelColumns;
    if (written >= kPanelColumns) continue;
    CopyWritten<E>(values[g], args.head_dim, written, state.tail);
    values[g] = state.tail;
  }
  const int32_t panels = args.head_dim / kPanelColumns;
  int32_t panel = 0;
  if (state.queries <= E::kFewRows)
    for (; panel + E::kFewPanels <= panels; panel += E::kFewPanels)
      ValueRows<E, E::kFewPanels, E::kFewRows>(state, args.head_dim, 0, panel, values, groups);
  for (; panel + E::kTilePanels <= panels; panel += E::kTilePanels)
    ValueRows<E, E::kTilePanels, E::kTileRows>(state, args.head_dim, 0, panel, values, groups);
  for (; panel < panels; ++panel)
    ValueRows<E, 1, E::kTileRows>(state, args.head_dim, 0, panel, values, groups);
}

/// K and V of so many blocks are on their way while one is computed: they lie in pages far apart,
/// which no processor foresees.
inline constexpr int32_t kBlocksAhead = 2;

inline int32_t BlocksOf(const AttentionArgs& args) {
  return (args.position + args.rows + kAttentionBlock - 1) / kAttentionBlock;
}

/// Begins to bring in the K and V of a block, if there is such a block.
inline void PrefetchBlock(const AttentionArgs& args, int32_t block) {
  constexpr int64_t kLine = 64;
  const int32_t groups = (args.position + args.rows + kPanelColumns - 1) / kPanelColumns;
  const int32_t first = block * kBlockGroups;
  const int32_t last = first + kBlockGroups < groups ? first + kBlockGroups : groups;
  // Line by line of all groups, so that the addresses of their pages are looked up side by side.
  const std::byte* starts[2 * kBlockGroups];
  int32_t count = 0;
  for (int32_t group = first; group < last; ++group) {
    starts[count++] = GroupAt(args, group, args.k_offset);
    starts[count++] = GroupAt(args, group, args.v_offset);
  }
  for (int64_t at = 0; at < args.group_bytes; at += kLine)
    for (int32_t i = 0; i < count; ++i) __builtin_prefetch(starts[i] + at, 0, 2);
}

/// Begins to bring in what comes kBlocksAhead blocks after block `block`, in the call that follows
/// if need be.
inline void PrefetchAhead(const AttentionArgs& args, int32_t block, int32_t blocks) {
  const int32_t ahead = block + kBlocksAhead;
  if (ahead < blocks) return PrefetchBlock(args, ahead);
  if (args.next == nullptr) return;
  // A call of fewer blocks than kBlocksAhead fetches all the first ones of the next.
  for (int32_t i = block == 0 ? 0 : ahead - blocks; i <= ahead - blocks; ++i)
    PrefetchBlock(*args.next, i);
}

template <class E>
void Attend(const AttentionArgs& args) {
  const AttentionState<E> state = LayOutState<E>(args);
  const int32_t visible = args.position + args.rows;
  const int32_t all_groups = (visible + kPanelColumns - 1) / kPanelColumns;
  const int32_t blocks = BlocksOf(args);
  if (!args.fetched)
    for (int32_t block = 0; block < kBlocksAhead; ++block) PrefetchBlock(args, block);
  for (int32_t block = 0; block < blocks; ++block) {
    const int32_t start = block * kAttentionBlock;
    const int32_t first = start / kPanelColumns;
    const int32_t left = all_groups - first;
    const int32_t groups = left < kBlockGroups ? left : kBlockGroups;
    PrefetchAhead(args, block, blocks);
    ScoreBlock(args, state, first, groups);
    for (int32_t query = 0; query < state.queries; ++query)
      SoftmaxRow(args, state, query, groups, args.position + query / args.group + 1 - start);
    ValueBlock(args, state, first, groups);
  }
  for (int32_t query = 0; query < state.queries; ++query) {
    const Vec total = Set(SumLanes(Load(state.totals + query * kPanelColumns)));
    const float* sums = state.sums + int64_t{query} * args.head_dim;
    auto* out = static_cast<typename E::Type*>(args.out) + query / args.group * args.out_stride +
                query % args.group * args.head_dim;
    for (int32_t d = 0; d < args.head_dim; d += kPanelColumns)
      E::StoreRounded(out + d, Div(Load(sums + d), total));
  }
}

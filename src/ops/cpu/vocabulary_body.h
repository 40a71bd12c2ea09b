// What the sampler does over whole rows of logits. Included once for each instruction set, inside
// that set's namespace.

/// The largest of a block; NaN counts for nothing.
inline float LargestOf(const float* x, int32_t n) {
  Vec largest[4];
  for (Vec& part : largest) part = Set(-__builtin_inff());
  int32_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int c = 0; c < 4; ++c)
      largest[c] = Max(Load(x + i + 16 * c), largest[c]);  // NaN: keeps `largest`.
  float max = MaxLanes(Max(Max(largest[0], largest[1]), Max(largest[2], largest[3])));
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

/// Where the largest is: only the first block that has it is looked at twice.
inline int32_t Largest(const float* x, int32_t n) {
  constexpr int32_t kBlock = 1024;
  float max = -__builtin_inff();
  int32_t first = 0;
  for (int32_t block = 0; block < n; block += kBlock) {
    const float of_block = LargestOf(x + block, n - block < kBlock ? n - block : kBlock);
    if (!(of_block > max)) continue;
    max = of_block;
    first = block;
  }
  for (int32_t i = first; i < n; ++i)
    if (x[i] == max) return i;
  return -1;
}

/// Token t of a chunk is added to lane t % 64, lanes are summed as SumLanes has it, chunks in
/// double: an order that a GPU can follow (ops/race_math.h).
inline float SumExp(const float* x, int32_t n, float max, float scale) {
  const auto weight = [max, scale](Vec logits) {
    return Exp(Mul(Sub(logits, Set(max)), Set(scale)));
  };
  double total = 0.0;
  for (int32_t start = 0; start < n; start += race::kSumChunk) {
    const int32_t end = n - start < race::kSumChunk ? n : start + race::kSumChunk;
    Vec sum[4] = {Zero(), Zero(), Zero(), Zero()};
    int32_t i = start;
    for (; i + 64 <= end; i += 64)
      for (int c = 0; c < 4; ++c) sum[c] = Add(sum[c], weight(Load(x + i + 16 * c)));
    for (int c = 0; i < end; i += 16, ++c) {
      float few[kPanelColumns] = {};
      const int32_t count = end - i < kPanelColumns ? end - i : kPanelColumns;
      __builtin_memcpy(few, x + i, static_cast<size_t>(count) * sizeof(float));
      sum[c] = Add(sum[c], KeepFirst(weight(Load(few)), count, 0.0F));
    }
    total += SumLanes(Add(Add(sum[0], sum[1]), Add(sum[2], sum[3])));
  }
  return static_cast<float>(total);
}

/// Philox4x32-10 of base/philox.h, sixteen counters at once.
inline void PhiloxWords(Words counter[4], uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    Words low0, high0, low1, high1;
    MulWide(SetWords(0xD2511F53), counter[0], &low0, &high0);
    MulWide(SetWords(0xCD9E8D57), counter[2], &low1, &high1);
    counter[0] = Xor(Xor(high1, counter[1]), SetWords(key0));
    counter[1] = low1;
    counter[2] = Xor(Xor(high0, counter[3]), SetWords(key1));
    counter[3] = low0;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
}

/// The exponential race, which is Gumbel-max in other words: token i wins when -log(u_i) / w_i is
/// the smallest, and of equals the smallest i. -log(u) >= 1 - u rules most out without a logarithm;
/// the bound is a little wide, so that rounding rules out nothing that would win. Draws are as in
/// sampler.cc's DrawFor.
inline int32_t Race(const RaceArgs& args) {
  const uint32_t lanes[kPanelColumns] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  constexpr float kWide = 1.00001F;
  const Vec shift = Set(args.max);
  const Vec inverse_temperature = Set(args.inverse_temperature);
  float best = __builtin_inff();
  int32_t winner = -1;
  for (int32_t start = 0; start < args.count; start += 4 * kPanelColumns) {
    Words draw[4] = {AddWords(LoadWords(lanes), SetWords(static_cast<uint32_t>(start / 4))),
                     SetWords(args.position), SetWords(0), SetWords(0)};
    PhiloxWords(draw, args.seed);
    for (int j = 0; j < 4; ++j) {
      const int32_t first = start + j * kPanelColumns;
      const int32_t count = args.count - first < kPanelColumns ? args.count - first : kPanelColumns;
      if (count <= 0) break;
      float logits[kPanelColumns] = {};
      __builtin_memcpy(logits, args.logits + first, static_cast<size_t>(count) * sizeof(float));
      const Vec scaled = Mul(Sub(Load(logits), shift), inverse_temperature);
      const Vec weight = KeepFirst(Exp(scaled), count, 0.0F);
      const Vec uniform = ToOpenUnitInterval(draw[j]);
      const Vec bound = winner < 0 ? Set(__builtin_inff()) : Mul(Set(best * kWide), weight);
      uint32_t mask = GreaterMask(bound, Sub(Set(1.0F), uniform));
      mask &= GreaterMask(scaled, Set(-87.0F));
      float weights[kPanelColumns];
      float uniforms[kPanelColumns];
      if (mask == 0) continue;
      Store(weights, weight);
      Store(uniforms, uniform);
      for (; mask != 0; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        if (lane >= count) break;
        const float time = race::TimeOf(uniforms[lane], weights[lane]);
        if (time < best) {
          best = time;
          winner = first + lane;
        }
      }
    }
  }
  return winner;
}

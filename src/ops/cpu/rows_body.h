// What is done to single rows: norms, activations, rope, and stores in the order the matrix
// products read. Included once for each instruction set, inside that set's namespace.

/// e^x within two units in the last place for x in [-87, 88]; below, about 1e-38. exp(0) is 1
/// exactly, exp(NaN) is NaN. Cephes' expf (S. Moshier): 2^n times a polynomial on [-ln 2 / 2, ln 2
/// / 2].
inline Vec Exp(Vec x) {
  x = Min(Set(88.0F), Max(Set(-87.0F), x));  // The second operand wins when one is NaN.
  const Vec n = RoundToInteger(Mul(x, Set(1.44269504088896341F)));
  Vec r = MulAdd(n, Set(-0.693359375F), x);
  r = MulAdd(n, Set(2.12194440e-4F), r);
  Vec y = Set(1.9875691500e-4F);
  y = MulAdd(y, r, Set(1.3981999507e-3F));
  y = MulAdd(y, r, Set(8.3334519073e-3F));
  y = MulAdd(y, r, Set(4.1665795894e-2F));
  y = MulAdd(y, r, Set(1.6666665459e-1F));
  y = MulAdd(y, r, Set(5.0000001201e-1F));
  y = Add(MulAdd(y, Mul(r, r), r), Set(1.0F));
  return Mul(y, PowerOfTwo(n));
}

/// Lanes summed in a fixed order: halves, quarters, ...
inline float SumLanes(Vec a) {
  __m256 low, high;
  Split(a, &low, &high);
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float MaxLanes(Vec a) {
  __m256 low, high;
  Split(a, &low, &high);
  const __m256 eight = _mm256_max_ps(low, high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// 1 / sqrt(mean square + epsilon) of n floats.
inline float InverseRms(const float* x, int32_t n, float epsilon) {
  Vec first = Zero();
  Vec second = Zero();
  int32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const Vec a = Load(x + i);
    const Vec b = Load(x + i + 16);
    first = MulAdd(a, a, first);
    second = MulAdd(b, b, second);
  }
  for (; i + 16 <= n; i += 16) first = MulAdd(Load(x + i), Load(x + i), first);
  float sum = SumLanes(Add(first, second));
  for (; i < n; ++i) sum += x[i] * x[i];
  return 1.0F / __builtin_sqrtf(sum / static_cast<float>(n) + epsilon);
}

template <class E>
inline void StoreFew(const float* row, int32_t n, typename E::Type* out) {
  float padded[kPanelColumns] = {};
  typename E::Type rounded[kPanelColumns];
  __builtin_memcpy(padded, row, static_cast<size_t>(n) * sizeof(float));
  E::StoreRounded(rounded, Load(padded));
  __builtin_memcpy(out, rounded, static_cast<size_t>(n) * sizeof(typename E::Type));
}

template <class E>
void StoreRow(const float* row, int32_t n, void* out) {
  auto* elements = static_cast<typename E::Type*>(out);
  int32_t i = 0;
  for (; i + 16 <= n; i += 16) E::StoreRounded(elements + i, Load(row + i));
  if (i < n) StoreFew<E>(row + i, n - i, elements + i);
}

template <class E>
void RmsNorm(const float* x, const float* weight, int32_t n, float epsilon, void* out) {
  auto* elements = static_cast<typename E::Type*>(out);
  const float inverse = InverseRms(x, n, epsilon);
  const Vec scale = Set(inverse);
  int32_t i = 0;
  for (; i + 16 <= n; i += 16)
    E::StoreRounded(elements + i, Mul(Mul(Load(x + i), scale), Load(weight + i)));
  if (i == n) return;
  float rest[kPanelColumns];
  for (int32_t j = i; j < n; ++j) rest[j - i] = x[j] * inverse * weight[j];
  StoreFew<E>(rest, n - i, elements + i);
}

inline void AddRow(const float* c, const float* bias, int32_t n, float* x) {
  int32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    Vec sum = Load(c + i);
    if (bias != nullptr) sum = Add(sum, Load(bias + i));
    Store(x + i, Add(Load(x + i), sum));
  }
  for (; i < n; ++i) x[i] += bias != nullptr ? c[i] + bias[i] : c[i];
}

inline Vec Silu(Vec gate) { return Div(gate, Add(Set(1.0F), Exp(Sub(Zero(), gate)))); }

template <class E>
void SiluMultiply(const float* gate, const float* up, int32_t n, void* out) {
  auto* elements = static_cast<typename E::Type*>(out);
  int32_t i = 0;
  for (; i + 16 <= n; i += 16)
    E::StoreRounded(elements + i, Mul(Silu(Load(gate + i)), Load(up + i)));
  if (i == n) return;
  float few_gates[kPanelColumns] = {};
  float few_ups[kPanelColumns] = {};
  const size_t bytes = static_cast<size_t>(n - i) * sizeof(float);
  __builtin_memcpy(few_gates, gate + i, bytes);
  __builtin_memcpy(few_ups, up + i, bytes);
  float product[kPanelColumns];
  Store(product, Mul(Silu(Load(few_gates)), Load(few_ups)));
  StoreFew<E>(product, n - i, elements + i);
}

/// Rope as transformers' rotate_half has it: dimension d turns with d + head_dim / 2.
inline void Rotate(float* row, int32_t half, const float* rope) {
  const float* cosine = rope;
  const float* sine = rope + half;
  int32_t d = 0;
  for (; d + 16 <= half; d += 16) {
    const Vec a = Load(row + d);
    const Vec b = Load(row + half + d);
    const Vec c = Load(cosine + d);
    const Vec s = Load(sine + d);
    Store(row + d, Sub(Mul(a, c), Mul(b, s)));
    Store(row + half + d, MulAdd(b, c, Mul(a, s)));
  }
  for (; d < half; ++d) {
    const float a = row[d];
    const float b = row[half + d];
    row[d] = a * cosine[d] - b * sine[d];
    row[half + d] = b * cosine[d] + a * sine[d];
  }
}

inline void FinishHead(const HeadArgs& args) {
  if (args.bias != nullptr)
    for (int32_t d = 0; d < args.head_dim; d += 16)
      Store(args.row + d, Add(Load(args.row + d), Load(args.bias + d)));
  if (args.norm != nullptr) {
    const Vec scale = Set(InverseRms(args.row, args.head_dim, args.epsilon));
    for (int32_t d = 0; d < args.head_dim; d += 16)
      Store(args.row + d, Mul(Mul(Load(args.row + d), scale), Load(args.norm + d)));
  }
  if (args.rope != nullptr) Rotate(args.row, args.head_dim / 2, args.rope);
}

/// K of a group lies as a panel: [head_dim / pair][16 tokens][pair].
template <class E>
void StoreK(const float* row, int32_t head_dim, void* group, int32_t token) {
  auto* panel = static_cast<typename E::Type*>(group);
  typename E::Type rounded[kPanelColumns];
  for (int32_t d = 0; d < head_dim; d += kPanelColumns) {
    E::StoreRounded(rounded, Load(row + d));
    for (int32_t i = 0; i < kPanelColumns; i += E::kPair)
      __builtin_memcpy(panel + (d + i) * kPanelColumns + token * E::kPair, rounded + i,
                       E::kPair * sizeof(typename E::Type));
  }
}

/// V of a group lies as panels: [head_dim / 16][16 tokens / pair][16][pair].
template <class E>
void StoreV(const float* row, int32_t head_dim, void* group, int32_t token) {
  auto* panel = static_cast<typename E::Type*>(group);
  typename E::Type rounded[kPanelColumns];
  for (int32_t d = 0; d < head_dim; d += kPanelColumns) {
    E::StoreRounded(rounded, Load(row + d));
    typename E::Type* to = panel + d * kPanelColumns +
                           (token / E::kPair) * kPanelColumns * E::kPair + token % E::kPair;
    for (int32_t i = 0; i < kPanelColumns; ++i) to[i * E::kPair] = rounded[i];
  }
}

template <class E>
void UnpackRow(const std::byte* panels, Bytes panel_bytes, int32_t row, int32_t n, float* out) {
  const auto* panel =
      reinterpret_cast<const typename E::Type*>(panels + row / kPanelColumns * panel_bytes);
  const int32_t lane = row % kPanelColumns;
  alignas(64) typename E::Type some[kPanelColumns];
  for (int32_t k = 0; k < n; k += kPanelColumns) {
    for (int32_t i = 0; i < kPanelColumns; ++i)
      some[i] = panel[((k + i) / E::kPair * kPanelColumns + lane) * E::kPair + (k + i) % E::kPair];
    Store(out + k, E::LoadWide(some));
  }
}

// Weights as coded_panel.h has them: coding, decoding, and the product that decodes as it goes.
// Included by kernels_avx512.cc alone, inside its namespace.

inline const CodedException* ExceptionsOf(const std::byte* panel) {
  return reinterpret_cast<const CodedException*>(panel + kCodes);
}

/// The panel's plain elements when it is not coded, else null.
inline const std::byte* PlainElements(const std::byte* panel) {
  if (ExceptionsOf(panel)->unit != kPlainPanel) return nullptr;
  const std::byte* elements;
  __builtin_memcpy(&elements, panel + kPlainAddress, sizeof elements);
  return elements;
}

/// What a loop over a panel's units keeps at hand.
struct Decoder {
  __m512i high_bytes;
  const CodedException* exception;
};

inline Decoder DecoderAt(const std::byte* panel, int32_t unit) {
  const CodedException* exception = ExceptionsOf(panel);
  while (exception->unit < unit) ++exception;
  return {_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)panel)), exception};
}

/// The four plain columns of a unit. A panel's units must be asked for in their order.
inline void DecodeUnit(Decoder& decoder, const std::byte* units, int32_t unit, __m512i column[4]) {
  const std::byte* at = units + unit * kCodedUnit;
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  const __m512i low0 = _mm512_loadu_si512(at);
  const __m512i low1 = _mm512_loadu_si512(at + 64);
  const __m512i codes = _mm512_loadu_si512(at + 128);
  const __m512i codes0 = _mm512_and_si512(codes, nibble);
  const __m512i codes1 = _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble);
  __m512i high0 = _mm512_shuffle_epi8(decoder.high_bytes, codes0);
  __m512i high1 = _mm512_shuffle_epi8(decoder.high_bytes, codes1);
  while (__builtin_expect(decoder.exception->unit == unit, 0)) {
    const CodedException& exception = *decoder.exception++;
    const uint64_t place = uint64_t{1} << (exception.place % 64);
    const auto high = static_cast<char>(exception.high);
    high0 = _mm512_mask_set1_epi8(high0, exception.place < 64 ? place : 0, high);
    high1 = _mm512_mask_set1_epi8(high1, exception.place < 64 ? 0 : place, high);
  }
  column[0] = _mm512_unpacklo_epi8(low0, high0);
  column[1] = _mm512_unpackhi_epi8(low0, high0);
  column[2] = _mm512_unpacklo_epi8(low1, high1);
  column[3] = _mm512_unpackhi_epi8(low1, high1);
}

inline const std::byte* UnitsOf(const std::byte* panel, int32_t in) {
  return panel + CodedHeaderBytes(in);
}

/// Elements [first_k, first_k + k) of a panel, plain.
inline void DecodePanel(const std::byte* panel, int32_t in, int32_t first_k, int32_t k,
                        uint16_t* plain) {
  if (const std::byte* elements = PlainElements(panel)) {
    const Bytes row = kPanelColumns * Bytes{2};
    __builtin_memcpy(plain, elements + first_k * row, static_cast<size_t>(k * row));
    return;
  }
  const int32_t first = first_k / kCodedDepth;
  Decoder decoder = DecoderAt(panel, first);
  for (int32_t unit = first; unit < first + k / kCodedDepth; ++unit) {
    __m512i column[4];
    DecodeUnit(decoder, UnitsOf(panel, in), unit, column);
    for (const __m512i& some : column) {
      _mm512_store_si512(plain, some);
      plain += 32;
    }
  }
}

/// Rows for which a unit is decoded into registers: their sums take half of those.
inline constexpr int kRowsInRegisters = 8;

/// Plain elements of some panels, to some depth.
template <int kPanels>
struct PlainPanels {
  static constexpr int32_t kMostDepth = 768;
  alignas(64) uint16_t elements[kPanels][kMostDepth * kPanelColumns];
};

/// A few rows: each unit is decoded into registers, and into `keep` unless that is null.
template <int kRows, int kPanels>
inline void CodedTile(const WeightGemmArgs& g, const std::byte* panel, const std::byte* next,
                      float* c, PlainPanels<kPanels>* keep) {
  using E = BFloat16Element;
  const auto* a = static_cast<const E::Type*>(g.a);
  const std::byte* units = UnitsOf(panel, g.in);
  const std::byte* ahead = UnitsOf(next, g.in) + g.first_k / kCodedDepth * kCodedUnit;
  const int32_t first = g.first_k / kCodedDepth;
  Decoder decoder[kPanels];
  Vec acc[kRows][kPanels];
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
    decoder[p] = DecoderAt(panel + p * g.panel_bytes, first);
    __builtin_prefetch(next + p * g.panel_bytes, 0, 2);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      acc[r][p] = g.accumulate ? Load(c + r * g.c_stride + p * kPanelColumns) : Zero();
  }
  for (int32_t unit = first; unit < first + g.k / kCodedDepth; ++unit) {
    __m512i column[kPanels][4];
    const auto decode = [&](int p) {
      DecodeUnit(decoder[p], units + p * g.panel_bytes, unit, column[p]);
      if (kRows == kRowsInRegisters && keep != nullptr)
        for (int q = 0; q < 4; ++q)
          _mm512_store_si512(keep->elements[p] + (unit - first) * 128 + q * 32, column[p][q]);
      for (int line = 0; line < 3; ++line)
        __builtin_prefetch(ahead + p * g.panel_bytes + line * 64, 0, 2);
    };
    const auto multiply = [&](int p, int q) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r)
        acc[r][p] =
            E::Dot(acc[r][p], E::Spread(a + r * g.a_stride + 2 * q), (E::Column)column[p][q]);
    };
    if constexpr (kRows < 4) {
      // Decoding takes longer than multiplying: one panel's goes on beside the other's.
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        decode(p);
        for (int q = 0; q < 4; ++q) multiply(p, q);
      }
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) decode(p);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q)
        for (int p = 0; p < kPanels; ++p) multiply(p, q);
    }
    a += kCodedDepth;
    ahead += kCodedUnit;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) Store(c + r * g.c_stride + p * kPanelColumns, acc[r][p]);
  }
}

template <int kRows, int kPanels>
inline void CodedFewRows(const WeightGemmArgs& g, const std::byte* panel, const std::byte* next,
                         float* c) {
  if (g.rows == kRows) return CodedTile<kRows, kPanels>(g, panel, next, c, nullptr);
  if constexpr (kRows > 1) CodedFewRows<kRows - 1, kPanels>(g, panel, next, c);
}

/// Many rows: what the first ones decode is kept in the cache for the others.
template <int kPanels>
inline void CodedManyRows(const WeightGemmArgs& g, const std::byte* panel, const std::byte* next,
                          float* c, bool coded) {
  using E = BFloat16Element;
  using Plain = PlainPanels<kPanels>;
  Plain plain;
  const int32_t pieces = (g.k + Plain::kMostDepth - 1) / Plain::kMostDepth;
  const int32_t depth = ((g.k + pieces - 1) / pieces + kCodedDepth - 1) / kCodedDepth * kCodedDepth;
  for (int32_t done = 0; done < g.k; done += depth) {
    WeightGemmArgs piece = g;
    piece.a = static_cast<const E::Type*>(g.a) + done;
    piece.first_k = g.first_k + done;
    piece.k = g.k - done < depth ? g.k - done : depth;
    piece.accumulate = g.accumulate || done > 0;
    int32_t row = 0;
    if (coded) {
      CodedTile<kRowsInRegisters, kPanels>(piece, panel, next, c, &plain);
      row = kRowsInRegisters;
    } else {
      for (int p = 0; p < kPanels; ++p)
        DecodePanel(panel + p * g.panel_bytes, g.in, piece.first_k, piece.k, plain.elements[p]);
    }
    GemmArgs rest;
    rest.a = piece.a;
    rest.a_stride = g.a_stride;
    rest.b_stride = Plain::kMostDepth * kPanelColumns;
    rest.k = piece.k;
    rest.c_stride = g.c_stride;
    rest.rows = g.rows;
    rest.accumulate = piece.accumulate;
    GemmRows<E, kPanels, E::kTileRows>(rest, plain.elements[0], plain.elements[0], c, row);
  }
}

template <int kPanels>
inline void CodedPanels(const WeightGemmArgs& g, int32_t panel) {
  const std::byte* at = g.panels + panel * g.panel_bytes;
  const std::byte* next = panel + kPanels < g.panel_count ? at + kPanels * g.panel_bytes
                          : g.next != nullptr             ? g.next
                                                          : at;
  float* c = g.c + panel * kPanelColumns;
  bool coded = true;
  for (int p = 0; p < kPanels; ++p) coded &= PlainElements(at + p * g.panel_bytes) == nullptr;
  if (coded && g.rows <= kRowsInRegisters) {
    CodedFewRows<kRowsInRegisters, kPanels>(g, at, next, c);
  } else {
    CodedManyRows<kPanels>(g, at, next, c, coded && g.rows >= kRowsInRegisters);
  }
}

void CodedGemm(const WeightGemmArgs& g) {
  int32_t panel = 0;
  for (; panel + 2 <= g.panel_count; panel += 2) CodedPanels<2>(g, panel);
  if (panel < g.panel_count) CodedPanels<1>(g, panel);
}

/// Row `row` of a matrix in coded panels, as float.
void DecodeRow(const std::byte* panels, Bytes panel_bytes, int32_t row, int32_t n, float* out) {
  const std::byte* panel = panels + row / kPanelColumns * panel_bytes;
  const int32_t lane = row % kPanelColumns;
  alignas(64) uint16_t plain[kCodedDepth * kPanelColumns];
  for (int32_t k = 0; k < n; k += kCodedDepth) {
    DecodePanel(panel, n, k, kCodedDepth, plain);
    for (int32_t i = 0; i < kCodedDepth; ++i) {
      const uint32_t bits = uint32_t{plain[i / 2 * 32 + lane * 2 + i % 2]} << 16;
      __builtin_memcpy(out + k + i, &bits, sizeof bits);
    }
  }
}

/// The sixteen most frequent high bytes of n elements, a multiple of four.
inline void FrequentHighBytes(const uint16_t* plain, int64_t n, uint8_t frequent[kCodes]) {
  uint32_t counts[4][256] = {};  // Neighbours are often alike: four tables, and none waits.
  for (int64_t i = 0; i < n; i += 4)
    for (int64_t j = 0; j < 4; ++j) ++counts[j][plain[i + j] >> 8];
  for (int value = 0; value < 256; ++value)
    counts[0][value] += counts[1][value] + counts[2][value] + counts[3][value];
  for (int code = 0; code < kCodes; ++code) {
    int best = 0;
    for (int value = 1; value < 256; ++value)
      if (counts[0][value] > counts[0][best]) best = value;
    frequent[code] = static_cast<uint8_t>(best);
    counts[0][best] = 0;
  }
}

/// The codes of 64 high bytes; `*strange`: bytes that have none.
inline __m512i CodesOf(__m512i high, const uint8_t frequent[kCodes], uint64_t* strange) {
  __m512i codes = _mm512_setzero_si512();
  uint64_t found = 0;
  for (int code = 0; code < kCodes; ++code) {
    const __mmask64 same =
        _mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8(static_cast<char>(frequent[code])));
    codes = _mm512_mask_mov_epi8(codes, same, _mm512_set1_epi8(static_cast<char>(code)));
    found |= same;
  }
  *strange = ~found;
  return codes;
}

bool CodePanel(const void* elements, int32_t in, std::byte* panel) {
  const auto* plain = static_cast<const uint16_t*>(elements);
  uint8_t frequent[kCodes];
  FrequentHighBytes(plain, int64_t{in} * kPanelColumns, frequent);
  __builtin_memcpy(panel, frequent, kCodes);
  auto* exception = reinterpret_cast<CodedException*>(panel + kCodes);
  const CodedException* const last = exception + MostExceptions(in);
  std::byte* to = panel + CodedHeaderBytes(in);
  const __m512i low_byte = _mm512_set1_epi16(0x00FF);
  for (int32_t unit = 0; unit < in / kCodedDepth; ++unit, plain += 128, to += kCodedUnit) {
    __m512i codes[2];
    for (int half = 0; half < 2; ++half) {
      const __m512i a = _mm512_loadu_si512(plain + half * 64);
      const __m512i b = _mm512_loadu_si512(plain + half * 64 + 32);
      _mm512_storeu_si512(to + half * 64, _mm512_packus_epi16(_mm512_and_si512(a, low_byte),
                                                              _mm512_and_si512(b, low_byte)));
      const __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
      uint64_t strange;
      codes[half] = CodesOf(high, frequent, &strange);
      alignas(64) uint8_t bytes[64];
      if (strange != 0) _mm512_store_si512(bytes, high);
      for (; strange != 0; strange &= strange - 1) {
        if (exception == last) return false;
        const int place = __builtin_ctzll(strange);
        *exception++ = {static_cast<uint16_t>(unit), static_cast<uint8_t>(half * 64 + place),
                        bytes[place]};
      }
    }
    _mm512_storeu_si512(to + 128, _mm512_or_si512(codes[0], _mm512_slli_epi16(codes[1], 4)));
  }
  *exception = {kNoUnit, 0, 0};
  return true;
}

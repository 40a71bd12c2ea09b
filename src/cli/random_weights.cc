#include "cli/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <numbers>

#include "base/bfloat16.h"
#include "base/check.h"
#include "checkpoint/half_float.h"

namespace weft::cli {
namespace {

using checkpoint::StoredType;

constexpr int kQuantiles = 1 << 16;
constexpr Bytes kPieceBytes = 8 * kMiB;
constexpr int64_t kLanes = 4;  // Random numbers of 16 bits in one of 64.

/// SplitMix64's output function (Steele, Lea, Flood, 2014): a counter in, 64 random bits out.
uint64_t Mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

uint64_t HashName(std::string_view name) {
  uint64_t hash = 0;
  for (const char c : name) hash = Mix(hash ^ static_cast<unsigned char>(c));
  return hash;
}

/// The quantiles at (i + 1/2) / 65536. Newton's method from the quantile before converges from
/// below, since the distribution function is concave above its median.
std::vector<float> NormalQuantiles() {
  std::vector<float> quantiles(kQuantiles);
  double x = 0;
  for (int i = kQuantiles / 2; i < kQuantiles; ++i) {
    const double above = 1 - (i + 0.5) / kQuantiles;
    double step = 1;
    while (step > 1e-9) {
      const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
      step = (std::erfc(x / std::numbers::sqrt2) / 2 - above) / density;
      x += step;
    }
    quantiles[static_cast<size_t>(i)] = static_cast<float>(x);
    quantiles[static_cast<size_t>(kQuantiles - 1 - i)] = static_cast<float>(-x);
  }
  return quantiles;
}

void Store(StoredType type, float value, std::byte* to) {
  uint16_t bits = 0;
  switch (type) {
    case StoredType::kF32:
      std::memcpy(to, &value, sizeof value);
      return;
    case StoredType::kF16:
      bits = checkpoint::FloatToHalf(value);
      break;
    default:
      WEFT_CHECK(type == StoredType::kBF16);
      bits = ToBFloat16(value).bits;
  }
  std::memcpy(to, &bits, sizeof bits);
}

/// Elements [first, first + count) of the stream `key`; `first` is a multiple of kLanes.
template <typename Word>
void Fill(uint64_t key, int64_t first, int64_t count, const std::byte* table_bytes, std::byte* to) {
  const auto* table = reinterpret_cast<const Word*>(table_bytes);
  auto* words = reinterpret_cast<Word*>(to);
  uint64_t counter = key + static_cast<uint64_t>(first / kLanes);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const uint64_t bits = Mix(counter++);
    words[i] = table[bits & 0xffffu];
    words[i + 1] = table[(bits >> 16) & 0xffffu];
    words[i + 2] = table[(bits >> 32) & 0xffffu];
    words[i + 3] = table[bits >> 48];
  }
  for (uint64_t bits = Mix(counter); i < count; ++i, bits >>= 16) words[i] = table[bits & 0xffffu];
}

/// One piece of a tensor, filled by several threads.
struct PieceJob {
  uint64_t key = 0;
  int64_t first = 0;
  int64_t count = 0;
  Bytes element = 0;
  const std::byte* table = nullptr;
  std::byte* to = nullptr;
};

void FillPart(const PieceJob& job, int64_t begin, int64_t end) {
  std::byte* to = job.to + begin * job.element;
  if (job.element == 4) {
    Fill<uint32_t>(job.key, job.first + begin, end - begin, job.table, to);
  } else {
    Fill<uint16_t>(job.key, job.first + begin, end - begin, job.table, to);
  }
}

void FillPiece(const PieceJob& job, int threads) {
  constexpr int64_t kWorthAThread = 1 << 18;
  const int64_t parts = std::clamp<int64_t>(job.count / kWorthAThread, 1, threads);
  const int64_t share = (job.count / parts + kLanes) / kLanes * kLanes;
  std::vector<std::future<void>> others;
  for (int64_t begin = share; begin < job.count; begin += share) {
    others.push_back(std::async(std::launch::async, [&job, begin, share] {
      FillPart(job, begin, std::min(begin + share, job.count));
    }));
  }
  FillPart(job, 0, std::min(share, job.count));
  for (auto& other : others) other.get();
}

}  // namespace

Bytes ElementBytes(StoredType type) { return type == StoredType::kF32 ? 4 : 2; }

RandomWeights::RandomWeights(uint64_t seed, int threads)
    : seed_(seed), threads_(std::max(threads, 1)), quantiles_(NormalQuantiles()) {}

const std::vector<std::byte>& RandomWeights::Table(StoredType type, double deviation) {
  std::vector<std::byte>& table = tables_[{type, deviation}];
  if (table.empty()) {
    const Bytes element = ElementBytes(type);
    table.resize(static_cast<size_t>(kQuantiles * element));
    for (int i = 0; i < kQuantiles; ++i) {
      const double value = quantiles_[static_cast<size_t>(i)] * deviation;
      Store(type, static_cast<float>(value), table.data() + i * element);
    }
  }
  return table;
}

// While one piece is written the next is computed.
Status RandomWeights::Append(checkpoint::SafetensorsWriter& writer,
                             const checkpoint::TensorInfo& tensor, double deviation) {
  const Bytes element = ElementBytes(tensor.type);
  const int64_t elements = ElementsOf(tensor);
  const int64_t piece = kPieceBytes / element;
  const std::vector<std::byte>& table = Table(tensor.type, deviation);
  std::vector<std::byte> filled;
  std::vector<std::byte> spare;
  PieceJob job = {Mix(seed_) ^ HashName(tensor.name), 0, 0, element, table.data(), nullptr};
  const auto fill = [&](int64_t first, std::vector<std::byte>& into) {
    job.first = first;
    job.count = std::min(piece, elements - first);
    into.resize(static_cast<size_t>(job.count * element));
    job.to = into.data();
    FillPiece(job, threads_);
  };
  fill(0, filled);
  for (int64_t first = piece; first < elements; first += piece) {
    auto next = std::async(std::launch::async, [&] { fill(first, spare); });
    const Status written = writer.Append(filled);
    next.get();
    WEFT_RETURN_IF_ERROR(written);
    std::swap(filled, spare);
  }
  return writer.Append(filled);
}

Status RandomWeights::AppendConstant(checkpoint::SafetensorsWriter& writer,
                                     const checkpoint::TensorInfo& tensor, float value) {
  const Bytes element = ElementBytes(tensor.type);
  std::vector<std::byte> bytes(static_cast<size_t>(ElementsOf(tensor) * element));
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(element)) {
    Store(tensor.type, value, bytes.data() + at);
  }
  return writer.Append(bytes);
}

}  // namespace weft::cli

// Any bytes as a GGUF file: an error, or tensors that lie inside it and widen; then its config and
// vocabulary.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/gguf_vocabulary.h"
#include "checkpoint/widen.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::checkpoint;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file_size = static_cast<weft::Bytes>(size);
  // A prefix never fails where the whole does not.
  const auto whole = ParseGguf(bytes, file_size, "fuzz");
  const auto half = ParseGguf(bytes.first(size / 2), file_size, "fuzz");
  WEFT_CHECK(half.ok() || !whole.ok());
  if (!whole.ok()) return 0;
  WEFT_CHECK(whole->has_value());
  const GgufHeader& header = **whole;
  for (const GgufTensor& tensor : header.tensors) {
    WEFT_CHECK(tensor.offset >= 0 && tensor.size >= 0 && tensor.offset + tensor.size <= file_size);
    // Of its own, so that a byte read beyond it is seen.
    const auto stored =
        bytes.subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(tensor.size));
    const std::vector<std::byte> raw(stored.begin(), stored.end());
    const StoredBlock block = BlockOf(tensor.type);
    std::vector<float> values(static_cast<size_t>(tensor.size / block.bytes * block.elements));
    WidenToFloat(tensor.type, raw, values);
  }
  auto config = ParseGgufConfig(header, "fuzz");
  if (config.ok()) {
    WEFT_CHECK(config->heads % config->kv_heads == 0 && config->layers > 0);
    const std::vector<float> factors(static_cast<size_t>(config->head_dim / 2), 2.0F);
    (void)ApplyRopeFactors(factors, header, "fuzz", *config).ok();
  }
  (void)ParseGgufVocabulary(header, "fuzz").ok();
  return 0;
}

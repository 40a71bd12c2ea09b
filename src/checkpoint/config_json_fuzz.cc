// Any bytes as config.json and, after a zero byte, generation_config.json: an error or sane sizes.
#include <cstdint>

#include "base/check.h"
#include "checkpoint/config_json.h"
#include "checkpoint/required_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t zero = text.find('\0');
  const std::string_view generation =
      zero == text.npos ? std::string_view() : text.substr(zero + 1);
  const auto config = weft::checkpoint::ParseConfigJson(text.substr(0, zero), generation);
  if (!config.ok()) return 0;
  WEFT_CHECK(config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0);
  WEFT_CHECK(config->context_length > 0 && config->rope.theta >= 1);
  for (weft::TokenId id : config->end_tokens) WEFT_CHECK(id >= 0 && id < config->vocabulary);
  WEFT_CHECK(!weft::checkpoint::RequiredTensors(*config).empty());
  return 0;
}

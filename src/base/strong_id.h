#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace weft {

/// An integer that cannot be mistaken for another kind of integer. `Tag` is never defined.
template <typename Tag, typename Rep = int64_t>
class StrongId {
 public:
  using rep = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const StrongId&) const = default;

 private:
  Rep value_ = 0;
};

/// A token's id in the vocabulary. Plain, because tensors and JSON hold them by the million.
using TokenId = int32_t;

/// A page of device memory. Page 0 is never given out: padded rows write there.
using PageIndex = StrongId<struct PageIndexTag, int32_t>;
/// A decoder layer, counted from 0.
using LayerIndex = StrongId<struct LayerIndexTag, int32_t>;
/// One version of one adapter; never used again. 0 is the base model.
using AdapterVersion = StrongId<struct AdapterVersionTag, int64_t>;
/// One request as the engine counts them; never used again.
using RequestId = StrongId<struct RequestIdTag, int64_t>;
/// One step of the engine, counted from 1. 0 is "before the first".
using StepId = StrongId<struct StepIdTag, int64_t>;

inline constexpr AdapterVersion kBaseModel{0};

}  // namespace weft

template <typename Tag, typename Rep>
struct std::hash<weft::StrongId<Tag, Rep>> {
  size_t operator()(weft::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value());
  }
};

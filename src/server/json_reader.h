#pragma once

#include <boost/json/fwd.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/strong_id.h"
#include "server/api_error.h"

namespace weft::server {

/// A request's body as a JSON object. The error names the line and column. Invalid UTF-8, lone
/// surrogates and more than 64 levels are errors. O(bytes).
Result<boost::json::object> ParseJsonObject(std::string_view body);

/// A JSON value as text again.
std::string JsonText(const boost::json::value& value);
void AppendJson(const boost::json::value& value, std::string& to);

/// Reads the fields of one JSON object. An absent or null field leaves the variable as it is. The
/// first field of a wrong type is kept as the error, which names the field and what it should be;
/// later reads then do nothing, so a caller reads all it wants and looks at error() once. Unknown
/// fields are ignored. Refers to the object: use within its lifetime.
class JsonFields {
 public:
  /// `prefix` comes before the field's name in messages: "sampling_params.".
  explicit JsonFields(const boost::json::object& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  /// nullptr when absent or null.
  const boost::json::value* Find(std::string_view name) const;

  void Read(std::string_view name, bool& into);
  void Read(std::string_view name, int32_t& into);
  void Read(std::string_view name, int64_t& into);
  void Read(std::string_view name, float& into);
  void Read(std::string_view name, std::string& into);
  void Read(std::string_view name, std::vector<TokenId>& into);
  /// One string or a list of strings.
  void ReadStringOrList(std::string_view name, std::vector<std::string>& into);

  template <typename T>
  void Read(std::string_view name, std::optional<T>& into) {
    if (Find(name) == nullptr) return;
    T value{};
    Read(name, value);
    into = std::move(value);
  }

  /// As Read, and outside [low, high] it is an error.
  void ReadWithin(std::string_view name, float low, float high, float& into);
  void ReadWithin(std::string_view name, int32_t low, int32_t high, int32_t& into);

  /// Keeps an error of the caller's own, unless there is one already.
  void Fail(std::string_view name, std::string_view what_is_wanted,
            ErrorCode code = ErrorCode::kInvalidArgument);
  /// The field must be absent, null, false or empty: Weft does not serve it.
  void Refuse(std::string_view name, std::string_view why);

  bool ok() const { return !error_.has_value(); }
  const ApiStatus& error() const { return error_; }
  /// Takes over the error of a reader for an inner object.
  void Adopt(const ApiStatus& inner) {
    if (!error_) error_ = inner;
  }
  std::string Name(std::string_view field) const { return prefix_ + std::string(field); }

 private:
  void Mismatch(std::string_view name, std::string_view wanted, const boost::json::value& got);

  const boost::json::object& object_;
  std::string prefix_;
  ApiStatus error_;
};

/// "a string", "a list": the type of a value for a message.
std::string_view JsonTypeName(const boost::json::value& value);
/// A whole number that fits, from 3 or 3.0; nothing for anything else.
std::optional<int64_t> AsInteger(const boost::json::value& value);
/// A list of token ids; nothing if any entry is not a whole number that fits.
std::optional<std::vector<TokenId>> AsTokenIds(const boost::json::value& value);

}  // namespace weft::server

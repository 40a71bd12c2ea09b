#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weft::checkpoint {

/// One object of a parsed JSON file, with getters whose errors name the field and say what would be
/// right. Where a key stands twice the last one counts, as in Python. A null counts as absent.
/// Valid as long as the JsonDocument it comes from.
class JsonObject {
 public:
  /// `path` is where the object stands, for messages: "config.json" or "config.json: rope_scaling".
  JsonObject(simdjson::dom::object object, std::string path);

  /// True when the key is there, even with null.
  bool Has(std::string_view key) const;
  std::optional<simdjson::dom::element> Find(std::string_view key) const;

  /// T is int64_t, double, bool or std::string.
  template <typename T>
  Result<std::optional<T>> Get(std::string_view key) const;
  template <typename T>
  Result<T> GetOr(std::string_view key, T fallback) const {
    WEFT_ASSIGN_OR_RETURN(std::optional<T> value, Get<T>(key));
    return value ? std::move(*value) : std::move(fallback);
  }
  template <typename T>
  Result<T> Require(std::string_view key) const {
    WEFT_ASSIGN_OR_RETURN(std::optional<T> value, Get<T>(key));
    if (!value) return Missing(key);
    return std::move(*value);
  }
  Result<std::optional<JsonObject>> GetObject(std::string_view key) const;

  const simdjson::dom::object& object() const { return object_; }
  const std::string& path() const { return path_; }

 private:
  Error Missing(std::string_view key) const;

  simdjson::dom::object object_;
  std::string path_;
};

/// Owns a parsed JSON text whose root is an object.
class JsonDocument {
 public:
  /// Pure; `name` is for messages.
  static Result<JsonDocument> Parse(std::string_view text, std::string_view name);
  const JsonObject& root() const { return *root_; }

 private:
  JsonDocument() : parser_(std::make_unique<simdjson::dom::parser>()) {}
  std::unique_ptr<simdjson::dom::parser> parser_;
  std::optional<JsonObject> root_;
};

/// "a string", "an object", ...: what an element is, for messages.
std::string_view KindName(simdjson::dom::element element);

}  // namespace weft::checkpoint

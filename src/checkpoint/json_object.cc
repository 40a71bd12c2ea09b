#include "checkpoint/json_object.h"

#include <utility>

namespace weft::checkpoint {
namespace {

template <typename T>
constexpr std::string_view kWanted = "";
template <>
constexpr std::string_view kWanted<int64_t> = "an integer";
template <>
constexpr std::string_view kWanted<double> = "a number";
template <>
constexpr std::string_view kWanted<bool> = "true or false";
template <>
constexpr std::string_view kWanted<std::string> = "a string";

template <typename T>
using Native = std::conditional_t<std::is_same_v<T, std::string>, std::string_view, T>;

}  // namespace

std::string_view KindName(simdjson::dom::element element) {
  using simdjson::dom::element_type;
  switch (element.type()) {
    case element_type::ARRAY:
      return "a list";
    case element_type::OBJECT:
      return "an object";
    case element_type::INT64:
    case element_type::UINT64:
      return "an integer";
    case element_type::DOUBLE:
      return "a number with a fraction";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
  }
  return "something else";
}

JsonObject::JsonObject(simdjson::dom::object object, std::string path)
    : object_(object), path_(std::move(path)) {}

bool JsonObject::Has(std::string_view key) const {
  for (auto field : object_) {
    if (field.key == key) return true;
  }
  return false;
}

std::optional<simdjson::dom::element> JsonObject::Find(std::string_view key) const {
  std::optional<simdjson::dom::element> found;
  for (auto field : object_) {
    if (field.key == key) found = field.value;
  }
  if (found && found->is_null()) return std::nullopt;
  return found;
}

template <typename T>
Result<std::optional<T>> JsonObject::Get(std::string_view key) const {
  const std::optional<simdjson::dom::element> element = Find(key);
  if (!element) return std::optional<T>();
  Native<T> value{};
  if (element->get<Native<T>>().get(value) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be {}", path_, key,
                     KindName(*element), kWanted<T>);
  }
  return std::optional<T>(T(value));
}

template Result<std::optional<int64_t>> JsonObject::Get(std::string_view) const;
template Result<std::optional<double>> JsonObject::Get(std::string_view) const;
template Result<std::optional<bool>> JsonObject::Get(std::string_view) const;
template Result<std::optional<std::string>> JsonObject::Get(std::string_view) const;

Result<std::optional<JsonObject>> JsonObject::GetObject(std::string_view key) const {
  const std::optional<simdjson::dom::element> element = Find(key);
  if (!element) return std::optional<JsonObject>();
  simdjson::dom::object object;
  if (element->get_object().get(object) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be an object", path_,
                     key, KindName(*element));
  }
  return std::optional<JsonObject>(JsonObject(object, fmt::format("{}: {}", path_, key)));
}

Error JsonObject::Missing(std::string_view key) const {
  return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is missing", path_, key);
}

Result<JsonDocument> JsonDocument::Parse(std::string_view text, std::string_view name) {
  JsonDocument document;
  simdjson::dom::element root;
  // The parser copies the text to where it has the padding that it needs.
  const simdjson::error_code error =
      document.parser_->parse(text.data(), text.size(), true).get(root);
  if (error != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "{} is not valid JSON: {}", name,
                     simdjson::error_message(error));
  }
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "{} is {}, but must be a JSON object", name,
                     KindName(root));
  }
  document.root_.emplace(object, std::string(name));
  return document;
}

}  // namespace weft::checkpoint

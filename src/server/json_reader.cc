#include "server/json_reader.h"

#include <algorithm>
#include <boost/json/parse_options.hpp>
#include <boost/json/parser.hpp>
#include <cmath>
#include <limits>

#include "server/json_writer.h"

namespace weft::server {
namespace json = boost::json;
namespace {

constexpr size_t kMaxDepth = 64;
constexpr double kLargestExactInteger = 9007199254740992.0;  // 2^53

std::string PlaceOf(std::string_view body, size_t offset) {
  offset = std::min(offset, body.size());
  const std::string_view before = body.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t newline = before.rfind('\n');
  const size_t column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  return fmt::format("line {}, column {}", line, column);
}

}  // namespace

Result<json::object> ParseJsonObject(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return Error{ErrorCode::kInvalidArgument, "the body is empty: it must be a JSON object"};
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::parser parser({}, options);
  json::error_code code;
  const size_t used = parser.write_some(body.data(), body.size(), code);
  if (!code && body.find_first_not_of(" \t\r\n", used) != std::string_view::npos)
    code = json::error::extra_data;
  if (code) {
    return MakeError(ErrorCode::kInvalidArgument, "the body is not valid JSON at {}: {}",
                     PlaceOf(body, used), code.message());
  }
  json::value value = parser.release();
  if (!value.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "the body must be a JSON object, it is {}",
                     JsonTypeName(value));
  }
  return std::move(value.get_object());
}

void AppendJson(const json::value& value, std::string& to) {
  switch (value.kind()) {
    case json::kind::null:
      to += "null";
      return;
    case json::kind::bool_:
      to += value.get_bool() ? "true" : "false";
      return;
    case json::kind::int64:
      to += std::to_string(value.get_int64());
      return;
    case json::kind::uint64:
      to += std::to_string(value.get_uint64());
      return;
    case json::kind::double_:
      AppendJsonNumber(value.get_double(), to);
      return;
    case json::kind::string:
      AppendJsonString(value.get_string(), to);
      return;
    case json::kind::array: {
      char separator = '[';
      for (const json::value& item : value.get_array()) {
        to += separator;
        AppendJson(item, to);
        separator = ',';
      }
      if (separator == '[') to += '[';
      to += ']';
      return;
    }
    case json::kind::object: {
      char separator = '{';
      for (const auto& member : value.get_object()) {
        to += separator;
        AppendJsonString(member.key(), to);
        to += ':';
        AppendJson(member.value(), to);
        separator = ',';
      }
      if (separator == '{') to += '{';
      to += '}';
      return;
    }
  }
}

std::string JsonText(const json::value& value) {
  std::string text;
  AppendJson(value, text);
  return text;
}

std::string_view JsonTypeName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
    default:
      return "a number";
  }
}

std::optional<int64_t> AsInteger(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::abs(number) <= kLargestExactInteger && std::floor(number) == number)
      return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

std::optional<std::vector<TokenId>> AsTokenIds(const json::value& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<TokenId> ids;
  ids.reserve(value.get_array().size());
  for (const json::value& item : value.get_array()) {
    const std::optional<int64_t> id = AsInteger(item);
    if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) return std::nullopt;
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

const json::value* JsonFields::Find(std::string_view name) const {
  const json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

void JsonFields::Mismatch(std::string_view name, std::string_view wanted, const json::value& got) {
  if (error_) return;
  error_ = BadRequest(fmt::format("{} must be {}, it is {}", Name(name), wanted, JsonTypeName(got)),
                      Name(name));
}

void JsonFields::Fail(std::string_view name, std::string_view what_is_wanted, ErrorCode code) {
  if (error_) return;
  error_ = ApiError{MakeError(code, "{} {}", Name(name), what_is_wanted), Name(name), ""};
}

void JsonFields::Refuse(std::string_view name, std::string_view why) {
  const json::value* value = Find(name);
  if (value == nullptr || (value->is_bool() && !value->get_bool()) ||
      (value->is_array() && value->get_array().empty()) ||
      (value->is_string() && value->get_string().empty())) {
    return;
  }
  Fail(name, why, ErrorCode::kUnsupported);
}

void JsonFields::Read(std::string_view name, bool& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_bool()) return Mismatch(name, "true or false", *value);
  into = value->get_bool();
}

void JsonFields::Read(std::string_view name, int64_t& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (value->is_uint64()) {  // Seeds are 64 bits wide and used as such.
    into = static_cast<int64_t>(value->get_uint64());
    return;
  }
  const std::optional<int64_t> integer = AsInteger(*value);
  if (!integer) return Mismatch(name, "a whole number", *value);
  into = *integer;
}

void JsonFields::Read(std::string_view name, int32_t& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  const std::optional<int64_t> integer = AsInteger(*value);
  if (!integer) {
    if (value->is_number()) return Fail(name, "must be a whole number of at most 32 bits");
    return Mismatch(name, "a whole number", *value);
  }
  if (*integer < std::numeric_limits<int32_t>::min() ||
      *integer > std::numeric_limits<int32_t>::max()) {
    return Fail(name, fmt::format("is {}: it does not fit in 32 bits", *integer));
  }
  into = static_cast<int32_t>(*integer);
}

void JsonFields::Read(std::string_view name, float& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return Mismatch(name, "a number", *value);
  const auto number = value->to_number<double>();
  if (!(std::abs(number) <= std::numeric_limits<float>::max()))
    return Fail(name, "must be a finite number");
  into = static_cast<float>(number);
}

void JsonFields::Read(std::string_view name, std::string& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Mismatch(name, "a string", *value);
  into.assign(value->get_string().begin(), value->get_string().end());
}

void JsonFields::Read(std::string_view name, std::vector<TokenId>& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  auto ids = AsTokenIds(*value);
  if (!ids) return Fail(name, "must be a list of token ids (whole numbers from 0)");
  into = std::move(*ids);
}

void JsonFields::ReadStringOrList(std::string_view name, std::vector<std::string>& into) {
  const json::value* value = Find(name);
  if (value == nullptr) return;
  into.clear();
  if (value->is_string()) {
    into.emplace_back(value->get_string());
    return;
  }
  if (!value->is_array()) return Mismatch(name, "a string or a list of strings", *value);
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return Mismatch(name, "a string or a list of strings", item);
    into.emplace_back(item.get_string());
  }
}

void JsonFields::ReadWithin(std::string_view name, float low, float high, float& into) {
  Read(name, into);
  if (ok() && Find(name) != nullptr && !(into >= low && into <= high))
    Fail(name, fmt::format("must be in [{}, {}], it is {}", low, high, into));
}

void JsonFields::ReadWithin(std::string_view name, int32_t low, int32_t high, int32_t& into) {
  Read(name, into);
  if (ok() && Find(name) != nullptr && !(into >= low && into <= high))
    Fail(name, fmt::format("must be in [{}, {}], it is {}", low, high, into));
}

}  // namespace weft::server

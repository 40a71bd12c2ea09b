#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::server {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kOther };

/// A request as the routes see it, whatever carried it.
struct HttpRequest {
  Method method = Method::kGet;
  std::string path;           ///< Without the query, percent-decoded.
  std::string authorization;  ///< The Authorization header; empty: none.
  std::string accept;         ///< The Accept header; empty: none.
  std::string body;
};

/// A whole reply, or the head of a stream.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< Further ones.
};

inline constexpr std::string_view kEventStream = "text/event-stream; charset=utf-8";

/// "Not Found" for 404.
std::string_view ReasonPhrase(int status);

/// The path of a request target: no query, percent-decoded. A broken escape stays as it is.
std::string PathOf(std::string_view target);

}  // namespace weft::server
